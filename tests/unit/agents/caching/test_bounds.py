"""Memory bounds of the caches under any number of requests."""

import random
import tracemalloc
from collections.abc import Iterator

import pytest

from agents.caching import format_choice, metadata, ttl_lru, video_info
from agents.caching.format_choice import FormatChoices
from agents.caching.metadata import MetadataCache
from agents.caching.negative import NegativeCache
from agents.caching.ttl_lru import BoundedCache, MemoryBackend
from agents.caching.video_info import DecodedRow, VideoInfoCache
from agents.platforms.tiktok.handler import TikTok
from schemas.errors import ClipmillError, ErrorCode
from schemas.request import Options
from schemas.video import Extraction
from tests.unit.agents.builders import VIDEO, Clock
from tests.unit.agents.caching.slices import index_of, keys_in
from tests.unit.agents.platforms.tiktok.extractions import extraction_of, raw_of

pytestmark = pytest.mark.untraced

REQUESTS = 100_000
"""``python -m benchmarks caches`` sends a million."""

MEASURED_REQUESTS = 10_000
"""Fewer, because tracing memory slows everything down tenfold."""

BYTES_MAX = 256_000


def keys(kind: str, count: int) -> Iterator[str]:
    """Yield the keys of requests: all unique, or skewed to a few, as videos are requested."""
    rng = random.Random(1)
    for number in range(count):
        yield f"tiktok:{number if kind == 'unique' else int(rng.paretovariate(0.4))}"


def send_requests(store: BoundedCache[str, bytes], kind: str, count: int, clock: Clock) -> None:
    for number, key in enumerate(keys(kind, count)):
        clock.now += 0.01
        if store.get(key) is None:
            store.set(key, b"x" * (number % 50))
        assert store.size_bytes <= BYTES_MAX


def make_store(clock: Clock) -> BoundedCache[str, bytes]:
    return BoundedCache("m", 600.0, bytes_max=BYTES_MAX, size_of=ttl_lru.size_of, clock=clock)


@pytest.mark.parametrize("kind", ["unique", "skewed"])
def test_store_stays_within_its_size_limit(kind: str) -> None:
    clock = Clock()
    store = make_store(clock)
    send_requests(store, kind, REQUESTS, clock)
    assert 100 < len(store) < 1_000
    # What cachetools keeps of evicted entries is bounded as well.
    assert len(store._entries._TLRUCache__order) <= 2 * len(store) + 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["unique", "skewed"])
def test_counted_size_matches_the_memory_used(kind: str) -> None:
    clock = Clock()
    store = make_store(clock)
    tracemalloc.start()
    try:
        send_requests(store, kind, MEASURED_REQUESTS, clock)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert store.size_bytes / 2 < used < store.size_bytes * 1.1


async def test_cached_failures_stay_within_the_size_limit() -> None:
    clock = Clock()
    store = make_store(clock)
    failures = NegativeCache(600.0, MemoryBackend(store), clock=clock)
    for key in keys("unique", 20_000):
        clock.now += 0.01
        await failures.put(key, ClipmillError(ErrorCode.CONTENT_PRIVATE, "private", reason="x"))
    assert BYTES_MAX / 2 < store.size_bytes <= BYTES_MAX


async def test_table_rows_stay_within_the_size_limit() -> None:
    clock, rows = Clock(), dict[str, bytes]()
    front: BoundedCache[str, DecodedRow] = BoundedCache(
        "video_info", 600.0, bytes_max=BYTES_MAX, size_of=video_info.size_of, clock=clock
    )
    cache = VideoInfoCache(
        rows.get, 600.0, clock, stale_seconds=60.0, front=front, rows_bytes_max=BYTES_MAX
    )
    extraction = extraction_of({"id": "1"})
    largest = 0
    for number, key in enumerate(keys("unique", 10_000)):
        clock.now += 0.05
        rows[key] = await cache.put(key, extraction, None)
        assert await cache.get(key) is not None
        if number % 200 == 0:
            for evicted in keys_in(cache.sweep(index_of(rows))):
                del rows[evicted]
            largest = max(largest, index_of(rows).size_bytes)
    assert BYTES_MAX / 2 < largest <= BYTES_MAX
    assert BYTES_MAX / 2 < front.size_bytes <= BYTES_MAX


def pages(count: int) -> Iterator[Extraction]:
    raw = raw_of()
    for number in range(count):
        yield extraction_of({**raw, "title": f"clip {number}"})


def test_metadata_and_choices_stay_within_the_size_limit() -> None:
    read = BoundedCache(
        "metadata", 600.0, bytes_max=BYTES_MAX, size_of=metadata.size_of, clock=Clock()
    )
    chosen = BoundedCache(
        "format_choice", 600.0, bytes_max=BYTES_MAX, size_of=format_choice.size_of, clock=Clock()
    )
    cache, choices = MetadataCache(read), FormatChoices(chosen)
    for page in pages(200):
        choices.choose(VIDEO, cache.read(TikTok(), VIDEO, page), Options())
    assert BYTES_MAX / 2 < read.size_bytes <= BYTES_MAX
    assert BYTES_MAX / 2 < chosen.size_bytes <= BYTES_MAX
