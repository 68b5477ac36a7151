"""The console: 200 event streams, its pages with 100,000 requests, and the size of a first load.

The history is filled directly; it is read from Kafka in `benchmarks history`.
"""

import asyncio
import itertools
import os
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import psutil

from benchmarks.children.stopwatch import cpu_seconds
from benchmarks.measuring import load_average
from streams.history.changes import HistoryFile, RequestChange, RequestEvent
from streams.history.statements import FoldedRecord
from streams.history.store import FILE_NAME, HistoryStore

REQUESTS = int(os.environ.get("CONSOLE_REQUESTS", "100_000"))
TRANSACTION = 2_000
STATES = ("completed", "completed", "completed", "failed", "parked", "retrying", "accepted")

FILE = HistoryFile(uri="file:///data/files/tiktok/7/7.mp4", bytes=2_000_457, mime_type="video/mp4")

STREAMS = 200
CHANGES_PER_SECOND = 100
WARM_UP_SECONDS = 5.0
MEASURE_SECONDS = 30.0

PAGES = (
    "",
    "?state=failed",
    "?url=https://www.tiktok.com/@someone/video/7",
    "request?id=request-7",
    "cancel?id=request-7",
    "submit",
    "library",
    "library?author=someone-7",
    "library?title=absent",
    "settings",
    "codes",
    "api/v1/library",
    "overview",
    "failures",
    "breakers",
    "api/v1/overview",
    "api/v1/requests",
    "api/v1/counts",
)
FIRST_LOAD = ("", "static/console.css", "static/console.js", "static/theme.js", "static/icon.svg")
ROUNDS = 15


def change(number: int, transition: str, state: str, at: float) -> RequestChange:
    is_final = state in ("completed", "failed")
    return RequestChange(
        request_id=f"request-{number}",
        at=at,
        received_at=at,
        introduces=True,
        state=state,
        is_final=is_final,
        step="extraction",
        action="download",
        url=f"https://www.tiktok.com/@someone/video/{number}",
        video=f"tiktok:{number}",
        author=f"someone-{number % 500}",
        title="a clip of a length that titles usually have #fyp #clipmill",
        error="content.private" if state == "failed" else None,
        files=(FILE,) if state == "completed" else (),
        event=RequestEvent(at=at, step="extraction", transition=transition),
    )


def fill(store: HistoryStore) -> None:
    generation, now = store.open_generation("cluster"), time.time()
    numbers = iter(range(REQUESTS))
    while some := list(itertools.islice(numbers, TRANSACTION)):
        changes = [change(n, "accepted", STATES[n % len(STATES)], now - REQUESTS + n) for n in some]
        records = [FoldedRecord(0, n, each) for n, each in zip(some, changes, strict=True)]
        store.apply("audit", records, {}, generation)


async def change_steadily(store: HistoryStore) -> None:
    """Write new requests, each a transaction as a follower of few records writes it."""
    generation, started = store.open_generation("cluster"), time.perf_counter()
    for number in itertools.count(REQUESTS):
        record = FoldedRecord(0, number, change(number, "accepted", "accepted", time.time()))
        await asyncio.to_thread(store.apply, "audit", [record], {}, generation)
        due = started + (number - REQUESTS) / CHANGES_PER_SECOND
        await asyncio.sleep(due - time.perf_counter())


async def read_stream(response: aiohttp.ClientResponse, received: list[int]) -> None:
    async for chunk in response.content.iter_any():
        received[0] += chunk.count(b'"received_at"')
        received[1] += len(chunk)


async def measure_streams(url: str, store: HistoryStore, console: psutil.Process) -> None:
    received = [0, 0]
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(url, connector=connector, timeout=timeout) as session,
        AsyncExitStack() as streams,
        asyncio.TaskGroup() as group,
    ):
        tasks = [group.create_task(change_steadily(store))]
        for _ in range(STREAMS):
            response = await streams.enter_async_context(session.get("/api/v1/events"))
            tasks.append(group.create_task(read_stream(response, received)))
        await asyncio.sleep(WARM_UP_SECONDS)
        before, cpu, started = list(received), cpu_seconds(console), time.perf_counter()
        await asyncio.sleep(MEASURE_SECONDS)
        seconds = time.perf_counter() - started
        share = (cpu_seconds(console) - cpu) / seconds
        rows, size = ((now - then) / seconds for now, then in zip(received, before, strict=True))
        for task in tasks:
            task.cancel()
    print(f"{STREAMS} streams, {CHANGES_PER_SECOND} changes/s: CPU {share:.1%} of a core")
    print(f"  {rows / STREAMS:.0f} changes/s and {size / STREAMS / 1e3:.0f} kB/s a stream")


async def measure_pages(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for path in PAGES:
            times = []
            for _ in range(ROUNDS):
                started = time.perf_counter()
                async with session.get(f"{url}/{path}") as response:
                    response.raise_for_status()
                    await response.read()
                times.append((time.perf_counter() - started) * 1e3)
            times.sort()
            print(f"  {path or '/':46} {times[ROUNDS // 2]:6.1f} ms, at most {times[-1]:6.1f} ms")
    sizes = []
    headers = {"Accept-Encoding": "gzip"}
    async with aiohttp.ClientSession(headers=headers, auto_decompress=False) as session:
        for path in FIRST_LOAD:
            async with session.get(f"{url}/{path}") as response:
                sizes.append(len(await response.read()))
    print(f"  first load compressed: {sum(sizes) / 1e3:.1f} kB in {len(sizes)} files")


async def main() -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        HistoryStore(Path(directory) / FILE_NAME) as store,
    ):
        fill(store)
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.children.console", directory),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert server.stdout is not None
            url = (await server.stdout.readline()).decode().strip()
            print(f"pages with {REQUESTS:,} requests in the history, over HTTP")
            await measure_pages(url)
            await measure_streams(url, store, psutil.Process(server.pid))
        finally:
            server.kill()
            await server.communicate()
    print(load_average())


if __name__ == "__main__":
    asyncio.run(main())
