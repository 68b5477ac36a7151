from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yt_dlp.utils import InAdvancePagedList, LazyList, OnDemandPagedList

from agents.engine.extraction import COMPLETE, ENTRY_KEYS, read_entries
from agents.engine.request_bounds import Deadline
from agents.engine.results import NotAResultError

PAGE = 3
Make = Callable[["Site", int], Any]


def entry(number: int) -> dict[str, Any]:
    return {"_type": "url", "id": str(number), "url": f"https://a.example/{number}"}


class Site:
    """Serves pages of `PAGE` entries; each is subject to the deadline, as a request is."""

    def __init__(self, *, fails_at: int | None = None) -> None:
        self.deadline = Deadline(lambda: 0.0)
        self.deadline.start(10)
        self.requested: list[int] = []
        self._fails_at = fails_at

    def page(self, number: int, total: int) -> list[dict[str, Any]]:
        self.deadline.allow(1)
        self.requested.append(number)
        if number == self._fails_at:
            raise ValueError("a page that cannot be read")
        return [entry(each) for each in range(total)][number * PAGE : (number + 1) * PAGE]


def generator(site: Site, total: int) -> Iterator[dict[str, Any]]:
    number = 0
    while number * PAGE < total:
        yield from site.page(number, total)
        number += 1


def error_swallowing(site: Site, total: int) -> Iterator[dict[str, Any]]:
    """Takes a page that fails for an empty one."""
    number = 0
    while True:
        try:
            page = site.page(number, total)
        except Exception:  # noqa: BLE001 - the swallowed error is under test
            return
        if not page:
            return
        yield from page
        number += 1


SOURCES: dict[str, Make] = {
    "list": lambda _site, total: [entry(number) for number in range(total)],
    "tuple": lambda _site, total: tuple(entry(number) for number in range(total)),
    "generator": generator,
    "error_swallowing": error_swallowing,
    "lazy list": lambda site, total: LazyList(generator(site, total)),
    "pages on demand": lambda site, total: OnDemandPagedList(
        lambda number: site.page(number, total), PAGE
    ),
    "pages in advance": lambda site, total: InAdvancePagedList(
        lambda number: site.page(number, total), -(-total // PAGE), PAGE
    ),
}


def read(site: Site, entries: Any, limit: int | None, **more: Any) -> Any:
    return read_entries({"_type": "playlist", "entries": entries, **more}, limit, site.deadline)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize(
    ("total", "limit"), [(0, 5), (2, 5), (5, 5), (6, 5), (7, 6), (9, 3), (10, 1), (4, 0)]
)
def test_reads_first_entries_and_no_more_pages_than_needed(
    source: Make, total: int, limit: int
) -> None:
    site = Site()
    found = read(site, source(site, total), limit, id="list")
    count = min(total, limit)
    assert found["entries"] == [entry(number) for number in range(count)]
    assert found["id"] == "list"
    assert len(site.requested) <= -(-count // PAGE) + (total == 0 or count < limit)
    if found[COMPLETE]:
        assert total <= limit


@pytest.mark.parametrize(
    ("source", "total", "limit", "complete"),
    [
        ("list", 5, 5, True),
        ("list", 6, 5, False),
        ("generator", 5, 5, True),
        ("generator", 6, 6, True),
        ("generator", 7, 6, False),
        ("generator", 2, 5, True),
        # Only the next page would show the end.
        ("error_swallowing", 6, 6, False),
        ("error_swallowing", 7, 6, False),
        ("error_swallowing", 5, 6, True),
        ("pages on demand", 5, 5, True),
        ("pages on demand", 6, 6, False),
        ("pages in advance", 4, 3, False),
    ],
)
def test_list_is_complete_only_when_its_end_was_seen(
    source: str, total: int, limit: int, complete: bool
) -> None:
    site = Site()
    assert read(site, SOURCES[source](site, total), limit)[COMPLETE] is complete


@given(total=st.integers(0, 20), limit=st.integers(0, 20), source=st.sampled_from(sorted(SOURCES)))
def test_never_exceeds_the_limit_and_is_never_wrongly_complete(
    total: int, limit: int, source: str
) -> None:
    site = Site()
    found = read(site, SOURCES[source](site, total), limit)
    assert len(found["entries"]) == min(total, limit)
    assert not (found[COMPLETE] and total > limit)


def test_error_after_enough_entries_is_not_reached() -> None:
    site = Site(fails_at=1)
    found = read(site, generator(site, 9), PAGE)
    assert [each["id"] for each in found["entries"]] == ["0", "1", "2"]
    assert found[COMPLETE] is False
    assert site.requested == [0]


def test_error_before_enough_entries_is_raised() -> None:
    site = Site(fails_at=1)
    with pytest.raises(ValueError, match="cannot be read"):
        read(site, generator(site, 9), PAGE + 1)


def test_no_request_is_allowed_after_the_list() -> None:
    site = Site()
    read(site, generator(site, 9), 1)
    with pytest.raises(Exception, match="deadline"):
        site.deadline.allow(1)


def test_unlisted_keys_of_an_entry_are_dropped() -> None:
    site = Site()
    long = {**entry(1), "title": "t", "formats": [1] * 1_000, "description": "d", "timestamp": 5}
    found = read(site, [long], 1)
    assert found["entries"] == [{**entry(1), "title": "t", "timestamp": 5}]
    assert {"id", "url", "title", "timestamp"} <= set(ENTRY_KEYS)


def test_invalid_entries_are_dropped() -> None:
    site = Site()
    assert read(site, [None, "text", 5, entry(1)], 4)["entries"] == [entry(1)]


def test_playlist_without_entries_is_empty() -> None:
    site = Site()
    found = read_entries({"_type": "playlist"}, 5, site.deadline)
    assert (found["entries"], found[COMPLETE]) == ([], True)


@pytest.mark.parametrize("kind", ["generator", "lazy list", "pages on demand", "pages in advance"])
def test_unrequested_entries_are_an_error(kind: str) -> None:
    site = Site()
    with pytest.raises(NotAResultError, match="asks for no entries"):
        read(site, SOURCES[kind](site, 9), None)
    assert site.requested == []


OTHERS: dict[str, Any] = {
    "video": {"id": "1", "formats": []},
    "link": {"_type": "url", "url": "https://a.example/"},
    "nothing": None,
    "text": "text",
}


@pytest.mark.parametrize("result", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("limit", [None, 0, 5])
def test_other_results_are_unchanged(result: Any, limit: int | None) -> None:
    site = Site()
    assert read_entries(result, limit, site.deadline) is result


def test_loaded_list_is_unchanged_when_none_is_requested() -> None:
    site = Site()
    result = {"_type": "multi_video", "entries": [entry(1)]}
    assert read_entries(result, None, site.deadline) is result
