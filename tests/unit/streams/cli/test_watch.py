from typing import Any

import pytest

from streams.cli.watch import OutcomeTracker


def result(request_id: str, status: str = "completed", **fields: Any) -> dict[str, Any]:
    return {"request_id": request_id, "status": status, **fields}


def member(index: int, size: int, status: str = "completed") -> dict[str, Any]:
    return result(f"a/{index}", status, batch_size=size)


CASES = {
    "nothing": ([], False, False),
    "completed": ([result("a")], True, True),
    "failed": ([result("a", "failed")], True, False),
    "batch without one member": ([member(0, 3), member(2, 3)], False, True),
    "whole batch": ([member(0, 2), member(1, 2)], True, True),
    "batch with a failed member": ([member(0, 2, "failed"), member(1, 2)], True, False),
    "batch with its summary": ([member(0, 2), member(1, 2), result("a", "partial")], True, True),
    "batch summary before a member": ([member(0, 2), result("a")], True, True),
    "rejected batch": ([result("a", "rejected")], True, False),
    "listing": ([result("a", members=0)], True, True),
    "listing before its members": ([result("a", members=1)], False, True),
    "listing with its members": ([result("a", members=1), member(0, 1)], True, True),
    "members before their listing": ([member(0, 1), result("a", members=1)], True, True),
}


@pytest.mark.parametrize(("results", "is_complete", "is_success"), CASES.values(), ids=CASES)
def test_outcome_is_complete_and_successful(
    results: list[dict[str, Any]], is_complete: bool, is_success: bool
) -> None:
    tracker = OutcomeTracker("a")
    assert all(tracker.record(each) for each in results)
    assert (tracker.is_complete, tracker.is_success) == (is_complete, is_success)


def test_duplicate_result_is_ignored() -> None:
    tracker = OutcomeTracker("a")
    assert [tracker.record(each) for each in (result("a"), result("a", "failed"))] == [True, False]
    assert tracker.is_success
