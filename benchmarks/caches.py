"""Caches: size and time of a row, hits per level, a table of 100,000 videos and its recovery.

Alternatives that were not chosen are measured beside the chosen ones.
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
from pathlib import Path
from typing import Any

import psutil
from aiokafka import AIOKafkaProducer

from agents.caching import ttl_lru
from agents.caching.fail_safe_backend import FailSafeBackend
from agents.caching.format_choice import FormatChoices
from agents.caching.interface import BackendSettings
from agents.caching.metadata import MetadataCache
from agents.caching.redis_backend import open_redis
from agents.caching.row_codec import _dictionary, pack, unpack
from agents.caching.ttl_lru import BoundedCache
from agents.caching.video_info import VideoInfoCache
from agents.formats.selection import choose_files
from agents.platforms.registry import Platforms
from benchmarks.cache_rows import entries, extractions
from benchmarks.measuring import load_average
from schemas.codec import encode
from schemas.request import Options
from schemas.video import VideoRef
from tests import pipeline_process
from tests.integration.redis_server import redis_binary, running_redis
from tests.pipeline_process import PipelineProcess

VIDEOS = 100_000
SAMPLES = 50
REQUESTS = 1_000_000
CHANGELOG = "clipmill.extraction-video-info-changelog"
MEBIBYTE = 2**20
START_SECONDS = 300

Codec = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]


def microseconds(work: Callable[[], Any], times: int = 1_000) -> float:
    """Return the microseconds of one call, the best of five rounds."""
    return min(timeit.repeat(work, number=times, repeat=5)) / times * 1e6


async def async_microseconds(work: Callable[[], Any], times: int = 2_000) -> float:
    """Return the microseconds of one awaited call, the best of five rounds."""
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(times):
            await work()
        best = min(best, (time.perf_counter() - started) / times * 1e6)
    return best


# A row


def _zlib(level: int, dictionary: bytes = b"") -> Codec:
    parameters = (zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_DEFAULT_STRATEGY)

    def compress(text: bytes) -> bytes:
        packer = zlib.compressobj(level, *parameters, dictionary)
        return packer.compress(text) + packer.flush()

    def decompress(body: bytes) -> bytes:
        return zlib.decompressobj(zlib.MAX_WBITS, dictionary).decompress(body)

    return compress, decompress


def _zstd(level: int, dictionary: bytes) -> Codec:
    """zstd is no dependency: it is measured only where it is installed."""
    zstandard: Any = importlib.import_module("zstandard")
    data = zstandard.ZstdCompressionDict(dictionary)
    packer = zstandard.ZstdCompressor(level=level, dict_data=data)
    return packer.compress, zstandard.ZstdDecompressor(dict_data=data).decompress


def codecs() -> dict[str, Codec]:
    """Return the codecs to compare, by name."""
    dictionary = _dictionary()
    found: dict[str, Codec] = {f"zlib {level}": _zlib(level) for level in (1, 6)}
    found |= {f"zlib {level}, dictionary": _zlib(level, dictionary) for level in (1, 3, 6, 9)}
    brotli: Any = importlib.import_module("brotli")
    found |= {"brotli 4": (lambda text: brotli.compress(text, quality=4), brotli.decompress)}
    try:
        found |= {f"zstd {level}, dictionary": _zstd(level, dictionary) for level in (1, 3)}
    except ModuleNotFoundError:
        print("zstd: not installed here")
    return found


def compare_codecs() -> None:
    """Print size and time of a row for each codec."""
    texts = [encode(extraction) for _, extraction in extractions(SAMPLES)]
    print(f"an extraction as JSON          {_mean(map(len, texts)):8.0f} B")
    for name, codec in codecs().items():
        print(f"{name:30} {_compare(codec, texts)}")


def _compare(codec: Codec, texts: list[bytes]) -> str:
    compress, decompress = codec
    bodies = [compress(text) for text in texts]
    assert [decompress(body) for body in bodies] == texts
    packing = microseconds(lambda: [compress(text) for text in texts], 5) / SAMPLES
    unpacking = microseconds(lambda: [decompress(body) for body in bodies], 5) / SAMPLES
    size = _mean(map(len, bodies))
    return f"{size:8.0f} B   pack {packing:6.1f} us   unpack {unpacking:6.1f} us"


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


# A choice of files


def compare_choices() -> None:
    """Print the time of a format choice, computed and cached."""
    platform = Platforms.load().by_name("tiktok")
    key, extraction = next(extractions(1))
    video = VideoRef(platform="tiktok", id=key, url=f"https://www.tiktok.com/@u/video/{key}")
    pages, choices, options = MetadataCache(), FormatChoices(), Options()
    page = pages.read(platform, video, extraction)
    formats = list({each.format.format_id: each.format for each in page.sources}.values())
    print(f"choose_files            {microseconds(lambda: choose_files(formats, options)):8.1f} us")
    cached = microseconds(lambda: choices.choose(video, page, options))
    print(f"a choice cached         {cached:8.1f} us")
    read = microseconds(lambda: MetadataCache().read(platform, video, extraction), 100)
    print(f"metadata read           {read:8.1f} us")
    known = microseconds(lambda: pages.read(platform, video, extraction))
    print(f"metadata cached         {known:8.1f} us")


# Levels


async def compare_levels(directory: Path) -> None:
    """Print the time of a hit on each level, and of a write to the shared one."""
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
        guarded = FailSafeBackend(redis, "redis", timeout_seconds=1.0, open_seconds=1.0)
        shared = VideoInfoCache(dict[str, bytes]().get, 1_800.0, shared=guarded)
        await shared.put(key, extraction, None)
        hit = await async_microseconds(lambda: shared.get(key), 500)
        print(f"hit in Redis            {hit:8.1f} us (same machine, a socket)")
        written = await async_microseconds(lambda: shared.put(key, extraction, None), 500)
        print(f"written to Redis        {written:8.1f} us, packing included")


# The table


def fill(count: int) -> dict[str, bytes]:
    """Return the rows of ``count`` videos."""
    return {key: pack(entry) for key, entry in entries(count)}


def measure_table(rows: dict[str, bytes]) -> None:
    """Print the size of the rows."""
    size = sum(len(key) + len(row) for key, row in rows.items())
    print(
        f"{len(rows):,} rows            {size / MEBIBYTE:8.0f} MiB, {size / len(rows):.0f} B each"
    )


async def measure_recovery(directory: Path, rows: dict[str, bytes]) -> None:
    """Print a worker's start time with an empty and with a full table."""
    # Recovery of a full table takes longer than the start timeout of tests.
    pipeline_process.START_SECONDS = START_SECONDS
    async with PipelineProcess(directory) as pipeline:
        first = await pipeline.start_worker("extraction")
        first.terminate()
        empty = await _start(pipeline, "extraction, empty table")
        before = await _write(pipeline.bootstrap, rows)
        print(f"a row on the changelog  {before:8.1f} us (aiokafka, acknowledged, {len(rows):,})")
        full = await _start(pipeline, f"extraction, {len(rows):,} rows")
        print(f"memory of the rows      {(full - empty) / MEBIBYTE:8.0f} MiB (RSS)")


async def _start(pipeline: PipelineProcess, what: str) -> int:
    started = time.perf_counter()
    worker = await pipeline.start_worker("extraction")
    seconds = time.perf_counter() - started
    used = psutil.Process(worker.pid).memory_info().rss
    print(f"{what:30} ready after {seconds:5.1f} s, RSS {used / MEBIBYTE:5.0f} MiB")
    worker.terminate()
    return int(used)


async def _write(bootstrap: str, rows: dict[str, bytes]) -> float:
    """Return the microseconds per row until acknowledgement, many rows in flight."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, acks="all")
    async with producer:
        started = time.perf_counter()
        for key, row in rows.items():
            await producer.send(CHANGELOG, row, key=key.encode())
        await producer.flush()
    return (time.perf_counter() - started) / len(rows) * 1e6


# Unbounded keys


def measure_unbounded_keys(kind: str) -> None:
    """Look up a million keys; print the remaining entries and the memory used."""
    bytes_max, now = 8 * MEBIBYTE, [0.0]
    store: BoundedCache[str, bytes] = BoundedCache(
        "m", 600.0, bytes_max=bytes_max, size_of=ttl_lru.size_of, clock=lambda: now[0]
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
    elapsed = time.perf_counter() - started
    print(
        f"{REQUESTS:,} {kind:7} keys: {len(store):,} entries, {store.size_bytes / MEBIBYTE:.1f} of"
        f" {bytes_max / MEBIBYTE:.0f} MiB counted, {used / MEBIBYTE:.1f} used (at most"
        f" {peak / MEBIBYTE:.1f}), {elapsed:.0f} s"
    )


async def main() -> None:
    """Print the figures."""
    print(load_average())
    compare_codecs()
    compare_choices()
    # Short, because the path of a Unix socket has at most 100 characters.
    with tempfile.TemporaryDirectory(prefix="c-") as directory:
        await compare_levels(Path(directory))
        rows = fill(VIDEOS)
        measure_table(rows)
        await measure_recovery(Path(directory), rows)
    for kind in ("unique", "skewed"):
        measure_unbounded_keys(kind)
    print(load_average())


if __name__ == "__main__":
    asyncio.run(main())
