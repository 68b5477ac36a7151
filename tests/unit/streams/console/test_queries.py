from contextlib import suppress
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.console.queries import (
    FILTERS,
    LIMIT,
    LIMIT_MAX,
    VALUE_CHARACTERS_MAX,
    Page,
    QueryError,
    format_cursor,
    parse_cursor,
    parse_filter,
    parse_page,
)
from streams.history.rows import REQUEST_STATES, Cursor, RequestFilter
from tests.unit.streams.console.rows import row_with


def page_of(parameters: dict[str, str]) -> Page[RequestFilter]:
    return parse_page(parameters, FILTERS, parse_filter)


def test_query_without_parameters_is_the_newest_page() -> None:
    page = page_of({"state": "", "url": "  "})
    assert (page.wanted, page.limit, page.after, page.texts) == (RequestFilter(), LIMIT, None, {})


def test_filters_are_kept_for_the_form() -> None:
    page = page_of({"state": "failed", "since": "1970-01-01T00:00:07Z", "limit": "7"})
    assert page.wanted == RequestFilter(state="failed", since=7.0)
    assert (page.limit, page.texts) == (7, {"state": "failed", "since": "1970-01-01T00:00:07Z"})


def test_next_page_continues_behind_the_last_row_with_the_same_filters() -> None:
    page = page_of({"state": "failed", "limit": "2"})
    following = page.next_page([row_with(id="a"), row_with(id="b/&=?")])
    assert following is not None
    again = page_of(dict(parse_qsl(following)))
    assert (again.wanted, again.limit, again.after) == (page.wanted, 2, Cursor(7.5, "b/&=?"))


def test_last_page_has_no_next() -> None:
    assert page_of({"limit": "2"}).next_page([row_with(id="a")]) is None


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"colour": "red"}, "colour: unknown; there are state, error"),
        ({"limit": "0"}, "limit: '0' is not a number from 1 to"),
        ({"limit": str(LIMIT_MAX + 1)}, "limit"),
        ({"limit": "9" * 5_000}, "limit: longer"),
        ({"limit": "\N{SUPERSCRIPT TWO}"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"since": "yesterday"}, "since: 'yesterday' is neither RFC 3339"),
        ({"after": "?"}, "after: not a cursor"),
        ({"after": "AAAA"}, "after: not a cursor"),
        ({"url": "x" * (VALUE_CHARACTERS_MAX + 1)}, "url: longer than"),
        ({"state": "foo"}, "state: 'foo' is not one of accepted, extracted, selected, retrying"),
        ({"state": "Failed"}, "state: 'Failed' is not one of"),
        ({"state": "x" * 4_000}, f"state: '{'x' * 80}' is not one of"),
        ({"video": "foo"}, "video: 'foo' is not PLATFORM:ID"),
        ({"video": "tiktok:"}, "video: 'tiktok:' is not PLATFORM:ID"),
        ({"video": ":7"}, "video: ':7' is not PLATFORM:ID"),
    ],
)
def test_unusable_parameter_is_named(parameters: dict[str, str], problem: str) -> None:
    with pytest.raises(QueryError) as raised:
        page_of(parameters)
    assert str(raised.value).startswith(problem)
    assert raised.value.field == next(iter(parameters))


@pytest.mark.parametrize("state", REQUEST_STATES)
def test_every_state_is_a_filter(state: str) -> None:
    assert page_of({"state": state}).wanted == RequestFilter(state=state)


@given(at=st.floats(allow_nan=False, allow_infinity=False), request_id=st.text())
def test_cursor_is_read_as_it_was_written(at: float, request_id: str) -> None:
    try:
        text = format_cursor(Cursor(at, request_id))
    except UnicodeEncodeError:
        return  # a surrogate, which no JSON text has
    assert parse_cursor(text) == Cursor(at, request_id)


@given(st.text())
def test_text_of_a_client_is_a_cursor_or_an_error(text: str) -> None:
    with suppress(QueryError):
        assert isinstance(parse_cursor(text), Cursor)
