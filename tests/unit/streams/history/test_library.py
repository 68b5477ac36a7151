"""Requests with files in the history."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.history.changes import FILE_BYTES_MAX, FILES_MAX, HistoryFile, RequestChange
from streams.history.library import LibraryFilter, LibraryTotals, find_files, sum_files
from streams.history.rows import Cursor
from streams.history.statements import FoldedRecord
from streams.history.store import HistoryStore


def fetched(name: str, at: float, size: int = 10, **fields: Any) -> RequestChange:
    file = HistoryFile(uri=f"file:///{name}.mp4", bytes=size, mime_type="video/mp4")
    return RequestChange(
        request_id=name,
        at=at,
        received_at=at,
        introduces=True,
        state="completed",
        is_final=True,
        files=(file,),
        **fields,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HistoryStore]:
    with HistoryStore(tmp_path / "history.db") as store:
        yield store


def apply(store: HistoryStore, *changes: RequestChange) -> None:
    records = [FoldedRecord(0, offset, each) for offset, each in enumerate(changes)]
    store.apply("results", records, {}, store.open_generation("cluster"))


CHANGES = (
    fetched("a", 1.0, author="ann", video="tiktok:1", title="100% a_cat"),
    fetched("b", 2.0, author="ann", video="vimeo:1", title="A Dog\\"),
    fetched("c", 3.0, author="bob", video="tiktok:2", title="100 cats"),
    fetched("d", 4.0),
    RequestChange(request_id="e", at=5.0, introduces=True, state="completed", is_final=True),
)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (LibraryFilter(), "dcba"),
        (LibraryFilter(author="ann"), "ba"),
        (LibraryFilter(platform="tiktok"), "ca"),
        (LibraryFilter(author="ann", platform="tiktok"), "a"),
        (LibraryFilter(title="CAT"), "ca"),
        (LibraryFilter(title="0%"), "a"),
        (LibraryFilter(title="a_c"), "a"),
        (LibraryFilter(title="\\"), "b"),
        (LibraryFilter(title="absent"), ""),
        (LibraryFilter(since=2.0, until=4.0), "cb"),
    ],
)
def test_files_are_found_newest_first(
    store: HistoryStore, wanted: LibraryFilter, expected: str
) -> None:
    apply(store, *CHANGES)
    assert "".join(row.id for row in find_files(store, wanted, 10)) == expected
    assert sum_files(store, wanted) == LibraryTotals(
        requests=len(expected), bytes=10 * len(expected)
    )


def test_page_begins_behind_its_cursor(store: HistoryStore) -> None:
    apply(store, *CHANGES)
    rows = find_files(store, LibraryFilter(), 1, Cursor(3.0, "c"))
    assert [row.id for row in rows] == ["b"]


def test_sum_beyond_the_integers_of_sqlite_is_no_error(store: HistoryStore) -> None:
    sizes = (FILE_BYTES_MAX,) * FILES_MAX
    files = tuple(HistoryFile(uri="u", bytes=each, mime_type="m") for each in sizes)
    apply(store, fetched("a", 1.0), fetched("b", 1.0))
    changes = [RequestChange(request_id=name, at=2.0, files=files) for name in "ab"]
    apply(store, *changes)
    assert sum_files(store, LibraryFilter()).bytes == 2 * FILES_MAX * FILE_BYTES_MAX


def test_id_that_is_used_again_has_the_post_of_its_new_result(store: HistoryStore) -> None:
    again = RequestChange(
        request_id="a",
        at=9.0,
        received_at=8.0,
        introduces=True,
        state="failed",
        is_final=True,
        message="gone",
        trace_id="2" * 32,
    )
    apply(store, fetched("a", 1.0, author="ann", title="t", trace_id="1" * 32), again)
    row = store.request("a")
    assert row is not None
    assert (row.author, row.title, row.message, row.trace_id) == (None, None, "gone", "2" * 32)
    assert find_files(store, LibraryFilter(), 10) == []
