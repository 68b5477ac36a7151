from typing import Any

import pytest

from streams.cli.watch import Decision


def result(request_id: str, status: str = "completed", **fields: Any) -> dict[str, Any]:
    return {"request_id": request_id, "status": status, **fields}


def member(index: int, size: int, status: str = "completed") -> dict[str, Any]:
    return result(f"a/{index}", status, batch_size=size)


CASES = {
    "nothing": ([], False, False),
    "completed": ([result("a")], True, True),
    "failed": ([result("a", "failed")], True, False),
    "a batch without one": ([member(0, 3), member(2, 3)], False, True),
    "a whole batch": ([member(0, 2), member(1, 2)], True, True),
    "a batch of which one failed": ([member(0, 2, "failed"), member(1, 2)], True, False),
    "a batch with its end": ([member(0, 2), member(1, 2), result("a", "partial")], True, True),
    "the end of a batch before a member": ([member(0, 2), result("a")], True, True),
    "a refused batch": ([result("a", "rejected")], True, False),
    "a listing": ([result("a", members=0)], True, True),
    "a listing before its members": ([result("a", members=1)], False, True),
    "a listing with its members": ([result("a", members=1), member(0, 1)], True, True),
    "members before their listing": ([member(0, 1), result("a", members=1)], True, True),
}


@pytest.mark.parametrize(("results", "is_complete", "is_success"), CASES.values(), ids=CASES)
def test_when_nothing_more_comes(
    results: list[dict[str, Any]], is_complete: bool, is_success: bool
) -> None:
    decision = Decision("a")
    assert all(decision.note(each) for each in results)
    assert (decision.is_complete, decision.is_success) == (is_complete, is_success)


def test_copies_are_told_from_results() -> None:
    decision = Decision("a")
    assert [decision.note(each) for each in (result("a"), result("a", "failed"))] == [True, False]
    assert decision.is_success
