"""Circuit breaker of one platform, operation and egress, as a pure state machine.

Row and event in, new row out. There are no timers: transitions by time (the first trial, the
timeout of trials without a result) take effect with the next event, or by `expire_outdated`. All
times are epoch seconds.
"""

from datetime import UTC, datetime
from typing import Literal

import msgspec

from agents.resilience.breaker_rules import (
    FAILURES,
    BreakerRules,
    call_of,
    exceeds_retry_budget,
    is_conclusive,
    is_healthy,
    open_seconds,
    reason_to_open,
)
from agents.resilience.half_open import (
    Trials,
    expire_overdue,
    grant,
    majority_result,
    report,
    slots,
    withdraw,
)
from agents.resilience.sliding_window import Call, Window, add, dominant_code, recent
from schemas.attempts import BreakerCommand, EndpointRecord, NetworkAttempt, Operation, TrialRequest
from schemas.errors import ErrorCode
from schemas.signals import BreakerState

BUDGET_SECONDS = 10.0
"""Seconds for which retries wait when they exceed their budget. Finagle's retry budget has a window
of the same length. https://twitter.github.io/finagle/guide/Clients.html#retries"""


class Breaker(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The table row of one breaker.

    Attributes:
        since: when its state began.
        active_at: time of the last attempt, trial request or command.
        until: when the first trial may be granted; None unless open.
        openings: number of openings in a row, without a closing in between.
        budget_until: when retries may be made again; None while their budget holds.
        trials_max: number of trials of this half-open phase; 0 in other states.
        by: the operator who forced it open.
    """

    platform: str
    operation: Operation
    egress: str
    since: float
    active_at: float
    state: Literal["closed", "open", "half_open", "forced_open"] = "closed"
    reason: ErrorCode | None = None
    until: float | None = None
    openings: int = 0
    budget_until: float | None = None
    trials_max: int = 0
    trials: Trials = ()
    window: Window = ()
    by: str | None = None


def new_breaker(endpoint: EndpointRecord | Breaker, now: float) -> Breaker:
    """Return a closed breaker without history."""
    return Breaker(
        platform=endpoint.platform,
        operation=endpoint.operation,
        egress=endpoint.egress,
        since=now,
        active_at=now,
    )


def state_of(row: Breaker) -> BreakerState:
    """Return the state to publish."""
    return BreakerState(
        platform=row.platform,
        operation=row.operation,
        egress=row.egress,
        state=row.state,
        reason=row.reason,
        since=datetime.fromtimestamp(row.since, UTC),
        until=_datetime_of(row.until),
        openings=row.openings,
        trials=slots(row.trials),
        trials_max=row.trials_max,
        budget_until=_datetime_of(row.budget_until),
        by=row.by,
    )


def _datetime_of(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def on_attempt(row: Breaker, attempt: NetworkAttempt, rules: BreakerRules, now: float) -> Breaker:
    """Return the breaker after an attempt.

    Unless it is closed, only trials change its state: other attempts began before it opened.
    """
    row = _with_activity(row, rules, now)
    if not is_conclusive(attempt.code):
        return msgspec.structs.replace(row, trials=withdraw(row.trials, attempt.trial))
    call = call_of(attempt, rules, now)
    row = _with_call(row, call, rules, now)
    match row.state:
        case "closed":
            return _evaluate_closed(row, rules, now)
        case "half_open":
            trials = report(row.trials, attempt.trial, passed=is_healthy(call))
            return _evaluate_half_open(msgspec.structs.replace(row, trials=trials), rules, now)
        case _:
            return row


def on_trial_request(
    row: Breaker, request: TrialRequest, rules: BreakerRules, now: float
) -> Breaker:
    """Return the breaker with the trial granted, if a slot is free, or withdrawn.

    The first request at or after the end of the open time makes it half-open.
    """
    row = _with_activity(row, rules, now)
    if request.withdrawn:
        return msgspec.structs.replace(row, trials=withdraw(row.trials, request.trial))
    if row.until is not None and now >= row.until:
        row = msgspec.structs.replace(
            row, state="half_open", since=now, until=None, trials_max=rules.trials
        )
    trials = grant(row.trials, request.trial, row.trials_max, now)
    return msgspec.structs.replace(row, trials=trials)


def on_command(row: Breaker, command: BreakerCommand, now: float) -> Breaker:
    """Return the breaker forced open, or reset: closed and without history."""
    fresh = new_breaker(row, now)
    if command.action == "reset":
        return fresh
    if row.state == "forced_open":
        return msgspec.structs.replace(row, active_at=now)
    return msgspec.structs.replace(fresh, state="forced_open", by=command.by)


def expire_outdated(row: Breaker, rules: BreakerRules, now: float) -> Breaker:
    """Return the breaker without expired calls, trials and budget, nor times in the future."""
    row = _with_clamped_times(row, rules, now)
    is_exhausted = row.budget_until is not None and now < row.budget_until
    return msgspec.structs.replace(
        row,
        window=recent(row.window, now, rules.window_seconds),
        trials=expire_overdue(row.trials, rules.trial_seconds, now),
        budget_until=row.budget_until if is_exhausted else None,
    )


def _with_clamped_times(row: Breaker, rules: BreakerRules, now: float) -> Breaker:
    """Return the breaker without times in the future, as a clock that is set back leaves them.

    Otherwise it would stay open until the clock has caught up.
    """
    budget_until, until = row.budget_until, row.until
    return msgspec.structs.replace(
        row,
        since=min(row.since, now),
        active_at=min(row.active_at, now),
        until=None if until is None else min(until, now + open_seconds(row.openings, rules)),
        budget_until=None if budget_until is None else min(budget_until, now + BUDGET_SECONDS),
    )


def is_idle(row: Breaker, seconds: float, now: float) -> bool:
    """Return whether it is closed and has had no event for ``seconds``."""
    return row.state == "closed" and now - row.active_at >= seconds


def _with_activity(row: Breaker, rules: BreakerRules, now: float) -> Breaker:
    return msgspec.structs.replace(expire_outdated(row, rules, now), active_at=now)


def _with_call(row: Breaker, call: Call, rules: BreakerRules, now: float) -> Breaker:
    window = add(row.window, call, now, calls=rules.window_calls, seconds=rules.window_seconds)
    return msgspec.structs.replace(row, window=window)


def _evaluate_closed(row: Breaker, rules: BreakerRules, now: float) -> Breaker:
    """Return a closed breaker after a call: opened, or with its retry budget exhausted."""
    reason = reason_to_open(row.window, rules)
    if reason is not None:
        return _open(row, reason, rules, now)
    if row.budget_until is None and exceeds_retry_budget(row.window, rules):
        return msgspec.structs.replace(row, budget_until=now + BUDGET_SECONDS)
    return row


def _evaluate_half_open(row: Breaker, rules: BreakerRules, now: float) -> Breaker:
    """Return a half-open breaker after a result: closed or open, once its majority is certain."""
    match majority_result(row.trials, row.trials_max):
        case "passed":
            return new_breaker(row, now)
        case "failed":
            return _open(row, dominant_code(row.window, FAILURES) or row.reason, rules, now)
        case _:
            return row


def _open(row: Breaker, reason: ErrorCode | None, rules: BreakerRules, now: float) -> Breaker:
    openings = row.openings + 1
    return msgspec.structs.replace(
        row,
        state="open",
        reason=reason,
        since=now,
        until=now + open_seconds(openings, rules),
        openings=openings,
        budget_until=None,
        trials_max=0,
        trials=(),
    )
