"""What is waited for, without a cluster."""

from typing import Any

import pytest

from streams.client import Outstanding, is_about


def result(request_id: str, status: str = "completed", **fields: Any) -> dict[str, Any]:
    return {"request_id": request_id, "status": status, **fields}


def taken(outstanding: Outstanding, *results: dict[str, Any]) -> list[bool]:
    return [outstanding.take(each) for each in results]


def test_the_first_result_of_each_counts() -> None:
    outstanding = Outstanding()
    outstanding.add("a")
    outstanding.add("b")
    assert taken(outstanding, *map(result, ("a", "a", "stranger"))) == [True, False, False]
    assert (len(outstanding), outstanding.sample(5)) == (1, ["b"])


def test_of_a_batch_all_members_are_waited_for() -> None:
    outstanding = Outstanding()
    outstanding.add("b", 2)
    assert taken(outstanding, result("b/0"), result("b/2"), result("b/0")) == [True, False, False]
    assert outstanding.concerns("b/1")
    assert taken(outstanding, result("b/1", "failed"), result("b/1")) == [True, False]
    assert not outstanding


def test_of_a_refused_batch_there_are_no_members() -> None:
    outstanding = Outstanding()
    outstanding.add("b", 1_000)
    outstanding.add("c", 2)
    assert taken(outstanding, result("b", "rejected"), result("b", "rejected")) == [True, False]
    assert outstanding.sample(5) == ["c/0", "c/1"]


@pytest.mark.parametrize("place", range(3))
def test_the_end_of_a_batch_is_no_result_of_its_own(place: int) -> None:
    outstanding = Outstanding()
    outstanding.add("b", 2)
    results = [result("b/0"), result("b/1")]
    results.insert(place, result("b", "completed"))
    assert [each["request_id"] for each in results if outstanding.take(each)] == ["b/0", "b/1"]
    assert not outstanding


def test_members_of_a_listing_may_come_before_it() -> None:
    outstanding = Outstanding()
    outstanding.add("a")
    assert taken(outstanding, result("a/1"), result("a/1")) == [True, False]
    assert outstanding.concerns("a/0")
    assert taken(outstanding, result("a", members=3), result("a/1")) == [True, False]
    assert outstanding.sample(5) == ["a/0", "a/2"]
    assert taken(outstanding, result("a/2"), result("a/0")) == [True, True]
    assert not outstanding


def test_what_is_over_is_forgotten() -> None:
    outstanding = Outstanding()
    for number in range(100):
        outstanding.add(f"b{number}", 3)
        outstanding.add(f"a{number}")
        taken(outstanding, *(result(f"b{number}/{index}") for index in range(3)))
        taken(outstanding, result(f"a{number}/0"), result(f"a{number}", members=1))
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
def test_records_about_a_request_are_its_own_and_its_members(
    key: bytes | None, about: bool
) -> None:
    assert is_about(key, "a") is about
