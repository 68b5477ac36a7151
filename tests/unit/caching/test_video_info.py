from datetime import datetime, timedelta
from typing import Any

import pytest

from agents.caching import video_info
from agents.caching.rows import ROW_OVERHEAD_BYTES
from agents.caching.video_info import CachedExtraction, VideoInfoCache
from schemas.codec import decode
from tests.unit.agents.builders import Clock, make_extraction

LIFE = 100.0
STALE = 1_000.0
NOW = 1_000.0


class Kit:
    def __init__(self, **more: Any) -> None:
        self.clock = Clock(NOW)
        self.rows: dict[str, bytes] = {}
        self.cache = VideoInfoCache(self.rows.get, LIFE, self.clock, **more)

    def put(self, key: str, expires_at: float | None = None) -> None:
        self.rows[key] = self.cache.row(make_extraction(), expires_at)


def test_nothing_is_known_at_first() -> None:
    assert Kit().cache.get("a") is None


def test_a_row_is_read_as_it_was_written() -> None:
    kit = Kit()
    kit.put("a")
    assert kit.cache.get("a") == make_extraction()
    assert kit.cache.get("b") is None


@pytest.mark.parametrize(
    ("links_end", "end"), [(None, 1_100.0), (1_050.0, 1_050.0), (9_000.0, 1_100.0), (5.0, 5.0)]
)
def test_the_links_shorten_its_life_and_never_lengthen_it(
    links_end: float | None, end: float
) -> None:
    kit = Kit()
    kit.put("a", links_end)
    assert decode(kit.rows["a"], CachedExtraction).expires_at == end


def test_its_end_is_exact_with_and_without_the_decoded_entry() -> None:
    kit = Kit()
    kit.put("a", NOW + 50)
    kit.clock.now = NOW + 49.9
    assert kit.cache.get("a") is not None
    kit.clock.now = NOW + 50
    assert kit.cache.get("a") is None
    assert VideoInfoCache(kit.rows.get, LIFE, kit.clock).get("a") is None


def test_links_that_have_ended_are_of_no_use() -> None:
    kit = Kit()
    kit.put("a", NOW - 1)
    assert kit.cache.get("a") is None


def test_it_is_decoded_once() -> None:
    kit = Kit()
    kit.put("a")
    assert kit.cache.get("a") is kit.cache.get("a")


def test_a_new_row_replaces_the_decoded_entry() -> None:
    kit = Kit()
    kit.put("a")
    first = kit.cache.get("a")
    kit.clock.now += 1
    kit.put("a")
    assert kit.cache.get("a") == first
    assert kit.cache.get("a") is not first


def test_a_deleted_row_is_not_answered_from_memory() -> None:
    kit = Kit()
    kit.put("a")
    assert kit.cache.get("a") is not None
    del kit.rows["a"]
    assert kit.cache.get("a") is None


@pytest.mark.parametrize("row", [b"", b"\xff", b"{}", b"null", b'{"expires_at":1e12}'])
def test_what_nobody_can_read_is_not_known(row: bytes) -> None:
    kit = Kit()
    kit.rows["a"] = row
    assert kit.cache.get("a") is None


def test_what_is_over_is_listed() -> None:
    kit = Kit()
    kit.put("long")
    kit.put("short", NOW + 50)
    kit.rows["broken"] = b"\xff"
    assert kit.cache.expired(kit.rows.items()) == ["broken"]
    kit.clock.now = NOW + 50
    assert kit.cache.expired(kit.rows.items()) == ["short", "broken"]
    kit.clock.now = NOW + LIFE
    assert kit.cache.expired(kit.rows.items()) == ["long", "short", "broken"]


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
def test_what_is_over_may_serve_for_some_time(age: float, fresh: bool, stale: bool) -> None:
    kit = Kit(stale_seconds=STALE)
    kit.put("a")
    kit.clock.now += age
    assert (kit.cache.get("a") is not None) is fresh
    assert (kit.cache.get_stale("a") is not None) is stale
    assert (kit.cache.expired(kit.rows.items()) == []) is stale


def test_nothing_stale_is_known_of_other_videos() -> None:
    kit = Kit(stale_seconds=STALE)
    kit.rows["broken"] = b"\xff"
    assert kit.cache.get_stale("a") is None
    assert kit.cache.get_stale("broken") is None


def test_of_too_many_rows_those_go_first_that_end_first(monkeypatch: pytest.MonkeyPatch) -> None:
    kit = Kit(stale_seconds=STALE)
    for number, key in enumerate("cab"):
        kit.put(key, NOW + 10 + number)
    size = len(kit.rows["a"]) + ROW_OVERHEAD_BYTES
    monkeypatch.setattr(video_info, "ROWS_BYTES_MAX", 2 * size)
    assert kit.cache.expired(kit.rows.items()) == ["c"]


# What users have forgotten

READ_AT = make_extraction().extracted_at
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
def test_what_was_read_before_a_refresh_is_of_no_use(
    refreshed: datetime | None, is_known: bool
) -> None:
    kit = Kit(stale_seconds=STALE, refreshed={"a": refreshed}.get)
    kit.put("a")
    kit.put("b")
    assert (kit.cache.get("a") is not None) is is_known
    kit.clock.now += LIFE
    assert (kit.cache.get_stale("a") is not None) is is_known
    assert kit.cache.get_stale("b") is not None


def test_a_refresh_counts_for_entries_that_are_decoded_already() -> None:
    refreshed: dict[str, datetime] = {}
    kit = Kit(refreshed=refreshed.get)
    kit.put("a")
    assert kit.cache.get("a") is not None
    refreshed["a"] = READ_AT + A_MOMENT
    assert kit.cache.get("a") is None
