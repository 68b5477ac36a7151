from datetime import timedelta

from streams.deadletters.dead_letter import DeadLetterRecord, Filter
from streams.deadletters.listing import NewestDeadLetters
from tests.unit.streams.deadletters.builders import FAILED_AT, stored_dead_letter


def test_newest_matching_dead_letters_are_kept_and_all_are_counted() -> None:
    newest: NewestDeadLetters[DeadLetterRecord] = NewestDeadLetters(Filter(step="download"), 2)
    for number, step in enumerate(["download", "download", "extraction", "download"]):
        failed_at = FAILED_AT + timedelta(seconds=number)
        newest.add(stored_dead_letter(name=f"0-{number}", step=step, failed_at=failed_at))
    assert [each.id for each in newest.newest_first()] == ["0-3", "0-1"]
    assert newest.count == 3
