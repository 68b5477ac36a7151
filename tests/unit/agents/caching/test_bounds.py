"""Whatever is asked for, however often: nothing grows without bound."""

import random
import tracemalloc
from collections.abc import Iterator

import pytest

from agents.caching import format_choice, metadata, row_codec, ttl_lru
from agents.caching.format_choice import FormatChoices
from agents.caching.metadata import MetadataCache
from agents.caching.negative import NegativeCache
from agents.caching.row_codec import Decoded
from agents.caching.row_expiry import ROW_OVERHEAD_BYTES
from agents.caching.ttl_lru import BoundedCache, MemoryBackend
from agents.caching.video_info import VideoInfoCache
from agents.platforms.tiktok.handler import TikTok
from schemas.errors import ClipmillError, ErrorCode
from schemas.request import Options
from schemas.video import Extraction
from tests.unit.agents.builders import VIDEO, Clock
from tests.unit.agents.platforms.tiktok.raws import extraction_of, raw_of

pytestmark = pytest.mark.untraced

REQUESTS = 100_000
"""A million is what ``python -m benchmarks caches`` asks."""

MEASURED_REQUESTS = 10_000
"""Counting memory makes all else ten times slower."""

ROOM = 256_000


def keys(kind: str, count: int) -> Iterator[str]:
    """Keys of requests: each one new, or most of them few, as videos are asked for."""
    rng = random.Random(1)
    for number in range(count):
        yield f"tiktok:{number if kind == 'unique' else int(rng.paretovariate(0.4))}"


def ask(store: BoundedCache[str, bytes], kind: str, count: int, clock: Clock) -> None:
    for number, key in enumerate(keys(kind, count)):
        clock.now += 0.01
        if store.get(key) is None:
            store.set(key, b"x" * (number % 50))
        assert store.size_bytes <= ROOM


def make_store(clock: Clock) -> BoundedCache[str, bytes]:
    return BoundedCache("m", 600.0, bytes_max=ROOM, size_of=ttl_lru.size_of, clock=clock)


@pytest.mark.parametrize("kind", ["unique", "skewed"])
def test_requests_without_end_fit_into_the_room(kind: str) -> None:
    clock = Clock()
    store = make_store(clock)
    ask(store, kind, REQUESTS, clock)
    assert 100 < len(store) < 1_000
    # What cachetools keeps of entries that are gone is bounded as well.
    assert len(store._entries._TLRUCache__order) <= 2 * len(store) + 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["unique", "skewed"])
def test_what_is_counted_is_what_is_used(kind: str) -> None:
    clock = Clock()
    store = make_store(clock)
    tracemalloc.start()
    try:
        ask(store, kind, MEASURED_REQUESTS, clock)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert store.size_bytes / 2 < used < store.size_bytes * 1.1


async def test_failures_of_videos_without_end_fit_into_the_room() -> None:
    clock = Clock()
    store = make_store(clock)
    failures = NegativeCache(600.0, MemoryBackend(store), clock=clock)
    for key in keys("unique", 20_000):
        clock.now += 0.01
        await failures.note(key, ClipmillError(ErrorCode.CONTENT_PRIVATE, "private", reason="x"))
    assert ROOM / 2 < store.size_bytes <= ROOM


async def test_rows_of_videos_without_end_fit_into_the_table() -> None:
    clock, rows = Clock(), dict[str, bytes]()
    front: BoundedCache[str, Decoded] = BoundedCache(
        "video_info", 600.0, bytes_max=ROOM, size_of=row_codec.size_of, clock=clock
    )
    cache = VideoInfoCache(
        rows.get, 600.0, clock, stale_seconds=60.0, front=front, rows_bytes_max=ROOM
    )
    extraction = extraction_of({"id": "1"})
    largest = 0
    for number, key in enumerate(keys("unique", 10_000)):
        clock.now += 0.05
        rows[key] = await cache.put(key, extraction, None)
        assert await cache.get(key) is not None
        if number % 200 == 0:
            for gone in cache.expired(rows.items()):
                del rows[gone]
            largest = max(largest, sum(len(row) + ROW_OVERHEAD_BYTES for row in rows.values()))
    assert ROOM / 2 < largest <= ROOM
    assert ROOM / 2 < front.size_bytes <= ROOM


def pages(count: int) -> Iterator[Extraction]:
    raw = raw_of()
    for number in range(count):
        yield extraction_of({**raw, "title": f"clip {number}"})


def test_pages_and_choices_without_end_fit_into_the_room() -> None:
    read = BoundedCache("metadata", 600.0, bytes_max=ROOM, size_of=metadata.size_of, clock=Clock())
    chosen = BoundedCache(
        "format_choice", 600.0, bytes_max=ROOM, size_of=format_choice.size_of, clock=Clock()
    )
    cache, choices = MetadataCache(read), FormatChoices(chosen)
    for page in pages(200):
        choices.choose(VIDEO, cache.read(TikTok(), VIDEO, page), Options())
    assert ROOM / 2 < read.size_bytes <= ROOM
    assert ROOM / 2 < chosen.size_bytes <= ROOM
