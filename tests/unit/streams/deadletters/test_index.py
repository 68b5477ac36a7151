from datetime import timedelta
from typing import Any

from schemas.deadletters import DeadLetterStatus
from streams.deadletters.dead_letter import DeadLetterSummary
from streams.deadletters.index import DeadLetterIndex, in_replay_order
from tests.unit.streams.deadletters.builders import FAILED_AT, stored_dead_letter

MARK = DeadLetterStatus(state="resolved", by="me", at=FAILED_AT)


def entry(partition: int, offset: int, **fields: Any) -> DeadLetterSummary:
    failed_at = FAILED_AT + timedelta(seconds=offset)
    fields = {"origin_offset": offset, "failed_at": failed_at, **fields}
    return stored_dead_letter(name=f"{partition}-{offset}-1", **fields).summary()


def filled(*entries: DeadLetterSummary, **bounds: int) -> DeadLetterIndex:
    index = DeadLetterIndex(**bounds)
    for each in entries:
        index.add(each)
    return index


def ids(index: DeadLetterIndex) -> list[str]:
    return [each.id for each in in_replay_order(index.entries())]


def test_duplicate_at_the_lowest_position_stays_in_any_order() -> None:
    same = {"origin_offset": 7}
    duplicates = [entry(1, 2, **same), entry(0, 9, **same), entry(1, 1, **same)]
    for order in (duplicates, duplicates[::-1]):
        index = filled(*order)
        assert ids(index) == ["0-9-1"]
        assert index.get("1-1-1") is None


def test_latest_mark_is_applied() -> None:
    index = filled(entry(0, 1))
    index.mark("0-1-1", MARK)
    index.mark("0-9-1", MARK)
    assert [each.mark for each in index.entries()] == [MARK]


def test_mark_that_is_read_before_its_dead_letter_is_applied() -> None:
    index = DeadLetterIndex()
    index.mark("0-1-1", MARK)
    index.add(entry(0, 1))
    assert [each.mark for each in index.entries()] == [MARK]


def test_mark_of_an_unknown_dead_letter_is_not_kept_by_a_complete_index() -> None:
    index = DeadLetterIndex()
    index.complete()
    index.mark("0-1-1", MARK)
    index.add(entry(0, 1))
    assert [each.mark for each in index.entries()] == [None]


def test_oldest_dead_letters_are_dropped_beyond_the_bound() -> None:
    index = filled(*(entry(0, offset) for offset in (4, 1, 3, 2)), entries_max=2, dropped=2)
    assert ids(index) == ["0-3-1", "0-4-1"]
    assert index.dropped == 2


def test_dead_letters_that_kafka_has_deleted_are_dropped() -> None:
    index = filled(entry(0, 1), entry(0, 2), entry(1, 0))
    index.drop_before({0: 2})
    assert ids(index) == ["0-2-1", "1-0-1"]


def test_index_is_incomplete_until_it_is_read() -> None:
    index = DeadLetterIndex()
    assert "being read" in str(index.problem)
    index.complete()
    assert index.problem is None
