"""Query strings of the console and its API: filters, page sizes and cursors."""

import base64
import binascii
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Generic, TypeVar
from urllib.parse import urlencode

import msgspec

from schemas.codec import MalformedMessageError, decode, encode
from streams.console.errors import CallError
from streams.history.orders import Order
from streams.history.rows import (
    CriterionError,
    Cursor,
    RequestFilter,
    RequestRow,
    check_filter,
)
from streams.moments import parse_past

Wanted = TypeVar("Wanted")
"""The criteria of a list."""

LIMIT = 50
LIMIT_MAX = 500

_LIMITS = frozenset(map(str, range(1, LIMIT_MAX + 1)))
"""The texts of all limits: `int` accepts more, such as 5,000 digits, and reads them for long."""

VALUE_CHARACTERS_MAX = 4_096
"""Longest value of a parameter: more than any URL that is accepted."""

FILTERS = ("state", "error", "platform", "video", "url", "batch", "retry_of", "since")


class QueryError(CallError):
    """A parameter cannot be used; ``field`` is its name."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(400, field, f"{field}: {reason}")


class Page(msgspec.Struct, Generic[Wanted], frozen=True):
    """A page of a list.

    Attributes:
        texts: the filters as they were given, for the form and the links.
    """

    wanted: Wanted
    limit: int
    after: Cursor | None
    texts: Mapping[str, str]

    def next_page(self, rows: Sequence[RequestRow | Order]) -> str | None:
        """Return the query string of the page behind these rows, None behind the last one."""
        if len(rows) < self.limit:
            return None
        last = rows[-1]
        cursor = Cursor(last.at if isinstance(last, Order) else last.received_at, last.id)
        return urlencode({**self.texts, "limit": self.limit, "after": format_cursor(cursor)})


def parse_page(
    parameters: Mapping[str, str],
    filters: Collection[str],
    parse: Callable[[Mapping[str, str]], Wanted],
) -> Page[Wanted]:
    """Parse the parameters of a page; empty ones, as a form sends them, count as missing.

    Args:
        parameters: those of the query.
        filters: names of the criteria.
        parse: parses the criteria.

    Raises:
        QueryError: a parameter is unknown or malformed.
    """
    given = given_texts(parameters, (*filters, "limit", "after"))
    texts = {name: given[name] for name in filters if name in given}
    wanted = parse(texts)
    return Page(wanted, parse_limit(given.get("limit")), parse_cursor(given.get("after")), texts)


def given_texts(parameters: Mapping[str, str], allowed: Collection[str]) -> dict[str, str]:
    """Return the parameters that are not empty.

    Raises:
        QueryError: one is unknown or too long.
    """
    given = {name: value.strip() for name, value in parameters.items() if value.strip()}
    check_names(given, allowed)
    return given


def parse_filter(texts: Mapping[str, str]) -> RequestFilter:
    """Parse the criteria of a filter.

    Raises:
        QueryError: one is unknown or malformed.
    """
    check_names(texts, FILTERS)
    criteria = {name: value for name, value in texts.items() if name != "since"}
    wanted = RequestFilter(**criteria, since=parse_moment("since", texts.get("since")))
    try:
        check_filter(wanted)
    except CriterionError as error:
        raise QueryError(error.field, str(error)) from None
    return wanted


def check_names(given: Mapping[str, str], allowed: Collection[str]) -> None:
    """Reject a parameter that does not exist, or is too long.

    Raises:
        QueryError: of the first one.
    """
    for name, value in given.items():
        if name not in allowed:
            raise QueryError(name[:80], f"unknown; there are {', '.join(allowed)}")
        if len(value) > VALUE_CHARACTERS_MAX:
            raise QueryError(name, f"longer than {VALUE_CHARACTERS_MAX} characters")


def format_cursor(cursor: Cursor) -> str:
    return base64.urlsafe_b64encode(encode(cursor)).decode().rstrip("=")


def parse_cursor(text: str | None) -> Cursor | None:
    """Parse what `format_cursor` returned.

    Raises:
        QueryError: it is something else.
    """
    if text is None:
        return None
    try:
        return decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), Cursor)
    except (MalformedMessageError, binascii.Error, ValueError):
        raise QueryError("after", "not a cursor that this API returned") from None


def parse_limit(text: str | None) -> int:
    """Parse the number of entries of a page.

    Raises:
        QueryError: it is none, or too large.
    """
    if text is None:
        return LIMIT
    if text not in _LIMITS:
        raise QueryError("limit", f"{text[:20]!r} is not a number from 1 to {LIMIT_MAX}")
    return int(text)


def parse_moment(field: str, text: str | None) -> float | None:
    """Parse a time, or a time span before now, as epoch seconds.

    Raises:
        QueryError: it is neither.
    """
    try:
        return None if text is None else parse_past(text, datetime.now(UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise QueryError(field, str(error)) from None
