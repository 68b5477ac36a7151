"""The library: requests with stored files, by author, platform, time and title."""

from typing import Any

import msgspec

from streams.history.rows import Cursor, RequestRow, request_row
from streams.history.store import FIELDS, HistoryStore


class LibraryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests with files to return; None matches all.

    Attributes:
        author: name of the post's author.
        title: part of the title; letters of ASCII match in both cases.
        since: received at this time or later, epoch seconds.
        until: received before this time, epoch seconds.
    """

    author: str | None = None
    platform: str | None = None
    title: str | None = None
    since: float | None = None
    until: float | None = None


class LibraryTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over the requests that match.

    Attributes:
        bytes: size of all files; a file that two requests have is counted twice.
    """

    requests: int
    bytes: int


def find_files(
    store: HistoryStore, wanted: LibraryFilter, limit: int, after: Cursor | None = None
) -> list[RequestRow]:
    """Return the requests with files that match, newest first, from behind a cursor."""
    where, values = _where_clause(wanted, after)
    order = "ORDER BY received_at DESC, id DESC"
    # The index alone finds the ids: a title that none has takes 5 ms, not 20.
    found = f"SELECT id FROM request{where} {order} LIMIT ?"  # noqa: S608  (constants)
    query = f"SELECT {FIELDS} FROM request WHERE id IN ({found}) {order}"  # noqa: S608  (constants)
    return list(map(request_row, store.select(query, (*values, limit))))


def sum_files(store: HistoryStore, wanted: LibraryFilter) -> LibraryTotals:
    """Return the sums over the requests with files that match."""
    where, values = _where_clause(wanted)
    # `sum` fails above 2**63, `total` is a float.
    query = f"SELECT count(*), total(bytes) FROM request{where}"  # noqa: S608  (constants)
    ((requests, size),) = store.select(query, values)
    return LibraryTotals(requests=requests, bytes=int(size))


def _where_clause(wanted: LibraryFilter, after: Cursor | None = None) -> tuple[str, list[Any]]:
    # The condition of the partial indexes of the library.
    conditions, values = ["bytes IS NOT NULL"], list[Any]()
    for condition, value in (
        ("author = ?", wanted.author),
        # Without +, SQLite selects the index of all requests of a platform: 20 ms, not 4.
        ("+platform = ?", wanted.platform),
        ("title LIKE ? ESCAPE '\\'", None if wanted.title is None else _pattern(wanted.title)),
        ("received_at >= ?", wanted.since),
        ("received_at < ?", wanted.until),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if after is not None:
        conditions.append("(received_at, id) < (?, ?)")
        values += [after.received_at, after.id]
    return f" WHERE {' AND '.join(conditions)}", values


def _pattern(text: str) -> str:
    """Return the pattern of LIKE that matches a text anywhere."""
    for special in ("\\", "%", "_"):
        text = text.replace(special, f"\\{special}")
    return f"%{text}%"
