from datetime import timedelta

import pytest

from agents.recovery.decisions import (
    Backoff,
    Change,
    DeadLetter,
    Decision,
    Fail,
    JobPatch,
    Park,
    job_after,
    strategy_of,
    with_bounded_due,
)
from schemas.commands import OptionChanges
from schemas.errors import ErrorCode
from schemas.job import Attempt, Parking, Strategy
from schemas.request import Options
from tests.unit.agents.builders import WRITTEN_AT
from tests.unit.agents.recovery.cases import DAY, NOW, counted_attempts, extraction_failure, parking

DNS = ErrorCode.NETWORK_DNS
LATER = NOW + timedelta(seconds=7.0004)
CHANGE = Change(
    due=LATER,
    strategy="lower_quality",
    changes=JobPatch(
        options=OptionChanges(quality="720p"),
        avoid_egress=("a",),
        changed={"quality": "best -> 720p"},
    ),
    counted=True,
)


def attempt(strategy: Strategy, **changes: object) -> Attempt:
    fields = {"step": "extraction", "code": DNS, "at": WRITTEN_AT, "egress": "a", **changes}
    return Attempt(strategy=strategy, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (Backoff(due=LATER), attempt("backoff", wait_seconds=7.0)),
        (Backoff(due=NOW), attempt("backoff")),
        (Backoff(due=NOW - DAY), attempt("backoff")),
        (Fail(), attempt("give_up")),
        (DeadLetter(), attempt("give_up")),
    ],
)
def test_failed_attempt_is_appended(decision: Decision, expected: Attempt) -> None:
    before = extraction_failure(DNS, attempts=counted_attempts(DNS, 2))
    after = job_after(before, decision, NOW)
    assert after == before.job.with_attempt(expected)


def test_change_is_recorded_and_applied() -> None:
    after = job_after(extraction_failure(DNS), CHANGE, NOW)
    changed = {"quality": "best -> 720p"}
    assert after.attempts == (attempt("lower_quality", wait_seconds=7.0, changed=changed),)
    assert after.options == Options(quality="720p")
    assert after.avoid_egress == ("a",)


def test_account_change_is_recorded_and_applied() -> None:
    changes = JobPatch(
        avoid_accounts=("main",), authenticate=True, changed={"account": "main -> another"}
    )
    change = Change(due=NOW, strategy="other_account", changes=changes, restart="extraction")
    after = job_after(extraction_failure(DNS, account="main"), change, NOW)
    assert (after.authenticate, after.avoid_accounts) == (True, ("main",))
    assert after.attempts == (attempt("other_account", counted=False, changed=changes.changed),)


def test_change_can_be_uncounted() -> None:
    uncounted = Change(due=NOW, strategy="other_egress", changes=JobPatch())
    assert job_after(extraction_failure(DNS), uncounted, NOW).attempts == (
        attempt("other_egress", counted=False),
    )


def test_park_counts_a_wait_and_no_attempt() -> None:
    before = extraction_failure(
        DNS, parked=parking(3, ErrorCode.SYSTEM_STORAGE), attempts=counted_attempts(DNS, 1)
    )
    after = job_after(before, Park(due=LATER, code=DNS), NOW)
    assert after.parked == Parking(times=4, since=WRITTEN_AT, code=DNS)
    assert after.attempts == before.job.attempts


def test_not_permitted_failure_is_no_attempt() -> None:
    before = extraction_failure(DNS, permitted=False)
    assert job_after(before, Fail(), NOW) == before.job


@pytest.mark.parametrize(
    ("decision", "strategy"),
    [
        (Backoff(due=NOW), "backoff"),
        (Park(due=NOW, code=DNS), "wait"),
        (CHANGE, "lower_quality"),
        (Fail(), "give_up"),
        (DeadLetter(), "give_up"),
    ],
)
def test_every_decision_has_a_strategy_name(decision: Decision, strategy: Strategy) -> None:
    assert strategy_of(decision) == strategy


@pytest.mark.parametrize(
    ("seconds", "expected"), [(-5, 0), (0, 0), (5, 5), (30, 30), (40, 30), (1e9, 30)]
)
def test_handler_decision_is_bounded_by_the_deadline(seconds: float, expected: float) -> None:
    failure = extraction_failure(DNS, deadline=NOW + timedelta(seconds=30))
    decision = Backoff(due=NOW + timedelta(seconds=seconds))
    bounded = with_bounded_due(decision, failure, now=NOW, total=DAY)
    assert bounded == Backoff(due=NOW + timedelta(seconds=expected))


def test_handler_decision_is_bounded_by_the_total_time() -> None:
    decision = Park(due=NOW + 9 * DAY, code=DNS)
    assert with_bounded_due(decision, extraction_failure(DNS), now=NOW, total=DAY) == Park(
        due=WRITTEN_AT + DAY, code=DNS
    )


@pytest.mark.parametrize("decision", [Fail(), DeadLetter()])
def test_final_decision_is_not_bounded(decision: Decision) -> None:
    assert with_bounded_due(decision, extraction_failure(DNS), now=NOW, total=DAY) is decision
