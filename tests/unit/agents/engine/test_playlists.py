from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yt_dlp.utils import InAdvancePagedList, LazyList, OnDemandPagedList

from agents.engine.playlists import COMPLETE, ENTRY_KEYS, read_entries
from agents.engine.request_bounds import Deadline
from agents.engine.results import NotAResultError

PAGE = 3
Make = Callable[["Site", int], Any]


def entry(number: int) -> dict[str, Any]:
    return {"_type": "url", "id": str(number), "url": f"https://a.example/{number}"}


class Site:
    """Gives pages of `PAGE` entries, through the deadline as requests go."""

    def __init__(self, *, breaks_at: int | None = None) -> None:
        self.deadline = Deadline(lambda: 0.0)
        self.deadline.start(10)
        self.asked: list[int] = []
        self._breaks_at = breaks_at

    def page(self, number: int, total: int) -> list[dict[str, Any]]:
        self.deadline.allow(1)
        self.asked.append(number)
        if number == self._breaks_at:
            raise ValueError("a page that cannot be read")
        return [entry(each) for each in range(total)][number * PAGE : (number + 1) * PAGE]


def generator(site: Site, total: int) -> Iterator[dict[str, Any]]:
    number = 0
    while number * PAGE < total:
        yield from site.page(number, total)
        number += 1


def careless(site: Site, total: int) -> Iterator[dict[str, Any]]:
    """Takes a page that it does not get for an empty one."""
    number = 0
    while True:
        try:
            page = site.page(number, total)
        except Exception:  # noqa: BLE001 - that is the point
            return
        if not page:
            return
        yield from page
        number += 1


SOURCES: dict[str, Make] = {
    "list": lambda _site, total: [entry(number) for number in range(total)],
    "tuple": lambda _site, total: tuple(entry(number) for number in range(total)),
    "generator": generator,
    "careless": careless,
    "lazy list": lambda site, total: LazyList(generator(site, total)),
    "pages on demand": lambda site, total: OnDemandPagedList(
        lambda number: site.page(number, total), PAGE
    ),
    "pages in advance": lambda site, total: InAdvancePagedList(
        lambda number: site.page(number, total), -(-total // PAGE), PAGE
    ),
}


def read(site: Site, entries: Any, most: int | None, **more: Any) -> Any:
    return read_entries({"_type": "playlist", "entries": entries, **more}, most, site.deadline)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize(
    ("total", "most"), [(0, 5), (2, 5), (5, 5), (6, 5), (7, 6), (9, 3), (10, 1), (4, 0)]
)
def test_first_entries_and_no_more_pages_than_needed(source: Make, total: int, most: int) -> None:
    site = Site()
    found = read(site, source(site, total), most, id="list")
    count = min(total, most)
    assert found["entries"] == [entry(number) for number in range(count)]
    assert found["id"] == "list"
    assert len(site.asked) <= -(-count // PAGE) + (total == 0 or count < most)
    if found[COMPLETE]:
        assert total <= most


@pytest.mark.parametrize(
    ("source", "total", "most", "complete"),
    [
        ("list", 5, 5, True),
        ("list", 6, 5, False),
        ("generator", 5, 5, True),
        ("generator", 6, 6, True),
        ("generator", 7, 6, False),
        ("generator", 2, 5, True),
        # Only the next page could tell.
        ("careless", 6, 6, False),
        ("careless", 7, 6, False),
        ("careless", 5, 6, True),
        ("pages on demand", 5, 5, True),
        ("pages on demand", 6, 6, False),
        ("pages in advance", 4, 3, False),
    ],
)
def test_complete_is_said_only_when_it_is_known(
    source: str, total: int, most: int, complete: bool
) -> None:
    site = Site()
    assert read(site, SOURCES[source](site, total), most)[COMPLETE] is complete


@given(total=st.integers(0, 20), most=st.integers(0, 20), source=st.sampled_from(sorted(SOURCES)))
def test_never_more_than_wanted_and_never_wrongly_complete(
    total: int, most: int, source: str
) -> None:
    site = Site()
    found = read(site, SOURCES[source](site, total), most)
    assert len(found["entries"]) == min(total, most)
    assert not (found[COMPLETE] and total > most)


def test_failure_after_enough_entries_is_none() -> None:
    site = Site(breaks_at=1)
    found = read(site, generator(site, 9), PAGE)
    assert [each["id"] for each in found["entries"]] == ["0", "1", "2"]
    assert found[COMPLETE] is False
    assert site.asked == [0]


def test_failure_before_there_are_enough_is_one() -> None:
    site = Site(breaks_at=1)
    with pytest.raises(ValueError, match="cannot be read"):
        read(site, generator(site, 9), PAGE + 1)


def test_nothing_may_be_asked_for_afterwards() -> None:
    site = Site()
    read(site, generator(site, 9), 1)
    with pytest.raises(Exception, match="deadline"):
        site.deadline.allow(1)


def test_what_an_entry_says_at_length_is_left_out() -> None:
    site = Site()
    long = {**entry(1), "title": "t", "formats": [1] * 1_000, "description": "d", "timestamp": 5}
    found = read(site, [long], 1)
    assert found["entries"] == [{**entry(1), "title": "t", "timestamp": 5}]
    assert {"id", "url", "title", "timestamp"} <= set(ENTRY_KEYS)


def test_what_is_no_entry_is_left_out() -> None:
    site = Site()
    assert read(site, [None, "text", 5, entry(1)], 4)["entries"] == [entry(1)]


def test_playlist_without_entries_is_empty() -> None:
    site = Site()
    found = read_entries({"_type": "playlist"}, 5, site.deadline)
    assert (found["entries"], found[COMPLETE]) == ([], True)


@pytest.mark.parametrize("kind", ["generator", "lazy list", "pages on demand", "pages in advance"])
def test_entries_that_nobody_wants_are_no_result(kind: str) -> None:
    site = Site()
    with pytest.raises(NotAResultError, match="asks for no entries"):
        read(site, SOURCES[kind](site, 9), None)
    assert site.asked == []


OTHERS: dict[str, Any] = {
    "video": {"id": "1", "formats": []},
    "link": {"_type": "url", "url": "https://a.example/"},
    "nothing": None,
    "text": "text",
}


@pytest.mark.parametrize("result", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("most", [None, 0, 5])
def test_other_results_are_left_as_they_are(result: Any, most: int | None) -> None:
    site = Site()
    assert read_entries(result, most, site.deadline) is result


def test_list_that_is_there_is_left_as_it_is_when_none_is_expected() -> None:
    site = Site()
    result = {"_type": "multi_video", "entries": [entry(1)]}
    assert read_entries(result, None, site.deadline) is result
