from datetime import UTC, datetime, timedelta, timezone

import pytest

from streams.cli.moments import read_future, read_past

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
def test_a_time_span_counts_from_now(text: str, span: timedelta) -> None:
    assert read_past(text, NOW) == NOW - span
    assert read_future(text, NOW) == NOW + span


@pytest.mark.parametrize(
    ("text", "moment"),
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
def test_a_moment_is_itself_in_both_directions(text: str, moment: datetime) -> None:
    assert read_past(text, NOW) == read_future(text, NOW) == moment
    assert read_past(text, NOW).tzinfo is not None


@pytest.mark.parametrize("text", ["", "soon", "2y", "-2h", "9999999d", "2026-13-01", "٢h"])
def test_anything_else_is_no_moment(text: str) -> None:
    for read in (read_past, read_future):
        with pytest.raises(ValueError, match=r"neither RFC 3339 .* 2h or 3d"):
            read(text, NOW)
