from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from agents.caching.row_codec import JSON_BYTES_MAX, CachedExtraction, pack, unpack
from agents.caching.row_expiry import CLOCK_SKEW_SECONDS
from agents.caching.ttl_lru import ENTRY_OVERHEAD_BYTES, BoundedCache
from agents.caching.video_info import CacheHit, DecodedRow, VideoInfoCache, size_of
from schemas.video import Extraction
from tests.unit.agents.builders import Clock, make_extraction
from tests.unit.agents.caching.backends import DictBackend
from tests.unit.agents.caching.reports import CountingReport
from tests.unit.agents.caching.slices import index_of, keys_in

TTL_SECONDS = 100.0
STALE_SECONDS = 1_000.0
READ_AT = make_extraction().extracted_at
NOW = READ_AT.timestamp()
UNLIMITED = 10**9


class VideoInfoHarness:
    def __init__(self, shared: DictBackend | None = None, **more: Any) -> None:
        self.clock, self.report = Clock(NOW), CountingReport()
        self.rows: dict[str, bytes] = {}
        self.shared = shared
        self.cache = VideoInfoCache(
            self.rows.get, TTL_SECONDS, self.clock, shared=shared, report=self.report, **more
        )

    async def put(
        self, key: str, expires_at: float | None = None, extraction: Extraction | None = None
    ) -> None:
        self.rows[key] = await self.cache.put(key, extraction or make_extraction(), expires_at)

    async def get(self, key: str = "a") -> Extraction | None:
        found = await self.cache.get(key)
        return None if found is None else found.extraction


async def test_empty_cache_is_a_miss() -> None:
    assert await VideoInfoHarness().get() is None


async def test_row_is_read_back() -> None:
    harness = VideoInfoHarness()
    await harness.put("a")
    assert await harness.cache.get("a") == CacheHit(make_extraction())
    assert await harness.get("b") is None


@pytest.mark.parametrize(
    ("links_expire_at", "expires_at"),
    [(None, NOW + TTL_SECONDS), (NOW + 50, NOW + 50), (NOW + 9_000, NOW + TTL_SECONDS), (5.0, 5.0)],
)
async def test_expiry_of_the_links_only_shortens_the_ttl(
    links_expire_at: float | None, expires_at: float
) -> None:
    harness = VideoInfoHarness()
    await harness.put("a", links_expire_at)
    assert unpack(harness.rows["a"]).expires_at == expires_at


async def test_expiry_is_exact_with_and_without_the_decoded_entry() -> None:
    harness = VideoInfoHarness()
    await harness.put("a", NOW + 50)
    harness.clock.now = NOW + 49.9
    assert await harness.get() is not None
    harness.clock.now = NOW + 50
    assert await harness.get() is None
    assert await VideoInfoCache(harness.rows.get, TTL_SECONDS, harness.clock).get("a") is None


async def test_entry_with_expired_links_is_a_miss() -> None:
    harness = VideoInfoHarness(DictBackend())
    await harness.put("a", NOW - 1)
    assert await harness.get() is None


async def test_row_is_decoded_once() -> None:
    harness = VideoInfoHarness()
    await harness.put("a")
    assert await harness.get() is await harness.get()


async def test_new_row_replaces_the_decoded_entry() -> None:
    harness = VideoInfoHarness()
    await harness.put("a")
    first = await harness.get()
    harness.clock.now += 1
    await harness.put("a")
    assert await harness.get() == first
    assert await harness.get() is not first


async def test_deleted_row_is_a_miss() -> None:
    harness = VideoInfoHarness()
    await harness.put("a")
    assert await harness.get() is not None
    del harness.rows["a"]
    assert await harness.get() is None


@pytest.mark.parametrize("row", [b"", b"\xff", b"\x01", b"{}", b'{"expires_at":1e12}'])
async def test_unreadable_row_is_a_miss(row: bytes) -> None:
    shared = DictBackend()
    harness = VideoInfoHarness(shared)
    harness.rows["a"] = shared.values["video_info:a"] = row
    assert await harness.get() is None
    assert harness.cache.get_stale("a") is None


async def test_other_fingerprint_is_a_miss_but_served_stale() -> None:
    before = VideoInfoHarness(fingerprint=b"settings")
    await before.put("a")
    for fingerprint, is_known in [(b"settings", True), (b"changed!", False)]:
        harness = VideoInfoHarness(fingerprint=fingerprint, stale_seconds=STALE_SECONDS)
        harness.rows["a"] = before.rows["a"]
        assert (await harness.get() is not None) is is_known
        assert harness.cache.get_stale("a") is not None


async def test_sweep_returns_expired_rows() -> None:
    harness = VideoInfoHarness()
    await harness.put("long")
    await harness.put("short", NOW + 50)
    harness.rows["broken"] = b"\xff"
    assert keys_in(harness.cache.sweep(index_of(harness.rows))) == ["broken"]
    harness.clock.now = NOW + 50
    assert keys_in(harness.cache.sweep(index_of(harness.rows))) == ["short", "broken"]
    harness.clock.now = NOW + TTL_SECONDS
    assert keys_in(harness.cache.sweep(index_of(harness.rows))) == ["long", "short", "broken"]
    assert harness.report.evictions == {("video_info", "ttl"): 6}


# Stale entries


@pytest.mark.parametrize(
    ("age", "fresh", "stale"),
    [
        (TTL_SECONDS - 0.1, True, True),
        (TTL_SECONDS, False, True),
        (TTL_SECONDS + STALE_SECONDS - 0.1, False, True),
        (TTL_SECONDS + STALE_SECONDS, False, False),
    ],
)
async def test_expired_entry_is_served_stale_for_some_time(
    age: float, fresh: bool, stale: bool
) -> None:
    harness = VideoInfoHarness(stale_seconds=STALE_SECONDS)
    await harness.put("a")
    harness.clock.now += age
    assert (await harness.get() is not None) is fresh
    assert (harness.cache.get_stale("a") is not None) is stale
    assert (keys_in(harness.cache.sweep(index_of(harness.rows))) == []) is stale
    assert harness.report.lookups["video_info", "table", "stale"] == stale


async def test_missing_and_broken_rows_are_not_served_stale() -> None:
    harness = VideoInfoHarness(stale_seconds=STALE_SECONDS)
    harness.rows["broken"] = b"\xff"
    assert harness.cache.get_stale("a") is None
    assert harness.cache.get_stale("broken") is None


async def test_rows_that_expire_first_are_evicted_first() -> None:
    harness = VideoInfoHarness(stale_seconds=STALE_SECONDS)
    for number, key in enumerate("cab"):
        await harness.put(key, NOW + 10 + number)
    size = max(map(len, harness.rows.values())) + len("a")
    full = VideoInfoHarness(stale_seconds=STALE_SECONDS, rows_bytes_max=2 * size)
    full.rows = harness.rows
    assert keys_in(full.cache.sweep(index_of(harness.rows))) == ["c"]
    assert full.report.evictions == {("video_info", "size"): 1}
    entries, total = full.report.sizes["video_info", "table"]
    assert (entries, 2 * size < total <= 3 * size) == (3, True)


# Invalidation

MICROSECOND = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("invalidated", "is_known"),
    [
        (None, True),
        (READ_AT - MICROSECOND, True),
        (READ_AT, True),
        (READ_AT + MICROSECOND, False),
    ],
    ids=["never", "before it was read", "at the same time", "after it was read"],
)
async def test_entry_from_before_an_invalidation_is_a_miss(
    invalidated: datetime | None, is_known: bool
) -> None:
    harness = VideoInfoHarness(
        DictBackend(), stale_seconds=STALE_SECONDS, invalidated_at={"a": invalidated}.get
    )
    await harness.put("a")
    await harness.put("b")
    assert (await harness.get("a") is not None) is is_known
    harness.clock.now += TTL_SECONDS
    assert (harness.cache.get_stale("a") is not None) is is_known
    assert harness.cache.get_stale("b") is not None


async def test_invalidation_applies_to_decoded_entries() -> None:
    invalidated: dict[str, datetime] = {}
    harness = VideoInfoHarness(invalidated_at=invalidated.get)
    await harness.put("a")
    assert await harness.get() is not None
    invalidated["a"] = READ_AT + MICROSECOND
    assert await harness.get() is None


# Dropped entries


def later(seconds: float = 1.0) -> Extraction:
    read_at = READ_AT + timedelta(seconds=seconds)
    return msgspec.structs.replace(make_extraction(), extracted_at=read_at)


async def test_dropped_entry_is_served_stale_only() -> None:
    shared = DictBackend()
    harness = VideoInfoHarness(shared, stale_seconds=STALE_SECONDS)
    await harness.put("a")
    await harness.put("b")
    await harness.cache.drop("a")
    assert await harness.get("a") is None
    assert await harness.get("b") is not None
    assert harness.cache.get_stale("a") is not None
    assert set(shared.values) == {"video_info:b"}
    assert harness.report.evictions == {("video_info", "invalidated"): 1}


async def test_dropped_entry_is_not_restored_from_the_shared_backend() -> None:
    shared = DictBackend()
    harness = VideoInfoHarness(shared)
    await harness.put("a")
    saved = dict(shared.values)
    await harness.cache.drop("a")
    shared.values = saved
    assert await harness.get() is None
    assert harness.report.lookups["video_info", "shared", "miss"] == 1


async def test_entry_from_after_a_drop_is_a_hit() -> None:
    harness = VideoInfoHarness(DictBackend())
    await harness.put("a")
    await harness.cache.drop("a")
    await harness.put("a", extraction=later())
    assert await harness.get() == later()


async def test_shared_entry_from_before_a_drop_is_a_miss() -> None:
    shared = DictBackend()
    harness = VideoInfoHarness(shared)
    await harness.cache.drop("a")
    entry = CachedExtraction(expires_at=NOW + 50, extraction=make_extraction())
    shared.values["video_info:a"] = pack(entry)
    assert await harness.get() is None
    shared.values["video_info:a"] = pack(msgspec.structs.replace(entry, extraction=later()))
    assert await harness.get() == later()


# Invalid shared entries


def entry_at(second: float, **more: Any) -> CachedExtraction:
    """Return an entry that was read at an epoch second."""
    read_at = datetime.fromtimestamp(second, UTC)
    extraction = msgspec.structs.replace(make_extraction(), extracted_at=read_at)
    return CachedExtraction(**{"expires_at": NOW + TTL_SECONDS, "extraction": extraction, **more})


SHARED: dict[str, tuple[CachedExtraction, bool]] = {
    "valid": (entry_at(NOW), True),
    "within the clock skew": (entry_at(NOW + CLOCK_SKEW_SECONDS), True),
    "from the future": (entry_at(NOW + CLOCK_SKEW_SECONDS + 1), False),
    "at the maximum date": (entry_at(datetime.max.replace(tzinfo=UTC).timestamp() - 86_400), False),
    "expired": (entry_at(NOW, expires_at=NOW), False),
    "with a longer TTL": (entry_at(NOW, expires_at=NOW + TTL_SECONDS + 1), False),
    "never expiring": (entry_at(NOW, expires_at=1e300), False),
    "infinite expiry": (entry_at(NOW, expires_at=float("inf")), False),
    "expiry that is no number": (entry_at(NOW, expires_at=float("nan")), False),
    "larger than a result": (
        entry_at(
            NOW,
            extraction=msgspec.structs.replace(
                entry_at(NOW).extraction, raw=msgspec.Raw(b'"' + b"x" * JSON_BYTES_MAX + b'"')
            ),
        ),
        False,
    ),
}


@pytest.mark.parametrize("name", SHARED)
async def test_invalid_shared_entry_is_a_miss(name: str) -> None:
    shared = DictBackend()
    harness = VideoInfoHarness(shared)
    entry, is_known = SHARED[name]
    shared.values["video_info:a"] = pack(entry)
    assert (await harness.get() is not None) is is_known
    assert harness.report.lookups["video_info", "shared", "hit" if is_known else "miss"] == 1


@pytest.mark.parametrize("expires_at", [float("inf"), float("nan"), float("-inf")])
async def test_row_without_a_finite_expiry_is_a_miss_and_swept(expires_at: float) -> None:
    harness = VideoInfoHarness(stale_seconds=STALE_SECONDS)
    harness.rows["a"] = pack(entry_at(NOW, expires_at=expires_at))
    assert await harness.get() is None
    assert harness.cache.get_stale("a") is None
    assert keys_in(harness.cache.sweep(index_of(harness.rows))) == ["a"]


# Cache levels


async def test_lookups_are_counted_per_level() -> None:
    shared = DictBackend()
    harness = VideoInfoHarness(shared)
    await harness.get()
    await harness.put("a")
    await harness.get()
    await harness.get()
    del harness.rows["a"]
    await harness.get()
    assert harness.report.lookups == {
        ("video_info", "front", "miss"): 3,
        ("video_info", "front", "hit"): 1,
        ("video_info", "table", "miss"): 2,
        ("video_info", "table", "hit"): 1,
        ("video_info", "shared", "miss"): 1,
        ("video_info", "shared", "hit"): 1,
    }


async def test_shared_entry_is_a_hit_with_its_row_for_other_workers() -> None:
    shared = DictBackend()
    one, other = VideoInfoHarness(shared), VideoInfoHarness(shared)
    await one.put("a")
    found = await other.cache.get("a")
    assert found == CacheHit(make_extraction(), one.rows["a"])
    other.rows["a"] = one.rows["a"]
    shared.values.clear()
    assert await other.cache.get("a") == CacheHit(make_extraction())


@pytest.mark.parametrize(
    ("links_expire_at", "ttl_seconds"),
    [(None, TTL_SECONDS), (NOW + 30, 30.0), (NOW, None), (NOW - 5, None)],
)
async def test_ttl_of_a_shared_entry_ends_with_its_links(
    links_expire_at: float | None, ttl_seconds: float | None
) -> None:
    shared = DictBackend()
    await VideoInfoHarness(shared).put("a", links_expire_at)
    assert shared.ttls.get("video_info:a") == ttl_seconds


async def test_shared_entry_expires_even_when_the_backend_keeps_it() -> None:
    shared = DictBackend()
    one, other = VideoInfoHarness(shared), VideoInfoHarness(shared)
    await one.put("a", NOW + 30)
    other.clock.now += 30
    assert await other.get() is None


async def test_front_cache_is_bounded() -> None:
    entry = CachedExtraction(expires_at=1.0, extraction=later())
    size = size_of("a", DecodedRow(b"", entry)) + ENTRY_OVERHEAD_BYTES
    front: BoundedCache[str, DecodedRow] = BoundedCache(
        "video_info", TTL_SECONDS, bytes_max=2 * size, size_of=size_of, level="front"
    )
    harness = VideoInfoHarness(front=front)
    for key in "abcdef":
        await harness.put(key)
        await harness.get(key)
    assert (len(front), len(harness.rows)) == (2, 6)
    assert all([await harness.get(key) for key in "abcdef"])


async def test_row_from_before_the_clock_was_set_back_is_a_miss() -> None:
    harness = VideoInfoHarness()
    await harness.put("a")
    harness.clock.now -= 7_200
    assert await harness.get() is None
    await harness.put("a")
    assert await harness.get() is not None
