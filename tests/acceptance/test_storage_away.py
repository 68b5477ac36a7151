"""Full disk or unavailable storage: requests wait, none is lost, no attempt is consumed.

Requests resume as soon as the storage works again, at the latest after the first wait of 30 s.

The download worker has a small file system of its own, in a mount namespace.
"""

import asyncio
from pathlib import Path

from streams.topics import DEADLETTERS
from tests.acceptance.client import PipelineClient, page
from tests.pipeline_process import PipelineProcess, Process
from tests.standin import video_id

FILES = 30
MEBIBYTES = 2
SPACE = "24m"
SETTINGS = {
    "CLIPMILL_DOWNLOAD__FREE_BYTES": str(2**20),
    "CLIPMILL_DOWNLOAD__STORAGE_CHECK_SECONDS": "0.5",
}
OTHERS = (
    "validation",
    "extraction",
    "selection",
    "recovery",
    "delay",
    "ledger",
    "monitor",
    "commands",
)
SMALL_DISK = (
    "unshare",
    "-rm",
    "sh",
    "-c",
    'mount -t tmpfs -o size=$0 none "$1" && shift && exec "$@"',
)


async def start_with_small_disk(pipeline: PipelineProcess) -> Process:
    """Start all stages; return the download worker, which has a small disk."""
    pipeline.data_dir.mkdir(exist_ok=True)
    other_data = {"CLIPMILL_DATA_DIR": str(pipeline.directory / "others")}
    prefix = (*SMALL_DISK, SPACE, str(pipeline.data_dir))
    _, worker = await asyncio.gather(
        pipeline.start_worker(*OTHERS, **other_data),
        pipeline.start_worker("download", prefix=prefix),
    )
    return worker


def worker_path(worker: Process, path: Path) -> Path:
    """Return a path in the worker's mount namespace."""
    return Path(f"/proc/{worker.pid}/root{path}")


async def test_full_disk_pauses_downloads_until_space_is_freed(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path, **SETTINGS) as pipeline:
        client, worker = PipelineClient(pipeline), await start_with_small_disk(pipeline)
        names = [f"r-{number}" for number in range(FILES)]
        for number, name in enumerate(names):
            url = page(video_id("size", param=MEBIBYTES, serial=number))
            await pipeline.publish({"id": name, "url": url})
        problem = await client.wait_for_problem(worker, "download")
        print(f"\nhealth says: {problem}")
        assert "space" in problem or "disk" in problem
        deleting = asyncio.create_task(_delete_files(worker, pipeline.data_dir / "files"))
        try:
            await client.wait_for(names, 90)
        finally:
            deleting.cancel()
        await _check_results(client, names)


async def _delete_files(worker: Process, folder: Path) -> None:
    """Delete finished files, as a downstream consumer does."""
    while True:
        await asyncio.sleep(1)
        for file in worker_path(worker, folder).rglob("*.mp4"):
            file.unlink()


async def test_storage_outage_pauses_downloads_and_loses_none(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path, **SETTINGS) as pipeline:
        client, worker = PipelineClient(pipeline), await start_with_small_disk(pipeline)
        assert (await client.request(page(video_id("kilobytes", serial=1))))[
            "status"
        ] == "completed"
        files = worker_path(worker, pipeline.data_dir / "files")
        away = files.with_name("files.away")
        files.rename(away)
        files.write_text("not a folder")
        names = [f"r-{number}" for number in range(10)]
        for number, name in enumerate(names):
            url = page(video_id("kilobytes", serial=100 + number))
            await pipeline.publish({"id": name, "url": url})
        print(f"\nhealth says: {await client.wait_for_problem(worker, 'download')}")
        files.unlink()
        away.rename(files)
        await client.wait_for(names, 60)
        await _check_results(client, names)


async def _check_results(client: PipelineClient, names: list[str]) -> None:
    results = await client.pipeline.read_results(0)
    assert {results[name][0]["status"] for name in names} == {"completed"}
    assert {results[name][0]["attempts"] for name in names} == {1}
    assert await client.records(DEADLETTERS) == []
