from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.network.retry_after import MAX_SECONDS, parse_retry_after

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30.0),
        (" 0 ", 0.0),
        ("999999999999", MAX_SECONDS),
        ("Mon, 23 Nov 2026 08:02:00 GMT", 120.0),
        ("Mon, 23 Nov 2026 08:02:00 -0000", 120.0),
        ("Mon, 23 Nov 2026 10:02:00 +0200", 120.0),
        ("Mon, 23 Nov 2026 07:00:00 GMT", 0.0),
        ("Fri, 23 Nov 2096 07:00:00 GMT", MAX_SECONDS),
        (None, None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("\u0663\u0660", None),
        ("9" * 400, None),
        ("Mon, 99 Nov 2026 08:02:00 GMT", None),
    ],
)
def test_seconds_and_dates_are_parsed(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@given(st.text() | st.from_regex(r"\w{3}, \d+ \w{3} \d+ \d+:\d+:\d+ [-+]?\w+"))
def test_parsed_wait_is_bounded(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or 0.0 <= seconds <= MAX_SECONDS
