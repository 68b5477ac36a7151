"""Circuit breaker of one platform, operation and egress. Pure: a row, what happened, a new row.

It has no timers: what time brings about (the first trial, the end of trials that nobody hears
of) is seen when the next thing happens, or by `tidied`. All times are epoch seconds.
"""

from datetime import UTC, datetime
from typing import Literal

import msgspec

from agents.resilience.breaker_rules import (
    COUNTING,
    Rules,
    call_of,
    is_good,
    open_seconds,
    reason_to_open,
    retries_too_much,
    says_something,
)
from agents.resilience.half_open import (
    Trials,
    grant,
    report,
    slots,
    verdict,
    void_overdue,
    withdraw,
)
from agents.resilience.sliding_window import Call, Window, add, main_code, recent
from schemas.attempts import BreakerOrder, NetworkAttempt, Operation, TrialRequest, Way
from schemas.errors import ErrorCode
from schemas.signals import BreakerState

BUDGET_SECONDS = 10.0
"""How long retries wait when they are too large a share: Finagle's retry budget looks at as much.
https://twitter.github.io/finagle/guide/Clients.html#retries"""


class Breaker(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The row of one breaker.

    Attributes:
        since: when its state began.
        active_at: when something last happened to it.
        until: when the first trial may be granted; None unless open.
        openings: how often it opened without closing in between.
        budget_until: until then retries wait; None when they need not.
        trials_max: trials of this half-open phase; 0 outside of one.
        by: who forced it.
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


def new_breaker(way: Way | Breaker, now: float) -> Breaker:
    """Return a closed breaker that has seen nothing yet."""
    return Breaker(
        platform=way.platform,
        operation=way.operation,
        egress=way.egress,
        since=now,
        active_at=now,
    )


def state_of(row: Breaker) -> BreakerState:
    """Return what workers must know of a breaker."""
    return BreakerState(
        platform=row.platform,
        operation=row.operation,
        egress=row.egress,
        state=row.state,
        reason=row.reason,
        since=datetime.fromtimestamp(row.since, UTC),
        until=_moment(row.until),
        openings=row.openings,
        trials=slots(row.trials),
        trials_max=row.trials_max,
        budget_until=_moment(row.budget_until),
        by=row.by,
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def on_attempt(row: Breaker, attempt: NetworkAttempt, rules: Rules, now: float) -> Breaker:
    """Return the breaker after an attempt.

    Only trials change one that is not closed: other attempts began before it opened.
    """
    row = _touched(row, rules, now)
    if not says_something(attempt.code):
        return msgspec.structs.replace(row, trials=withdraw(row.trials, attempt.trial))
    call = call_of(attempt, rules, now)
    row = _counted(row, call, rules, now)
    match row.state:
        case "closed":
            return _judged(row, rules, now)
        case "half_open":
            trials = report(row.trials, attempt.trial, passed=is_good(call))
            return _tried(msgspec.structs.replace(row, trials=trials), rules, now)
        case _:
            return row


def on_trial_request(row: Breaker, request: TrialRequest, rules: Rules, now: float) -> Breaker:
    """Return the breaker with the trial granted, if it has a slot for it.

    The first request at or after the end of the open time makes it half-open.
    """
    row = _touched(row, rules, now)
    if request.withdrawn:
        return msgspec.structs.replace(row, trials=withdraw(row.trials, request.trial))
    if row.until is not None and now >= row.until:
        row = msgspec.structs.replace(
            row, state="half_open", since=now, until=None, trials_max=rules.trials
        )
    trials = grant(row.trials, request.trial, row.trials_max, now)
    return msgspec.structs.replace(row, trials=trials)


def on_order(row: Breaker, order: BreakerOrder, now: float) -> Breaker:
    """Return the breaker as it is ordered: opened by force, or closed with all forgotten."""
    fresh = new_breaker(row, now)
    if order.action == "reset":
        return fresh
    if row.state == "forced_open":
        return msgspec.structs.replace(row, active_at=now)
    return msgspec.structs.replace(fresh, state="forced_open", by=order.by)


def tidied(row: Breaker, rules: Rules, now: float) -> Breaker:
    """Return the breaker without what is over by now, nor what cannot have been yet."""
    row = _not_ahead(row, rules, now)
    waits = row.budget_until is not None and now < row.budget_until
    return msgspec.structs.replace(
        row,
        window=recent(row.window, now, rules.window_seconds),
        trials=void_overdue(row.trials, rules.trial_seconds, now),
        budget_until=row.budget_until if waits else None,
    )


def _not_ahead(row: Breaker, rules: Rules, now: float) -> Breaker:
    """Return the breaker with no time in it that a clock which was set back does not permit.

    Otherwise it would stay open until the clock is there again.
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
    """Return whether it is closed and nothing happened to it for so long."""
    return row.state == "closed" and now - row.active_at >= seconds


def _touched(row: Breaker, rules: Rules, now: float) -> Breaker:
    return msgspec.structs.replace(tidied(row, rules, now), active_at=now)


def _counted(row: Breaker, call: Call, rules: Rules, now: float) -> Breaker:
    window = add(row.window, call, now, calls=rules.window_calls, seconds=rules.window_seconds)
    return msgspec.structs.replace(row, window=window)


def _judged(row: Breaker, rules: Rules, now: float) -> Breaker:
    """Return a closed breaker open, or with retries held back, when its window says so."""
    reason = reason_to_open(row.window, rules)
    if reason is not None:
        return _opened(row, reason, rules, now)
    if row.budget_until is None and retries_too_much(row.window, rules):
        return msgspec.structs.replace(row, budget_until=now + BUDGET_SECONDS)
    return row


def _tried(row: Breaker, rules: Rules, now: float) -> Breaker:
    """Return a half-open breaker closed or open again, when its trials have decided."""
    match verdict(row.trials, row.trials_max):
        case "passed":
            return new_breaker(row, now)
        case "failed":
            return _opened(row, main_code(row.window, COUNTING) or row.reason, rules, now)
        case _:
            return row


def _opened(row: Breaker, reason: ErrorCode | None, rules: Rules, now: float) -> Breaker:
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
