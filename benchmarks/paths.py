"""Time to publish and to find files, by the default layout and by a template.

One folder of the template holds all files. A search of all names is the alternative to records.
"""

import asyncio
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from agents.storage import LocalStorage, PostDetails, Storage
from agents.storage.object_connection import ObjectStoreSettings
from agents.storage.object_store import ObjectStorage
from benchmarks.measuring import load_average
from schemas.path_template import parse_template
from tests.storage_servers import create_s3_bucket, running, seaweedfs

BUCKET = "clips"
FILES = 3_000
SAMPLES = 100
SEARCHES = 3
CONTENT = b"x" * 1_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
TEMPLATE = parse_template("{author}/{title:.80} [{platform} {id}].{format}.{ext}")
DETAILS = PostDetails(author="user", title="a clip of cats in the garden")
LAYOUTS = {"default": None, "template": TEMPLATE}


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        for kind in ("local", "s3"):
            async with _open_both(kind, Path(name)) as storages:
                for layout, storage in storages.items():
                    print(f"  {kind:6}{layout:10}{await _measure(storage)}", flush=True)
    print(load_average())


@asynccontextmanager
async def _open_both(kind: str, folder: Path) -> AsyncIterator[dict[str, Storage]]:
    async with AsyncExitStack() as stack:
        if kind == "local":
            yield {
                layout: await stack.enter_async_context(
                    LocalStorage.open(folder / layout, template)
                )
                for layout, template in LAYOUTS.items()
            }
            return
        server = await stack.enter_async_context(running(seaweedfs(folder)))
        await create_s3_bucket(server, BUCKET)
        os.environ.update(server.variables)
        yield {
            layout: await stack.enter_async_context(
                ObjectStorage.open(
                    ObjectStoreSettings(
                        url=f"s3://{BUCKET}/{layout}",
                        endpoint=server.endpoint,
                        region="eu-central-1",
                    ),
                    folder,
                    template,
                )
            )
            for layout, template in LAYOUTS.items()
        }


async def _measure(storage: Storage) -> str:
    step = FILES // SAMPLES
    published = [await _timed(_publish(storage, number)) for number in range(FILES)]
    found = [await _timed(_find(storage, number)) for number in range(0, FILES, step)]
    missed = [await _timed(_find(storage, FILES + number)) for number in range(SAMPLES)]
    searched = [await _timed(_search(storage)) for _ in range(SEARCHES)]
    rows = {"publish": published, "hit": found, "miss": missed, "search": searched}
    return "".join(f"{name:>9}{statistics.median(row):9.2f} ms" for name, row in rows.items())


async def _timed(call: Awaitable[None]) -> float:
    started = time.perf_counter()
    await call
    return (time.perf_counter() - started) * 1e3


async def _publish(storage: Storage, number: int) -> None:
    async with storage.workspace() as directory:
        path = directory / "part"
        await asyncio.to_thread(path.write_bytes, CONTENT)
        await storage.publish(
            path,
            platform="tiktok",
            video_id=str(number),
            format_id="play",
            extension="mp4",
            sha256=DIGEST,
            details=DETAILS,
        )


async def _find(storage: Storage, number: int) -> None:
    found = await storage.find(platform="tiktok", video_id=str(number), format_id="play")
    assert (found is None) == (number >= FILES)


async def _search(storage: Storage) -> None:
    assert sum([1 async for _ in storage.files()]) == FILES
