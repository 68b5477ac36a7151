from datetime import UTC, datetime, timedelta, timezone

import pytest

from streams.moments import parse_future, parse_past

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("2h", timedelta(hours=2)),
        ("3d", timedelta(days=3)),
        ("10s", timedelta(seconds=10)),
        ("5m", timedelta(minutes=5)),
        (" 1w ", timedelta(weeks=1)),
        ("99999w", timedelta(weeks=99999)),
    ],
)
def test_time_span_is_relative_to_now(text: str, span: timedelta) -> None:
    assert parse_past(text, NOW) == NOW - span
    assert parse_future(text, NOW) == NOW + span


@pytest.mark.parametrize(
    ("text", "timestamp"),
    [
        ("2026-03-01T00:00:00Z", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01 08:30", datetime(2026, 3, 1, 8, 30, tzinfo=UTC)),
        (
            "2026-03-01T00:00:00+02:00",
            datetime(2026, 3, 1, tzinfo=timezone(timedelta(hours=2))),
        ),
    ],
)
def test_timestamp_is_absolute_for_past_and_future(text: str, timestamp: datetime) -> None:
    assert parse_past(text, NOW) == parse_future(text, NOW) == timestamp
    assert parse_past(text, NOW).tzinfo is not None


@pytest.mark.parametrize("text", ["", "soon", "2y", "-2h", "9999999d", "2026-13-01", "٢h"])
def test_other_text_raises(text: str) -> None:
    for parse in (parse_past, parse_future):
        with pytest.raises(ValueError, match=r"neither RFC 3339 .* 2h or 3d"):
            parse(text, NOW)
