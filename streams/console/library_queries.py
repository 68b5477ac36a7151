"""Query strings of the library."""

from collections.abc import Mapping

import msgspec

from streams.console.queries import (
    given_texts,
    next_page,
    parse_cursor,
    parse_limit,
    parse_moment,
)
from streams.history.library import LibraryFilter
from streams.history.rows import Cursor, RequestRow

LIBRARY_FILTERS = ("author", "platform", "title", "since", "until")


class LibraryQuery(msgspec.Struct, frozen=True):
    """A page of the library.

    Attributes:
        texts: the filters as they were given, for the form and the links.
    """

    wanted: LibraryFilter
    limit: int
    after: Cursor | None
    texts: Mapping[str, str]

    def next_page(self, rows: list[RequestRow]) -> str | None:
        """Return the query string of the page behind these rows, None behind the last one."""
        return next_page(rows, self.limit, self.texts)


def parse_library(parameters: Mapping[str, str]) -> LibraryQuery:
    """Parse the parameters of a page; empty ones, as a form sends them, count as missing.

    Raises:
        QueryError: a parameter is unknown or malformed.
    """
    given = given_texts(parameters, (*LIBRARY_FILTERS, "limit", "after"))
    texts = {name: given[name] for name in LIBRARY_FILTERS if name in given}
    wanted = LibraryFilter(
        author=given.get("author"),
        platform=given.get("platform"),
        title=given.get("title"),
        since=parse_moment("since", given.get("since")),
        until=parse_moment("until", given.get("until")),
    )
    limit, after = parse_limit(given.get("limit")), parse_cursor(given.get("after"))
    return LibraryQuery(wanted, limit, after, texts)
