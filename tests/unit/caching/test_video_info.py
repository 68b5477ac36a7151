import pytest

from agents.caching.rows import is_over
from agents.caching.video_info import CachedExtraction, VideoInfoCache
from schemas.codec import decode, encode
from tests.unit.agents.builders import Clock, make_extraction

LIFE = 100.0
NOW = 1_000.0


class Kit:
    def __init__(self) -> None:
        self.clock = Clock(NOW)
        self.rows: dict[str, bytes] = {}
        self.cache = VideoInfoCache(self.rows.get, LIFE, self.clock)

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


@pytest.mark.parametrize(
    ("row", "over"),
    [
        (encode({"expires_at": NOW + 1, "more": [1]}), False),
        (encode({"expires_at": NOW}), True),
        (encode({"expires_at": "never"}), True),
        (b"", True),
        (b"[", True),
    ],
    ids=["to come", "now", "no number", "empty", "broken"],
)
def test_a_row_is_over_at_its_end_or_unreadable(row: bytes, over: bool) -> None:
    assert is_over(row, NOW) is over
