from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.platforms.fields import (
    MAX_COUNT,
    decode_raw,
    https_url,
    integer,
    number,
    objects,
    seconds,
    text,
    unix_time,
)
from schemas.errors import ClipmillError, ErrorCode

ANYTHING: list[Any] = [None, True, False, "", "x", [], [1], {}, {"a": 1}, -1, -0.5, 1e400, "12"]


def fields_with(value: object) -> dict[str, object]:
    return {"field": value}


@pytest.mark.parametrize(
    ("value", "expected"),
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
def test_text_is_cleaned_and_truncated(value: object, expected: str | None) -> None:
    assert text(fields_with(value), "field", limit=10) == expected
    assert text({}, "field", limit=10) is None


@pytest.mark.parametrize(
    ("value", "expected"),
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
def test_integer_is_a_count_within_range(value: object, expected: int | None) -> None:
    assert integer(fields_with(value), "field") == expected


def test_integer_below_the_minimum_is_none() -> None:
    assert integer(fields_with(0), "field", minimum=1) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [(10, 10.0), (0.5, 0.5), (0, None), (-1, None), (1e12, None), ("1", None)],
)
def test_seconds_are_positive_and_bounded(value: object, expected: float | None) -> None:
    assert seconds(fields_with(value), "field") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1_771_572_000, datetime(2026, 2, 20, 7, 20, tzinfo=UTC)),
        (0, None),
        (-1, None),
        (10**15, None),
        (253_402_300_799, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_unix_time_is_a_date_within_range(value: object, expected: datetime | None) -> None:
    assert unix_time(fields_with(value), "field") == expected


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
def test_invalid_https_url_is_none(value: object) -> None:
    assert https_url(fields_with(value), "field") is None


def test_https_url_is_returned() -> None:
    assert https_url(fields_with("https://a.example/x?y=1"), "field") == "https://a.example/x?y=1"


@pytest.mark.parametrize(
    ("value", "expected"),
    [([{"a": 1}, 2, None, {}], [{"a": 1}, {}]), ([{}] * 9, [{}] * 5), ({"a": 1}, []), ("abc", [])],
)
def test_objects_are_filtered_and_limited(value: object, expected: list[object]) -> None:
    assert objects(fields_with(value), "field", limit=5) == expected


@pytest.mark.parametrize("value", ANYTHING)
def test_wrong_types_are_none_or_a_number(value: object) -> None:
    assert number(fields_with(value), "field") in {None, -1, -0.5}
    assert seconds(fields_with(value), "field") is None
    assert unix_time(fields_with(value), "field") is None


@pytest.mark.parametrize(
    "raw", [b"", b"null", b"[]", b'"x"', b"{", b'{"a": }', b"\xff", b"[" * 100_000]
)
def test_raw_result_that_is_no_dictionary_is_rejected(raw: bytes) -> None:
    with pytest.raises(ClipmillError) as caught:
        decode_raw(msgspec.Raw(raw))
    assert caught.value.code is ErrorCode.PLATFORM_CHANGED


@given(st.binary(max_size=50))
def test_any_raw_result_is_decoded_or_a_clipmill_error(raw: bytes) -> None:
    try:
        fields = decode_raw(msgspec.Raw(raw))
    except ClipmillError:
        return
    assert isinstance(fields, dict)
