from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streams.letters.filters import Filter, read_moment
from tests.unit.streams.letters.letters import FAILED_AT, make_letter

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("given", "matches"),
    [
        ({}, True),
        ({"codes": ("network",)}, True),
        ({"codes": ("network.dns",)}, True),
        ({"codes": ("internal", "network.dns")}, True),
        ({"codes": ("net",)}, False),
        ({"platform": "tiktok"}, True),
        ({"platform": "other"}, False),
        ({"step": "extraction"}, True),
        ({"step": "download"}, False),
        ({"engine": "2026.1"}, True),
        ({"engine": "2026.2"}, False),
        ({"state": "waiting"}, True),
        ({"state": "parked"}, False),
        ({"since": FAILED_AT, "until": FAILED_AT}, True),
        ({"since": FAILED_AT + SECOND}, False),
        ({"until": FAILED_AT - SECOND}, False),
        ({"ids": frozenset({"0-1"})}, True),
        ({"ids": frozenset({"0-2"})}, False),
        ({"step": "extraction", "platform": "other"}, False),
    ],
    ids=str,
)
def test_a_letter_is_meant_when_everything_fits(given: dict[str, Any], matches: bool) -> None:
    letter = make_letter(code="network.dns", platform="tiktok", step="extraction", engine="2026.1")
    assert Filter(**given).matches(letter) is matches


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", NOW - timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3)),
        ("10s", NOW - timedelta(seconds=10)),
        ("5m", NOW - timedelta(minutes=5)),
        (" 1w ", NOW - timedelta(weeks=1)),
        ("2026-03-01T00:00:00Z", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
    ],
)
def test_a_moment_is_a_time_or_an_age(text: str, moment: datetime) -> None:
    assert read_moment(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "soon", "2y", "-2h", "9999999d", "2026-13-01"])
def test_anything_else_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match="neither RFC 3339"):
        read_moment(text, NOW)
