"""Caches: size and time of a row, hits on each level, a table of 100,000 videos and its recovery.

Beside each way that was taken stand those that were not.
"""

import asyncio
import importlib
import random
import tempfile
import time
import timeit
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from aiokafka import AIOKafkaProducer

from agents.caching import ttl_lru
from agents.caching.fail_safe_backend import GuardedBackend
from agents.caching.format_choice import FormatChoices
from agents.caching.interface import BackendSettings
from agents.caching.metadata import MetadataCache
from agents.caching.redis_backend import open_redis
from agents.caching.row_codec import _dictionary, pack, unpack
from agents.caching.row_expiry import ROW_OVERHEAD_BYTES
from agents.caching.ttl_lru import BoundedCache
from agents.caching.video_info import VideoInfoCache
from agents.formats.selection import choose_files
from agents.platforms.registry import Platforms
from benchmarks.cache_rows import entries, extractions
from benchmarks.measuring import load_average
from schemas.codec import encode
from schemas.request import Options
from schemas.video import VideoRef
from tests import house as houses
from tests.house import House
from tests.integration.redis_server import redis_binary, running_redis

VIDEOS = 100_000
SAMPLES = 50
REQUESTS = 1_000_000
CHANGELOG = "clipmill.extraction-video-info-changelog"
MEBIBYTE = 2**20
START_SECONDS = 300

Way = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]


def microseconds(work: Callable[[], Any], times: int = 1_000) -> float:
    """Return the time of one call, the best of five rounds."""
    return min(timeit.repeat(work, number=times, repeat=5)) / times * 1e6


async def async_microseconds(work: Callable[[], Any], times: int = 2_000) -> float:
    """Return the time of one awaited call, the best of five rounds."""
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(times):
            await work()
        best = min(best, (time.perf_counter() - started) / times * 1e6)
    return best


# A row


def _zlib(level: int, dictionary: bytes = b"") -> Way:
    more = (zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_DEFAULT_STRATEGY)

    def shrink(text: bytes) -> bytes:
        packer = zlib.compressobj(level, *more, dictionary)
        return packer.compress(text) + packer.flush()

    def grow(body: bytes) -> bytes:
        return zlib.decompressobj(zlib.MAX_WBITS, dictionary).decompress(body)

    return shrink, grow


def _zstd(level: int, dictionary: bytes) -> Way:
    """zstd is in no requirement: it is measured where somebody has installed it."""
    zstandard: Any = importlib.import_module("zstandard")
    data = zstandard.ZstdCompressionDict(dictionary)
    packer = zstandard.ZstdCompressor(level=level, dict_data=data)
    return packer.compress, zstandard.ZstdDecompressor(dict_data=data).decompress


def ways() -> dict[str, Way]:
    """Return the ways to compress a row."""
    dictionary = _dictionary()
    found: dict[str, Way] = {f"zlib {level}": _zlib(level) for level in (1, 6)}
    found |= {f"zlib {level}, dictionary": _zlib(level, dictionary) for level in (1, 3, 6, 9)}
    brotli: Any = importlib.import_module("brotli")
    found |= {"brotli 4": (lambda text: brotli.compress(text, quality=4), brotli.decompress)}
    try:
        found |= {f"zstd {level}, dictionary": _zstd(level, dictionary) for level in (1, 3)}
    except ModuleNotFoundError:
        print("zstd: not installed here")
    return found


def compare_ways() -> None:
    """Print size and time of a row by each way."""
    texts = [encode(extraction) for _, extraction in extractions(SAMPLES)]
    print(f"an extraction as JSON          {_mean(map(len, texts)):8.0f} B")
    for name, way in ways().items():
        print(f"{name:30} {_compare(way, texts)}")


def _compare(way: Way, texts: list[bytes]) -> str:
    shrink, grow = way
    bodies = [shrink(text) for text in texts]
    assert [grow(body) for body in bodies] == texts
    packing = microseconds(lambda: [shrink(text) for text in texts], 5) / SAMPLES
    unpacking = microseconds(lambda: [grow(body) for body in bodies], 5) / SAMPLES
    size = _mean(map(len, bodies))
    return f"{size:8.0f} B   pack {packing:6.1f} us   unpack {unpacking:6.1f} us"


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


# A choice of files


def compare_choices() -> None:
    """Print what a choice costs, made and remembered."""
    platform = Platforms.load().by_name("tiktok")
    key, extraction = next(extractions(1))
    video = VideoRef(platform="tiktok", id=key, url=f"https://www.tiktok.com/@u/video/{key}")
    pages, choices, options = MetadataCache(), FormatChoices(), Options()
    page = pages.read(platform, video, extraction)
    formats = list({each.format.format_id: each.format for each in page.sources}.values())
    print(f"choose_files            {microseconds(lambda: choose_files(formats, options)):8.1f} us")
    remembered = microseconds(lambda: choices.choose(video, page, options))
    print(f"a choice remembered     {remembered:8.1f} us")
    read = microseconds(lambda: MetadataCache().read(platform, video, extraction), 100)
    print(f"metadata read           {read:8.1f} us")
    known = microseconds(lambda: pages.read(platform, video, extraction))
    print(f"metadata remembered     {known:8.1f} us")


# Levels


async def compare_levels(directory: Path) -> None:
    """Print how long a hit takes on each level, and a write to the shared one."""
    rows: dict[str, bytes] = {}
    cache = VideoInfoCache(rows.get, 1_800.0)
    key, extraction = next(extractions(1))
    rows[key] = await cache.put(key, extraction, None)
    await cache.get(key)
    print(f"hit in front            {await async_microseconds(lambda: cache.get(key)):8.1f} us")
    print(
        f"hit in the table        {microseconds(lambda: unpack(rows[key])):8.1f} us and the above"
    )
    async with (
        running_redis(redis_binary(directory), directory) as server,
        open_redis(BackendSettings(server.url, 1.0)) as redis,
    ):
        guarded = GuardedBackend(redis, "redis", timeout_seconds=1.0, rest_seconds=1.0)
        shared = VideoInfoCache(dict[str, bytes]().get, 1_800.0, shared=guarded)
        await shared.put(key, extraction, None)
        hit = await async_microseconds(lambda: shared.get(key), 500)
        print(f"hit in Redis            {hit:8.1f} us (same machine, a socket)")
        written = await async_microseconds(lambda: shared.put(key, extraction, None), 500)
        print(f"written to Redis        {written:8.1f} us, packing included")


# The table


def fill(count: int) -> dict[str, bytes]:
    """Return the rows of so many videos."""
    return {key: pack(entry) for key, entry in entries(count)}


def weigh(rows: dict[str, bytes]) -> None:
    """Print how large the rows are and how long a sweep over them takes."""
    size = sum(len(row) + ROW_OVERHEAD_BYTES for row in rows.values())
    each = size / len(rows)
    print(f"{len(rows):,} rows            {size / MEBIBYTE:8.0f} MiB counted, {each:.0f} B each")
    for name, room in (("all fit", 2 * size), ("a tenth is too many", int(size * 0.9))):
        cache = VideoInfoCache(rows.get, 1_800.0, rows_bytes_max=room)
        spent = microseconds(partial(cache.expired, rows.items()), 1) / 1e3
        print(f"a sweep, {name:20} {spent:8.0f} ms")


async def recover(directory: Path, rows: dict[str, bytes]) -> None:
    """Print how long a worker takes to be ready with an empty and with a full table."""
    # A table takes longer than tests have patience.
    houses.START_SECONDS = START_SECONDS
    async with House(directory) as house:
        first = await house.start_worker("extraction")
        first.terminate()
        empty = await _start(house, "extraction, empty table")
        before = await _write(house.bootstrap, rows)
        print(f"a row on the changelog  {before:8.1f} us (aiokafka, acknowledged, {len(rows):,})")
        full = await _start(house, f"extraction, {len(rows):,} rows")
        print(f"memory of the rows      {(full - empty) / MEBIBYTE:8.0f} MiB (RSS)")


async def _start(house: House, what: str) -> int:
    started = time.perf_counter()
    worker = await house.start_worker("extraction")
    seconds = time.perf_counter() - started
    used = psutil.Process(worker.pid).memory_info().rss
    print(f"{what:30} ready after {seconds:5.1f} s, RSS {used / MEBIBYTE:5.0f} MiB")
    worker.terminate()
    return int(used)


async def _write(bootstrap: str, rows: dict[str, bytes]) -> float:
    """Return the microseconds that a row takes until it is acknowledged, many at a time."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, acks="all")
    async with producer:
        started = time.perf_counter()
        for key, row in rows.items():
            await producer.send(CHANGELOG, row, key=key.encode())
        await producer.flush()
    return (time.perf_counter() - started) / len(rows) * 1e6


# Without end


def ask_without_end(kind: str) -> None:
    """Ask a million times; print what is there at the end."""
    room, now = 8 * MEBIBYTE, [0.0]
    store: BoundedCache[str, bytes] = BoundedCache(
        "m", 600.0, bytes_max=room, size_of=ttl_lru.size_of, clock=lambda: now[0]
    )
    rng, started = random.Random(1), time.perf_counter()
    tracemalloc.start()
    for number in range(REQUESTS):
        now[0] += 0.01
        key = f"tiktok:{number if kind == 'unique' else int(rng.paretovariate(0.4))}"
        if store.get(key) is None:
            store.set(key, b"x" * (number % 50))
    used, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    spent = time.perf_counter() - started
    print(
        f"{REQUESTS:,} {kind:7} keys: {len(store):,} entries, {store.size_bytes / MEBIBYTE:.1f} of"
        f" {room / MEBIBYTE:.0f} MiB counted, {used / MEBIBYTE:.1f} used (at most"
        f" {peak / MEBIBYTE:.1f}), {spent:.0f} s"
    )


async def main() -> None:
    """Print the figures."""
    print(load_average())
    compare_ways()
    compare_choices()
    # Short, because the path of a socket has 100 characters at most.
    with tempfile.TemporaryDirectory(prefix="c-") as directory:
        await compare_levels(Path(directory))
        rows = fill(VIDEOS)
        weigh(rows)
        await recover(Path(directory), rows)
    for kind in ("unique", "skewed"):
        ask_without_end(kind)
    print(load_average())


if __name__ == "__main__":
    asyncio.run(main())
