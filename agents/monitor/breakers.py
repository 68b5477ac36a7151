"""Circuit breakers of the partitions that this process owns: state, metrics, published state."""

import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from agents.monitor.write_behind import PublishedState, StateKind, WriteBehindCache
from agents.resilience.breaker_rules import FAILURES, BreakerRules
from agents.resilience.circuit_breaker import (
    Breaker,
    expire_outdated,
    is_idle,
    new_breaker,
    on_attempt,
    on_command,
    on_trial_request,
    state_of,
)
from agents.resilience.sliding_window import error_ratios
from schemas.attempts import AttemptRecord, BreakerCommand, NetworkAttempt, TrialRequest
from schemas.codec import encode
from schemas.errors import ErrorCode
from schemas.signals import BREAKER
from streams.observability.metrics import ATTEMPT_ERRORS, BREAKER_STATE, BREAKER_TRANSITIONS
from streams.records import Effect

log = logging.getLogger(__name__)

EVENT = "breaker.changed.v1"

LEVELS = {"closed": 0, "half_open": 1, "open": 2, "forced_open": 3}
"""Values of the gauge `clipmill_breaker_state`."""


def to_published(row: Breaker) -> PublishedState:
    """Return the state to publish; the default is closed, with retries in their budget."""
    state = state_of(row)
    is_default = state.state == "closed" and state.budget_until is None
    return PublishedState(encode(state), is_default=is_default)


def record_transition(before: Breaker, after: Breaker) -> None:
    """Log and count a change of state, if it is one."""
    if before.state == after.state:
        return
    name = state_of(after).name
    level = logging.ERROR if LEVELS[after.state] >= LEVELS["open"] else logging.WARNING
    log.log(level, "%s %s", name, describe(before, after))
    BREAKER_TRANSITIONS.labels(*labels_of(after), after.state).inc()
    BREAKER_STATE.labels(*labels_of(after)).set(LEVELS[after.state])


def describe(before: Breaker, after: Breaker) -> str:
    """Return the predicate of a log line about a transition."""
    match after.state:
        case "open":
            return _describe_opening(before, after)
        case "half_open":
            return f"is half-open: {after.trials_max} trial calls decide on its next state"
        case "forced_open":
            return f"is forced open by {after.by or 'an operator'} until it is reset"
        case _:
            return "is closed: all attempts are permitted"


def _describe_opening(before: Breaker, after: Breaker) -> str:
    seconds = (after.until or after.since) - after.since
    if before.state == "half_open":
        return f"reopened for {seconds:g} s: its trial calls failed, mostly {after.reason}"
    failed = sum(call.code in FAILURES for call in after.window)
    slow = sum(call.slow for call in after.window)
    return (
        f"opened for {seconds:g} s: {failed} of {len(after.window)} attempts failed, "
        f"{slow} were slow, mostly {after.reason}"
    )


def labels_of(row: Breaker) -> tuple[str, str, str]:
    """Return platform, operation and egress, as metric labels."""
    return row.platform, row.operation, row.egress


def set_gauges(row: Breaker, known: frozenset[ErrorCode]) -> frozenset[ErrorCode]:
    """Set the gauges of a breaker, and return the codes that have a gauge now.

    Gauges of ``known`` codes that no call of the window has are set to 0.
    """
    BREAKER_STATE.labels(*labels_of(row)).set(LEVELS[row.state])
    ratios = error_ratios(row.window)
    for code in known | ratios.keys():
        ATTEMPT_ERRORS.labels(*labels_of(row), code).set(ratios.get(code, 0.0))
    return known | ratios.keys()


def remove_gauges(row: Breaker, known: frozenset[ErrorCode]) -> None:
    """Remove the gauges of a breaker that this process no longer owns."""
    BREAKER_STATE.remove(*labels_of(row))
    for code in known:
        ATTEMPT_ERRORS.remove(*labels_of(row), code)


TABLE = "breakers"

IDLE_SECONDS = 3_600.0
"""Seconds without an event after which a closed breaker is dropped."""

UNREACHABLE_RATIO = 2.0
"""Failure ratio that no window reaches."""


class MonitoredBreakers:
    """Breakers in memory, with their rows and published states.

    Args:
        rules: parameters of the breakers.
        step: the stage that writes them.
        read_row: returns the row of a breaker.
        read_signal: returns the published state of a key.
    """

    def __init__(
        self,
        rules: BreakerRules,
        step: str,
        *,
        read_row: Callable[[str], bytes | None],
        read_signal: Callable[[str], bytes | None],
    ) -> None:
        kind = StateKind(TABLE, Breaker, BREAKER, EVENT, to_published, self._on_evict)
        self._rules = rules
        self._slow_only = msgspec.structs.replace(rules, failure_ratio=UNREACHABLE_RATIO)
        self._store = WriteBehindCache(kind, step, read_row=read_row, read_signal=read_signal)
        self._codes: dict[str, frozenset[ErrorCode]] = {}

    def is_closed(self, message: AttemptRecord, now: float) -> bool:
        """Return whether the breaker of a message is closed."""
        entry = self._store.get_or_create(message.name, lambda: new_breaker(message, now))
        return entry.row.state == "closed"

    def on_message(
        self, message: AttemptRecord, cause: str, now: float, *, ignore_limits: bool
    ) -> Sequence[Effect]:
        """Apply a message; with ``ignore_limits`` a breaker does not open because of 429."""
        entry = self._store.get_or_create(message.name, lambda: new_breaker(message, now))
        after = self._apply(entry.row, message, now, ignore_limits=ignore_limits)
        record_transition(entry.row, after)
        return self._store.update(message.name, entry, after, cause, now)

    def _apply(
        self, breaker: Breaker, message: AttemptRecord, now: float, *, ignore_limits: bool
    ) -> Breaker:
        match message:
            case NetworkAttempt():
                after = on_attempt(breaker, message, self._rules, now)
                if ignore_limits and _opens_for_limit(breaker, after):
                    return on_attempt(breaker, message, self._slow_only, now)
                return after
            case TrialRequest():
                return on_trial_request(breaker, message, self._rules, now)
            case BreakerCommand():
                return on_command(breaker, message, now)

    def sweep(self, rows: Mapping[str, bytes], now: float) -> Sequence[Effect]:
        """Return due writes of all breakers whose rows this process owns, and evict the others."""
        self._store.retain(rows)
        return [effect for name, row in rows.items() for effect in self._sweep_row(name, row, now)]

    def _sweep_row(self, name: str, row: bytes, now: float) -> Sequence[Effect]:
        entry = self._store.load(name, row)
        if entry is None or is_idle(entry.row, IDLE_SECONDS, now):
            return self._store.drop(name)
        entry.row = expire_outdated(entry.row, self._rules, now)
        self._codes[name] = set_gauges(entry.row, self._codes.get(name, frozenset()))
        return self._store.reconcile(name, entry, row, now)

    def _on_evict(self, name: str, row: Breaker) -> None:
        remove_gauges(row, self._codes.pop(name, frozenset()))


def _opens_for_limit(before: Breaker, after: Breaker) -> bool:
    opens = before.state == "closed" and after.state == "open"
    return opens and after.reason is ErrorCode.RATE_LIMIT_API
