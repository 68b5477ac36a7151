"""Decision about one failure by the retry policy, the breaker and the job's history. Pure.

Waits grow by backoff, with jitter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from agents.recovery.decisions import (
    NO_OPTIONS,
    Backoff,
    Change,
    DeadLetter,
    Decision,
    Fail,
    Park,
    RecoveryAction,
    RecoveryOptions,
)
from agents.recovery.retry_policy import (
    POLICIES,
    SHORT_PARK_SECONDS,
    RetryPolicy,
    breaker_seconds,
    budget_seconds,
    due_after,
    seconds_left,
)
from agents.recovery.strategies import other_egresses, propose
from agents.resilience.breaker_rules import FAILURES
from schemas.errors import ErrorCode
from schemas.events import Failure
from schemas.job import Attempt, Strategy
from schemas.signals import BreakerState


@dataclass(frozen=True, slots=True)
class _Case:
    failure: Failure
    policy: RetryPolicy
    breaker: BreakerState | None
    available: RecoveryOptions
    now: datetime
    total: timedelta
    jitter: float
    uniform: float

    @property
    def code(self) -> ErrorCode:
        return self.failure.error.error_type

    @property
    def is_breaker_closed(self) -> bool:
        return self.breaker is None or self.breaker.state == "closed"

    @property
    def remaining(self) -> float:
        return seconds_left(self.failure.job, self.now, self.total)

    def due(self, seconds: float) -> datetime:
        return due_after(seconds, self.failure.job, self.now, self.total)

    @property
    def earlier(self) -> list[Attempt]:
        """Earlier attempts that failed at the same step with the same code."""
        attempts = self.failure.job.attempts
        return [
            each for each in attempts if each.code == self.code and each.step == self.failure.step
        ]


def decide(
    failure: Failure,
    *,
    now: datetime,
    total: timedelta,
    jitter: float,
    uniform: float,
    breaker: BreakerState | None = None,
    available: RecoveryOptions = NO_OPTIONS,
    policies: Mapping[ErrorCode, RetryPolicy] = POLICIES,
) -> Decision:
    """Return the decision about a failure.

    Args:
        failure: the failure; its job has the earlier attempts.
        now: the present moment.
        total: time after the request's arrival within which every retry is due.
        jitter: share by which a wait may grow.
        uniform: a random sample from 0 to 1.
        breaker: state of the circuit breaker of the failure's platform, operation and egress.
        available: alternatives for the next attempt.
        policies: the policy of each code.
    """
    policy = policies[failure.error.error_type]
    case = _Case(failure, policy, breaker, available, now, total, jitter, uniform)
    if not failure.permitted:
        return _park_until_permitted(case)
    action = _first_action(case, policy.immediate) if case.remaining >= 0 else None
    if action is not None:
        return _change(action, case.due(0.0), counted=False)
    if case.code in FAILURES and not case.is_breaker_closed:
        return _park_until_permitted(case)
    return _park_through_outage(case) if policy.outage else _retry_later(case)


def _first_action(case: _Case, strategies: tuple[Strategy, ...]) -> RecoveryAction | None:
    """Return the action of the first strategy that has one, up to the policy's maximum."""
    if sum(bool(attempt.changed) for attempt in case.earlier) >= case.policy.changes:
        return None
    actions = (propose(each, case.failure, case.available) for each in strategies)
    return next((each for each in actions if each is not None), None)


def _change(action: RecoveryAction, due: datetime, *, counted: bool) -> Change:
    return Change(
        due=due,
        strategy=action.strategy,
        changes=action.changes,
        restart=action.restart,
        counted=counted,
    )


# Parking: the request is not the cause, so no retry is used up


def _park_until_permitted(case: _Case) -> Decision:
    """Park for the breaker, the rate limiter's retry-after, or the cooldown of all accounts.

    Without a wait if another egress is permitted, but every second time at most: the step may have
    fewer egresses, or newer states of their breakers. A closed breaker needs no other egress.
    """
    parked = case.failure.job.parked
    waits_this_time = case.is_breaker_closed or (parked is not None and parked.times % 2 == 1)
    if not waits_this_time and other_egresses(case.failure, case.available):
        return _park(case, 0.0)
    asked = case.failure.retry_after_seconds or 0.0
    return _park(case, max(breaker_seconds(case.breaker, case.now, case.uniform), asked))


def _park_through_outage(case: _Case) -> Decision:
    parked = case.failure.job.parked
    times = parked.times if parked is not None and parked.code == case.code else 0
    seconds = _jittered_wait(case, min(times, len(case.policy.waits) - 1))
    asked = case.failure.retry_after_seconds or 0.0
    # Nothing else bounds these parks: without a minimum wait the event would loop.
    return _park(case, max(seconds, asked, SHORT_PARK_SECONDS))


def _park(case: _Case, seconds: float) -> Decision:
    return Park(due=case.due(seconds), code=case.code) if case.remaining > 0 else _give_up(case)


# Retries


def _retry_later(case: _Case) -> Decision:
    used = sum(attempt.counted for attempt in case.earlier)
    if used >= len(case.policy.waits):
        return _give_up(case)
    asked = case.failure.retry_after_seconds
    seconds = _jittered_wait(case, used) if asked is None else max(asked, 0.0)
    if seconds > case.remaining:
        return _give_up(case)
    due = case.due(max(seconds, budget_seconds(case.breaker, case.now, case.uniform)))
    action = _first_action(case, case.policy.on_repeat) if used else None
    return Backoff(due=due) if action is None else _change(action, due, counted=True)


def _jittered_wait(case: _Case, number: int) -> float:
    return case.policy.waits[number] * (1 + case.jitter * case.uniform)


def _give_up(case: _Case) -> Decision:
    return DeadLetter() if case.policy.dead_letter else Fail()
