from datetime import timedelta
from typing import Any

import pytest

from streams.deadletters.dead_letter import DeadLetterRecord, Filter, NewestDeadLetters
from tests.unit.streams.deadletters.builders import FAILED_AT, stored_dead_letter

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
def test_dead_letter_matches_only_if_every_criterion_fits(
    given: dict[str, Any], matches: bool
) -> None:
    dead_letter = stored_dead_letter(
        code="network.dns", platform="tiktok", step="extraction", engine="2026.1"
    )
    assert Filter(**given).matches(dead_letter) is matches


def test_newest_matching_dead_letters_are_kept_and_all_are_counted() -> None:
    newest: NewestDeadLetters[DeadLetterRecord] = NewestDeadLetters(Filter(step="download"), 2)
    for number, step in enumerate(["download", "download", "extraction", "download"]):
        failed_at = FAILED_AT + timedelta(seconds=number)
        newest.add(stored_dead_letter(name=f"0-{number}", step=step, failed_at=failed_at))
    assert [each.id for each in newest.newest_first()] == ["0-3", "0-1"]
    assert newest.count == 3
