"""Pending results of requests, without a cluster."""

from typing import Any

import pytest

from streams.client import Outstanding, is_about


def result(request_id: str, status: str = "completed", **fields: Any) -> dict[str, Any]:
    return {"request_id": request_id, "status": status, **fields}


def record_all(outstanding: Outstanding, *results: dict[str, Any]) -> list[bool]:
    return [outstanding.record(each) for each in results]


def test_only_the_first_result_of_a_pending_request_is_recorded() -> None:
    outstanding = Outstanding()
    outstanding.add("a")
    outstanding.add("b")
    assert record_all(outstanding, *map(result, ("a", "a", "stranger"))) == [True, False, False]
    assert (len(outstanding), outstanding.sample(5)) == (1, ["b"])


def test_batch_is_pending_until_every_member_has_a_result() -> None:
    outstanding = Outstanding()
    outstanding.add("b", 2)
    assert record_all(outstanding, result("b/0"), result("b/2"), result("b/0")) == [
        True,
        False,
        False,
    ]
    assert outstanding.includes("b/1")
    assert record_all(outstanding, result("b/1", "failed"), result("b/1")) == [True, False]
    assert not outstanding


def test_rejected_batch_leaves_no_members_pending() -> None:
    outstanding = Outstanding()
    outstanding.add("b", 1_000)
    outstanding.add("c", 2)
    assert record_all(outstanding, result("b", "rejected"), result("b", "rejected")) == [
        True,
        False,
    ]
    assert outstanding.sample(5) == ["c/0", "c/1"]


@pytest.mark.parametrize("place", range(3))
def test_batch_summary_is_not_recorded_as_a_result(place: int) -> None:
    outstanding = Outstanding()
    outstanding.add("b", 2)
    results = [result("b/0"), result("b/1")]
    results.insert(place, result("b", "completed"))
    assert [each["request_id"] for each in results if outstanding.record(each)] == ["b/0", "b/1"]
    assert not outstanding


def test_member_results_may_precede_the_result_of_their_listing() -> None:
    outstanding = Outstanding()
    outstanding.add("a")
    assert record_all(outstanding, result("a/1"), result("a/1")) == [True, False]
    assert outstanding.includes("a/0")
    assert record_all(outstanding, result("a", members=3), result("a/1")) == [True, False]
    assert outstanding.sample(5) == ["a/0", "a/2"]
    assert record_all(outstanding, result("a/2"), result("a/0")) == [True, True]
    assert not outstanding


def test_completed_requests_leave_no_state() -> None:
    outstanding = Outstanding()
    for number in range(100):
        outstanding.add(f"b{number}", 3)
        outstanding.add(f"a{number}")
        record_all(outstanding, *(result(f"b{number}/{index}") for index in range(3)))
        record_all(outstanding, result(f"a{number}/0"), result(f"a{number}", members=1))
    assert all(not held for held in vars(outstanding).values())


@pytest.mark.parametrize(
    ("key", "about"),
    [
        (b"a", True),
        (b"a/1", True),
        (b"ab", False),
        (b"b/a", False),
        (None, False),
        (b"\xff", False),
    ],
)
def test_record_key_of_a_request_or_its_member_is_about_the_request(
    key: bytes | None, about: bool
) -> None:
    assert is_about(key, "a") is about
