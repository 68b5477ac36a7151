from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from agents.caching.row_codec import (
    JSON_BYTES_MAX,
    CachedExtraction,
    Decoded,
    pack,
    size_of,
    unpack,
)
from agents.caching.row_expiry import CLOCKS_APART_SECONDS, ROW_OVERHEAD_BYTES
from agents.caching.ttl_lru import ENTRY_OVERHEAD_BYTES, BoundedCache
from agents.caching.video_info import Found, VideoInfoCache
from schemas.video import Extraction
from tests.unit.agents.builders import Clock, make_extraction
from tests.unit.agents.caching.backends import Dictionary
from tests.unit.agents.caching.reports import Told

LIFE = 100.0
STALE = 1_000.0
READ_AT = make_extraction().extracted_at
NOW = READ_AT.timestamp()
MUCH = 10**9


class Kit:
    def __init__(self, shared: Dictionary | None = None, **more: Any) -> None:
        self.clock, self.told = Clock(NOW), Told()
        self.rows: dict[str, bytes] = {}
        self.shared = shared
        self.cache = VideoInfoCache(
            self.rows.get, LIFE, self.clock, shared=shared, report=self.told, **more
        )

    async def put(
        self, key: str, expires_at: float | None = None, extraction: Extraction | None = None
    ) -> None:
        self.rows[key] = await self.cache.put(key, extraction or make_extraction(), expires_at)

    async def get(self, key: str = "a") -> Extraction | None:
        found = await self.cache.get(key)
        return None if found is None else found.extraction


async def test_nothing_is_known_at_first() -> None:
    assert await Kit().get() is None


async def test_a_row_is_read_as_it_was_written() -> None:
    kit = Kit()
    await kit.put("a")
    assert await kit.cache.get("a") == Found(make_extraction())
    assert await kit.get("b") is None


@pytest.mark.parametrize(
    ("links_end", "end"),
    [(None, NOW + LIFE), (NOW + 50, NOW + 50), (NOW + 9_000, NOW + LIFE), (5.0, 5.0)],
)
async def test_the_links_shorten_its_life_and_never_lengthen_it(
    links_end: float | None, end: float
) -> None:
    kit = Kit()
    await kit.put("a", links_end)
    assert unpack(kit.rows["a"]).expires_at == end


async def test_its_end_is_exact_with_and_without_the_decoded_entry() -> None:
    kit = Kit()
    await kit.put("a", NOW + 50)
    kit.clock.now = NOW + 49.9
    assert await kit.get() is not None
    kit.clock.now = NOW + 50
    assert await kit.get() is None
    assert await VideoInfoCache(kit.rows.get, LIFE, kit.clock).get("a") is None


async def test_links_that_have_ended_are_of_no_use() -> None:
    kit = Kit(Dictionary())
    await kit.put("a", NOW - 1)
    assert await kit.get() is None


async def test_it_is_decoded_once() -> None:
    kit = Kit()
    await kit.put("a")
    assert await kit.get() is await kit.get()


async def test_a_new_row_replaces_the_decoded_entry() -> None:
    kit = Kit()
    await kit.put("a")
    first = await kit.get()
    kit.clock.now += 1
    await kit.put("a")
    assert await kit.get() == first
    assert await kit.get() is not first


async def test_a_deleted_row_is_not_answered_from_memory() -> None:
    kit = Kit()
    await kit.put("a")
    assert await kit.get() is not None
    del kit.rows["a"]
    assert await kit.get() is None


@pytest.mark.parametrize("row", [b"", b"\xff", b"\x01", b"{}", b'{"expires_at":1e12}'])
async def test_what_nobody_can_read_is_not_known(row: bytes) -> None:
    shared = Dictionary()
    kit = Kit(shared)
    kit.rows["a"] = shared.values["video_info:a"] = row
    assert await kit.get() is None
    assert kit.cache.get_stale("a") is None


async def test_what_was_read_under_other_settings_is_of_no_use() -> None:
    before = Kit(meaning=b"settings")
    await before.put("a")
    for meaning, is_known in [(b"settings", True), (b"changed!", False)]:
        kit = Kit(meaning=meaning, stale_seconds=STALE)
        kit.rows["a"] = before.rows["a"]
        assert (await kit.get() is not None) is is_known
        assert kit.cache.get_stale("a") is not None


async def test_what_is_over_is_listed() -> None:
    kit = Kit()
    await kit.put("long")
    await kit.put("short", NOW + 50)
    kit.rows["broken"] = b"\xff"
    assert kit.cache.expired(kit.rows.items()) == ["broken"]
    kit.clock.now = NOW + 50
    assert kit.cache.expired(kit.rows.items()) == ["short", "broken"]
    kit.clock.now = NOW + LIFE
    assert kit.cache.expired(kit.rows.items()) == ["long", "short", "broken"]
    assert kit.told.evictions == {("video_info", "ttl"): 6}


# While the platform is away


@pytest.mark.parametrize(
    ("age", "fresh", "stale"),
    [
        (LIFE - 0.1, True, True),
        (LIFE, False, True),
        (LIFE + STALE - 0.1, False, True),
        (LIFE + STALE, False, False),
    ],
)
async def test_what_is_over_may_serve_for_some_time(age: float, fresh: bool, stale: bool) -> None:
    kit = Kit(stale_seconds=STALE)
    await kit.put("a")
    kit.clock.now += age
    assert (await kit.get() is not None) is fresh
    assert (kit.cache.get_stale("a") is not None) is stale
    assert (kit.cache.expired(kit.rows.items()) == []) is stale
    assert kit.told.lookups["video_info", "table", "stale"] == stale


async def test_nothing_stale_is_known_of_other_videos() -> None:
    kit = Kit(stale_seconds=STALE)
    kit.rows["broken"] = b"\xff"
    assert kit.cache.get_stale("a") is None
    assert kit.cache.get_stale("broken") is None


async def test_of_too_many_rows_those_go_first_that_end_first() -> None:
    kit = Kit(stale_seconds=STALE)
    for number, key in enumerate("cab"):
        await kit.put(key, NOW + 10 + number)
    size = max(map(len, kit.rows.values())) + ROW_OVERHEAD_BYTES
    full = Kit(stale_seconds=STALE, rows_bytes_max=2 * size)
    full.rows = kit.rows
    assert full.cache.expired(kit.rows.items()) == ["c"]
    assert full.told.evictions == {("video_info", "size"): 1}
    entries, total = full.told.sizes["video_info", "table"]
    assert (entries, 2 * size < total <= 3 * size) == (3, True)


# What users have forgotten

A_MOMENT = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("refreshed", "is_known"),
    [
        (None, True),
        (READ_AT - A_MOMENT, True),
        (READ_AT, True),
        (READ_AT + A_MOMENT, False),
    ],
    ids=["never", "before it was read", "in the same moment", "after it was read"],
)
async def test_what_was_read_before_a_refresh_is_of_no_use(
    refreshed: datetime | None, is_known: bool
) -> None:
    kit = Kit(Dictionary(), stale_seconds=STALE, refreshed={"a": refreshed}.get)
    await kit.put("a")
    await kit.put("b")
    assert (await kit.get("a") is not None) is is_known
    kit.clock.now += LIFE
    assert (kit.cache.get_stale("a") is not None) is is_known
    assert kit.cache.get_stale("b") is not None


async def test_a_refresh_counts_for_entries_that_are_decoded_already() -> None:
    refreshed: dict[str, datetime] = {}
    kit = Kit(refreshed=refreshed.get)
    await kit.put("a")
    assert await kit.get() is not None
    refreshed["a"] = READ_AT + A_MOMENT
    assert await kit.get() is None


# What was found to be no good


def later(seconds: float = 1.0) -> Extraction:
    read_at = READ_AT + timedelta(seconds=seconds)
    return msgspec.structs.replace(make_extraction(), extracted_at=read_at)


async def test_what_is_dropped_serves_nobody_but_while_the_platform_is_away() -> None:
    shared = Dictionary()
    kit = Kit(shared, stale_seconds=STALE)
    await kit.put("a")
    await kit.put("b")
    await kit.cache.drop("a")
    assert await kit.get("a") is None
    assert await kit.get("b") is not None
    assert kit.cache.get_stale("a") is not None
    assert set(shared.values) == {"video_info:b"}
    assert kit.told.evictions == {("video_info", "invalidated"): 1}


async def test_what_is_dropped_does_not_come_back_from_elsewhere() -> None:
    shared = Dictionary()
    kit = Kit(shared)
    await kit.put("a")
    remembered = dict(shared.values)
    await kit.cache.drop("a")
    shared.values = remembered
    assert await kit.get() is None
    assert kit.told.lookups["video_info", "shared", "miss"] == 1


async def test_what_is_read_after_a_drop_is_good() -> None:
    kit = Kit(Dictionary())
    await kit.put("a")
    await kit.cache.drop("a")
    await kit.put("a", extraction=later())
    assert await kit.get() == later()


async def test_what_others_read_before_a_drop_is_of_no_use() -> None:
    shared = Dictionary()
    kit = Kit(shared)
    await kit.cache.drop("a")
    entry = CachedExtraction(expires_at=NOW + 50, extraction=make_extraction())
    shared.values["video_info:a"] = pack(entry)
    assert await kit.get() is None
    shared.values["video_info:a"] = pack(msgspec.structs.replace(entry, extraction=later()))
    assert await kit.get() == later()


# What no worker has shared


def at(second: float, **more: Any) -> CachedExtraction:
    """An entry that was read at an epoch second."""
    read_at = datetime.fromtimestamp(second, UTC)
    extraction = msgspec.structs.replace(make_extraction(), extracted_at=read_at)
    return CachedExtraction(**{"expires_at": NOW + LIFE, "extraction": extraction, **more})


SHARED: dict[str, tuple[CachedExtraction, bool]] = {
    "as it should be": (at(NOW), True),
    "by a clock that is ahead": (at(NOW + CLOCKS_APART_SECONDS), True),
    "from the future": (at(NOW + CLOCKS_APART_SECONDS + 1), False),
    "at the end of time": (at(datetime.max.replace(tzinfo=UTC).timestamp() - 86_400), False),
    "over": (at(NOW, expires_at=NOW), False),
    "with a longer life": (at(NOW, expires_at=NOW + LIFE + 1), False),
    "for ever": (at(NOW, expires_at=1e300), False),
    "without an end": (at(NOW, expires_at=float("inf")), False),
    "with an end that is no number": (at(NOW, expires_at=float("nan")), False),
    "larger than a result": (
        at(
            NOW,
            extraction=msgspec.structs.replace(
                at(NOW).extraction, raw=msgspec.Raw(b'"' + b"x" * JSON_BYTES_MAX + b'"')
            ),
        ),
        False,
    ),
}


@pytest.mark.parametrize("name", SHARED)
async def test_only_what_a_worker_may_have_shared_is_believed(name: str) -> None:
    shared = Dictionary()
    kit = Kit(shared)
    entry, is_known = SHARED[name]
    shared.values["video_info:a"] = pack(entry)
    assert (await kit.get() is not None) is is_known
    assert kit.told.lookups["video_info", "shared", "hit" if is_known else "miss"] == 1


@pytest.mark.parametrize("end", [float("inf"), float("nan"), float("-inf")])
async def test_a_row_without_an_end_serves_nobody_and_goes(end: float) -> None:
    kit = Kit(stale_seconds=STALE)
    kit.rows["a"] = pack(at(NOW, expires_at=end))
    assert await kit.get() is None
    assert kit.cache.get_stale("a") is None
    assert kit.cache.expired(kit.rows.items()) == ["a"]


# Levels


async def test_each_level_counts_what_it_was_asked() -> None:
    shared = Dictionary()
    kit = Kit(shared)
    await kit.get()
    await kit.put("a")
    await kit.get()
    await kit.get()
    del kit.rows["a"]
    await kit.get()
    assert kit.told.lookups == {
        ("video_info", "front", "miss"): 3,
        ("video_info", "front", "hit"): 1,
        ("video_info", "table", "miss"): 2,
        ("video_info", "table", "hit"): 1,
        ("video_info", "shared", "miss"): 1,
        ("video_info", "shared", "hit"): 1,
    }


async def test_what_one_worker_reads_is_known_to_the_next_and_goes_into_its_table() -> None:
    shared = Dictionary()
    one, other = Kit(shared), Kit(shared)
    await one.put("a")
    found = await other.cache.get("a")
    assert found == Found(make_extraction(), one.rows["a"])
    other.rows["a"] = one.rows["a"]
    shared.values.clear()
    assert await other.cache.get("a") == Found(make_extraction())


@pytest.mark.parametrize(
    ("links_end", "life"), [(None, LIFE), (NOW + 30, 30.0), (NOW, None), (NOW - 5, None)]
)
async def test_what_is_shared_ends_with_its_links(
    links_end: float | None, life: float | None
) -> None:
    shared = Dictionary()
    await Kit(shared).put("a", links_end)
    assert shared.lives.get("video_info:a") == life


async def test_what_is_shared_ends_even_when_the_backend_keeps_it() -> None:
    shared = Dictionary()
    one, other = Kit(shared), Kit(shared)
    await one.put("a", NOW + 30)
    other.clock.now += 30
    assert await other.get() is None


async def test_in_front_only_what_fits_is_kept() -> None:
    entry = CachedExtraction(expires_at=1.0, extraction=later())
    size = size_of("a", Decoded(b"", entry)) + ENTRY_OVERHEAD_BYTES
    front: BoundedCache[str, Decoded] = BoundedCache(
        "video_info", LIFE, bytes_max=2 * size, size_of=size_of, level="front"
    )
    kit = Kit(front=front)
    for key in "abcdef":
        await kit.put(key)
        await kit.get(key)
    assert (len(front), len(kit.rows)) == (2, 6)
    assert all([await kit.get(key) for key in "abcdef"])


async def test_a_row_from_before_the_clock_was_set_back_is_not_used_for_longer() -> None:
    kit = Kit()
    await kit.put("a")
    kit.clock.now -= 7_200
    assert await kit.get() is None
    await kit.put("a")
    assert await kit.get() is not None
