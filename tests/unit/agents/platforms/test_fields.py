from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.platforms.fields import (
    MAX_COUNT,
    integer,
    moment,
    number,
    open_raw,
    rows,
    seconds,
    text,
    web_url,
)
from schemas.errors import ClipmillError, ErrorCode

ANYTHING: list[Any] = [None, True, False, "", "x", [], [1], {}, {"a": 1}, -1, -0.5, 1e400, "12"]


def one(value: object) -> dict[str, object]:
    return {"field": value}


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("a b", "a b"),
        (" a ", "a"),
        ("a\x00\x1b[31mb\x7f", "a[31mb"),
        ("a\nb\tc", "a\nb\tc"),
        ("\u202eabc\u2069", "abc"),
        ("12345678901", "1234567890"),
        ("\x00", None),
        ("", None),
        (b"a", None),
        (1, None),
    ],
)
def test_text(value: object, read: str | None) -> None:
    assert text(one(value), "field", limit=10) == read
    assert text({}, "field", limit=10) is None


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (0, 0),
        (1, 1),
        (1.9, 1),
        (MAX_COUNT, MAX_COUNT),
        (MAX_COUNT + 1, None),
        (10**400, None),
        (-1, None),
        (True, None),
        ("1", None),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_integer(value: object, read: int | None) -> None:
    assert integer(one(value), "field") == read


def test_integer_has_a_least_value() -> None:
    assert integer(one(0), "field", least=1) is None


@pytest.mark.parametrize(
    ("value", "read"), [(10, 10.0), (0.5, 0.5), (0, None), (-1, None), (1e12, None), ("1", None)]
)
def test_seconds(value: object, read: float | None) -> None:
    assert seconds(one(value), "field") == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (1_771_572_000, datetime(2026, 2, 20, 7, 20, tzinfo=UTC)),
        (0, None),
        (-1, None),
        (10**15, None),
        (253_402_300_799, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_moment(value: object, read: datetime | None) -> None:
    assert moment(one(value), "field") == read


@pytest.mark.parametrize(
    "value",
    [
        "http://a.example/",
        "//a.example/",
        "https://",
        "https:///x",
        "https://[/",
        "https://a.example/ x",
        "https://a.example/\n",
        "https://a.example/\u00e9",
        "ftp://a.example/",
        "javascript:alert(1)",
        "https://a.example/" + "x" * 9_000,
        *ANYTHING,
    ],
)
def test_no_web_url(value: object) -> None:
    assert web_url(one(value), "field") is None


def test_web_url() -> None:
    assert web_url(one("https://a.example/x?y=1"), "field") == "https://a.example/x?y=1"


@pytest.mark.parametrize(
    ("value", "read"),
    [([{"a": 1}, 2, None, {}], [{"a": 1}, {}]), ([{}] * 9, [{}] * 5), ({"a": 1}, []), ("abc", [])],
)
def test_rows(value: object, read: list[object]) -> None:
    assert rows(one(value), "field", limit=5) == read


@pytest.mark.parametrize("value", ANYTHING)
def test_wrong_types_are_read_as_nothing_or_a_number(value: object) -> None:
    assert number(one(value), "field") in {None, -1, -0.5}
    assert seconds(one(value), "field") is None
    assert moment(one(value), "field") is None


@pytest.mark.parametrize(
    "raw", [b"", b"null", b"[]", b'"x"', b"{", b'{"a": }', b"\xff", b"[" * 100_000]
)
def test_what_is_no_dictionary_is_refused(raw: bytes) -> None:
    with pytest.raises(ClipmillError) as caught:
        open_raw(msgspec.Raw(raw))
    assert caught.value.code is ErrorCode.PLATFORM_CHANGED


@given(st.binary(max_size=50))
def test_only_our_errors_come_out(raw: bytes) -> None:
    try:
        fields = open_raw(msgspec.Raw(raw))
    except ClipmillError:
        return
    assert isinstance(fields, dict)
