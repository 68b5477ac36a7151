from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.resilience.half_open import (
    VOID_TRIALS_MAX,
    Trial,
    Trials,
    expire_overdue,
    grant,
    majority_result,
    report,
    slots,
    withdraw,
)
from schemas.codec import decode, encode

T1 = Trial("t1", 100.0)
T2 = Trial("t2", 101.0)
VOID = Trial("t1", 100.0, void=True)


@pytest.mark.parametrize(
    ("trials", "limit", "expected"),
    [
        ((), 1, (Trial("t1", 150.0),)),
        ((), 0, ()),
        ((T2,), 1, (T2,)),
        ((T2,), 2, (T2, Trial("t1", 150.0))),
        ((T1,), 2, (T1,)),
        ((VOID,), 1, (Trial("t1", 150.0),)),
        ((VOID, T2), 1, (VOID, T2)),
        ((Trial("t2", 1.0, void=True),), 1, (Trial("t2", 1.0, void=True), Trial("t1", 150.0))),
        ((Trial("t2", 1.0, passed=True),), 1, (Trial("t2", 1.0, passed=True),)),
        ((Trial("t1", 1.0, passed=True),), 2, (Trial("t1", 1.0, passed=True),)),
    ],
    ids=[
        "the first",
        "no slots",
        "all taken",
        "the last slot",
        "requested twice",
        "void trial requests again",
        "void trial requests again without a slot",
        "void trials free their slots",
        "reported trials keep their slots",
        "reported trial requests again",
    ],
)
def test_trial_is_granted_when_a_slot_is_free(trials: Trials, limit: int, expected: Trials) -> None:
    assert grant(trials, "t1", limit, 150.0) == expected


@pytest.mark.parametrize("passed", [True, False])
def test_first_report_counts_even_of_a_void_trial(passed: bool) -> None:
    (first,) = report((T1,), "t1", passed=passed)
    assert first == Trial("t1", 100.0, passed=passed)
    assert report((first,), "t1", passed=not passed) == (first,)
    assert report((VOID,), "t1", passed=passed) == (Trial("t1", 100.0, void=True, passed=passed),)


@pytest.mark.parametrize("unknown", ["t9", "", None])
def test_unknown_trial_ids_change_nothing(unknown: str | None) -> None:
    assert report((T1, T2), unknown, passed=True) == (T1, T2)
    assert withdraw((T1, T2), unknown) == (T1, T2)


def test_withdrawn_trial_frees_its_slot_unless_reported() -> None:
    assert withdraw((T1, T2), "t1") == (VOID, T2)
    reported = report((T1,), "t1", passed=False)
    assert withdraw(reported, "t1") == reported


@pytest.mark.parametrize(
    ("now", "void"), [(100.0, False), (159.9, False), (160.0, True), (999.0, True)]
)
def test_overdue_trial_is_void(now: float, void: bool) -> None:
    (trial,) = expire_overdue((T1,), 60.0, now)
    assert trial.void is void
    assert slots((trial,)) == (() if void else ("t1",))


def test_reported_trials_are_never_void() -> None:
    reported = (Trial("t1", 0.0, passed=True), Trial("t2", 0.0, passed=False))
    assert expire_overdue(reported, 60.0, 999.0) == reported


def test_oldest_unreported_void_trials_are_dropped() -> None:
    reported = Trial("heard", 0.0, void=True, passed=True)
    many = (reported, *(Trial(f"t{number}", 0.0) for number in range(VOID_TRIALS_MAX + 2)))
    kept = expire_overdue(many, 60.0, 60.0)
    assert [trial.id for trial in kept[:2]] == ["heard", "t2"]
    assert len(kept) == 1 + VOID_TRIALS_MAX
    assert len(expire_overdue(many[: VOID_TRIALS_MAX + 1], 60.0, 60.0)) == 1 + VOID_TRIALS_MAX


VERDICTS: list[tuple[int, int, int, str | None]] = [
    (5, 0, 0, None),
    (5, 2, 2, None),
    (5, 3, 0, "passed"),
    (5, 3, 2, "passed"),
    (5, 0, 3, "failed"),
    (5, 2, 3, "failed"),
    (4, 2, 1, None),
    (4, 3, 0, "passed"),
    (4, 2, 2, "failed"),
    (4, 0, 1, None),
    (1, 1, 0, "passed"),
    (1, 0, 1, "failed"),
    (2, 1, 0, None),
    (2, 1, 1, "failed"),
    (2, 2, 0, "passed"),
]


@pytest.mark.parametrize(("limit", "passed", "failed", "expected"), VERDICTS)
def test_majority_result_is_returned_as_soon_as_it_is_certain(
    limit: int, passed: int, failed: int, expected: Any
) -> None:
    trials = (
        *(Trial(f"p{number}", 0.0, passed=True) for number in range(passed)),
        *(Trial(f"f{number}", 0.0, passed=False) for number in range(failed)),
        Trial("open", 0.0),
    )
    assert majority_result(trials, limit) == expected


@given(results=st.lists(st.booleans(), min_size=1, max_size=12))
def test_majority_result_exists_when_all_trials_are_reported(results: list[bool]) -> None:
    trials = tuple(Trial(str(n), 0.0, passed=passed) for n, passed in enumerate(results))
    majority = sum(results) * 2 > len(results)
    assert majority_result(trials, len(results)) == ("passed" if majority else "failed")


def test_trials_survive_serialization() -> None:
    trials = (T1, VOID, Trial("t3", 0.5, passed=False))
    assert decode(encode(trials), tuple[Trial, ...]) == trials
