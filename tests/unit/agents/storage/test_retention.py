import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agents.storage import PublishedFile
from agents.storage.retention import RetentionLimit, RetentionPlan, RetentionRules

DAY = 86_400.0


def file(number: int, day: float, size: int = 10) -> PublishedFile:
    return PublishedFile(uri=f"s3://clips/{number}", bytes=size, published_at=day * DAY)


def files_to_remove(
    files: Iterable[PublishedFile], *, before: float | None, keep_bytes: int | None
) -> list[PublishedFile]:
    limit = RetentionLimit(seconds=None if before is None else 0.0, bytes=keep_bytes)
    plan = RetentionPlan(RetentionRules(all=limit), before or 0.0)
    for each in files:
        plan.add(each)
    return [removal.file for removal in plan.removals()]


FILES = [file(2, 2), file(0, 0), file(3, 3), file(1, 1)]


@pytest.mark.parametrize(
    ("before", "keep_bytes", "expected"),
    [
        (None, None, []),
        (2 * DAY, None, [0, 1]),
        (0.0, None, []),
        (9 * DAY, None, [0, 1, 2, 3]),
        (None, 40, []),
        (None, 39, [0]),
        (None, 0, [0, 1, 2, 3]),
        (1 * DAY, 20, [0, 1]),
        (3 * DAY, 20, [0, 1, 2]),
    ],
)
def test_oldest_files_are_removed(
    before: float | None, keep_bytes: int | None, expected: list[int]
) -> None:
    found = files_to_remove(FILES, before=before, keep_bytes=keep_bytes)
    assert [each.uri for each in found] == [f"s3://clips/{number}" for number in expected]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 100))), st.integers(0, 2_000))
def test_what_remains_fits_and_is_newer_than_what_is_removed(
    drawn: list[tuple[int, int]], keep_bytes: int
) -> None:
    files = [file(number, day, size) for number, (day, size) in enumerate(drawn)]
    removed = files_to_remove(files, before=None, keep_bytes=keep_bytes)
    kept = [each for each in files if each not in removed]
    assert sum(each.bytes for each in kept) <= keep_bytes
    if removed and kept:
        newest = max(each.published_at for each in removed)
        assert newest <= min(each.published_at for each in kept)
    if removed:
        assert sum(each.bytes for each in kept) + removed[-1].bytes > keep_bytes


def test_hundred_thousand_files_are_reduced_to_a_month_and_a_size() -> None:
    rng = random.Random(1)
    files = [file(number, rng.uniform(0, 365), rng.randrange(10**7)) for number in range(100_000)]
    removed = files_to_remove(files, before=335 * DAY, keep_bytes=10**10)
    kept = {each.uri for each in files} - {each.uri for each in removed}
    assert sum(each.bytes for each in files if each.uri in kept) <= 10**10
    assert all(each.published_at >= 335 * DAY for each in files if each.uri in kept)


def removed_by(plan: RetentionPlan) -> list[tuple[str, str]]:
    return [(it.file.uri.rpartition("/")[2], it.cause) for it in plan.removals()]


LONG, SHORT = RetentionLimit(seconds=365 * DAY), RetentionLimit(seconds=DAY)


@pytest.mark.parametrize(
    ("rules", "requesters", "days"),
    [
        ({}, (), None),
        ({"all": SHORT}, (), 1),
        ({"all": SHORT, "platforms": {"x": LONG}}, (), 1),
        ({"all": SHORT, "platforms": {"tiktok": LONG}}, (), 365),
        ({"all": LONG, "platforms": {"tiktok": SHORT}}, (), 1),
        ({"all": SHORT, "platforms": {"tiktok": RetentionLimit(bytes=1)}}, (), 1),
        ({"platforms": {"tiktok": SHORT}, "requesters": {"a": LONG}}, ("a",), 365),
        ({"platforms": {"tiktok": SHORT}, "requesters": {"a": LONG}}, ("b",), 1),
        ({"requesters": {"a": LONG, "b": SHORT}}, ("b", "a"), 365),
        ({"all": SHORT, "requesters": {"a": RetentionLimit(bytes=1)}}, ("a",), 1),
    ],
)
def test_most_specific_age_applies(
    rules: dict[str, Any], requesters: tuple[str, ...], days: float | None
) -> None:
    for age in (0.5, 2.0, 300.0, 400.0):
        plan = RetentionPlan(RetentionRules(**rules), age * DAY)
        plan.add(file(1, 0), "tiktok", requesters)
        removed = [(uri, cause) for uri, cause in removed_by(plan) if cause == "age"]
        assert bool(removed) is (days is not None and age > days)


def test_each_group_keeps_its_bytes() -> None:
    rules = RetentionRules(
        all=RetentionLimit(bytes=70),
        platforms={"x": RetentionLimit(bytes=20)},
        requesters={"a": RetentionLimit(bytes=10)},
    )
    plan = RetentionPlan(rules, 100 * DAY)
    for number in range(4):
        plan.add(file(number, number), "x")
        plan.add(file(10 + number, 10 + number), "tiktok", ["a"] if number < 2 else [])
    # Of x 0 and 1; of the requester 10; the rest fits.
    assert sorted(removed_by(plan)) == [("0", "bytes"), ("1", "bytes"), ("10", "bytes")]


def test_protected_files_stay_and_count() -> None:
    rules = RetentionRules(all=RetentionLimit(seconds=1, bytes=15))
    plan = RetentionPlan(rules, 100 * DAY, protected_since=2 * DAY)
    for each in FILES:
        plan.add(each)
    assert removed_by(plan) == [("0", "age"), ("1", "age"), ("2", "age")]


def test_bytes_of_a_file_with_two_names_count_once() -> None:
    plan = RetentionPlan(RetentionRules(all=RetentionLimit(bytes=20)), 100 * DAY)
    for number, content in enumerate(["a", "b", "a", None]):
        plan.add(replace(file(number, number), content=content))
    # 0 and 2 share their bytes: only the removal of both frees them.
    assert removed_by(plan) == [("0", "bytes"), ("1", "bytes")]


def test_removals_are_bounded_and_the_oldest() -> None:
    rng = random.Random(2)
    ages = list(range(1_000))
    rng.shuffle(ages)
    for limit in (RetentionLimit(seconds=1), RetentionLimit(bytes=0)):
        plan = RetentionPlan(RetentionRules(all=limit), 2_000 * DAY, files_max=10)
        for age in ages:
            plan.add(file(age, age))
        assert [name for name, _ in removed_by(plan)] == [str(age) for age in range(10)]
