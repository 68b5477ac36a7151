"""What to do about one failure. Pure: facts in, decision out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from agents.recovery.backoff import (
    SHORT_PARK_SECONDS,
    breaker_seconds,
    budget_seconds,
    due_after,
    seconds_left,
)
from agents.recovery.decisions import (
    NO_OPTIONS,
    Change,
    DeadLetter,
    Decision,
    Fail,
    Park,
    RecoveryAction,
    RecoveryOptions,
    Retry,
)
from agents.recovery.retry_policy import POLICIES, Policy
from agents.recovery.strategies import other_egresses, remedy
from agents.resilience.breaker_rules import COUNTING
from schemas.errors import ErrorCode
from schemas.failure import Failure
from schemas.job import Attempt, Strategy
from schemas.signals import BreakerState


@dataclass(frozen=True, slots=True)
class _Case:
    failure: Failure
    policy: Policy
    breaker: BreakerState | None
    means: RecoveryOptions
    now: datetime
    total: timedelta
    jitter: float
    chance: float

    @property
    def code(self) -> ErrorCode:
        return self.failure.error.error_type

    @property
    def left(self) -> float:
        return seconds_left(self.failure.job, self.now, self.total)

    def due(self, seconds: float) -> datetime:
        return due_after(seconds, self.failure.job, self.now, self.total)

    @property
    def before(self) -> list[Attempt]:
        """The earlier failures of this kind."""
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
    chance: float,
    breaker: BreakerState | None = None,
    means: RecoveryOptions = NO_OPTIONS,
    policies: Mapping[ErrorCode, Policy] = POLICIES,
) -> Decision:
    """Return what to do about a failure.

    Args:
        failure: what failed; its job tells what failed before.
        now: the present moment.
        total: nothing is due later than this after the request came in.
        jitter: share by which a wait may grow.
        chance: a random number from 0 to 1.
        breaker: state of the circuit breaker of the failure's platform, operation and egress.
        means: what there is to try.
        policies: the policy of each code.
    """
    policy = policies[failure.error.error_type]
    case = _Case(failure, policy, breaker, means, now, total, jitter, chance)
    if not failure.permitted:
        return _wait_for_permission(case)
    return _at_once(case) or _held_back(case) or _later(case)


# What helps at once


def _at_once(case: _Case) -> Decision | None:
    found = _first(case, case.policy.at_once)
    if found is None or case.left < 0:
        return None
    return _change(found, case.due(0.0), counted=False)


def _first(case: _Case, strategies: tuple[Strategy, ...]) -> RecoveryAction | None:
    """Return what the first of the strategies that can still change something would change."""
    if sum(bool(attempt.changed) for attempt in case.before) >= case.policy.changes:
        return None
    found = (remedy(each, case.failure, case.means) for each in strategies)
    return next((each for each in found if each is not None), None)


def _change(found: RecoveryAction, due: datetime, *, counted: bool) -> Change:
    return Change(
        due=due,
        strategy=found.strategy,
        changes=found.changes,
        restart=found.restart,
        counted=counted,
    )


# What is not the request's fault: it waits, and nothing is used up


def _wait_for_permission(case: _Case) -> Decision:
    """Wait for what did not let it through: a breaker, or accounts that say how long they rest."""
    asked = case.failure.retry_after_seconds or 0.0
    return _park(case, max(breaker_seconds(case.breaker, case.now, case.chance), asked))


def _held_back(case: _Case) -> Decision | None:
    """Wait for the breaker, when it is one for this failure and not closed."""
    if case.code not in COUNTING or case.breaker is None or case.breaker.state == "closed":
        return None
    return _wait_for_permission(case)


def _park(case: _Case, seconds: float) -> Decision:
    return _hold(case, 0.0 if _may_go_elsewhere(case) else seconds)


def _may_go_elsewhere(case: _Case) -> bool:
    """Every second time at most: the step may know fewer ways out, or that they are closed.

    A way that is open needs no other.
    """
    if case.breaker is None or case.breaker.state == "closed":
        return False
    parked = case.failure.job.parked
    often = parked is not None and parked.times % 2 == 1
    return not often and bool(other_egresses(case.failure, case.means))


def _wait_out(case: _Case) -> Decision:
    parked = case.failure.job.parked
    times = parked.times if parked is not None and parked.code == case.code else 0
    seconds = _stretched(case, min(times, len(case.policy.waits) - 1))
    asked = case.failure.retry_after_seconds or 0.0
    # Nothing else bounds these: without any wait they would spin.
    return _hold(case, max(seconds, asked, SHORT_PARK_SECONDS))


def _hold(case: _Case, seconds: float) -> Decision:
    return Park(due=case.due(seconds), code=case.code) if case.left > 0 else _give_up(case)


# What helps later


def _later(case: _Case) -> Decision:
    if case.policy.outage:
        return _wait_out(case)
    used = sum(attempt.counted for attempt in case.before)
    if used >= len(case.policy.waits):
        return _give_up(case)
    asked = case.failure.retry_after_seconds
    seconds = _stretched(case, used) if asked is None else max(asked, 0.0)
    if seconds > case.left:
        return _give_up(case)
    due = case.due(max(seconds, budget_seconds(case.breaker, case.now, case.chance)))
    found = _first(case, case.policy.on_repeat) if used else None
    return Retry(due=due) if found is None else _change(found, due, counted=True)


def _stretched(case: _Case, number: int) -> float:
    return case.policy.waits[number] * (1 + case.jitter * case.chance)


def _give_up(case: _Case) -> Decision:
    return DeadLetter() if case.policy.keep else Fail()
