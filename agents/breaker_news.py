"""What is told of a circuit breaker: the signal to all workers, the log line, the metrics."""

import hashlib
import logging

from agents.resilience.breaker import Breaker, state_of
from agents.resilience.rules import COUNTING
from agents.resilience.window import error_ratios
from schemas.codec import encode
from schemas.errors import ErrorCode
from schemas.signals import BREAKER, BreakerState
from streams.envelope import seal
from streams.metrics import ATTEMPT_ERRORS, BREAKER_STATE, BREAKER_TRANSITIONS
from streams.records import Outgoing
from streams.topics import SIGNALS

log = logging.getLogger(__name__)

KIND = "breaker.changed.v1"

LEVELS = {"closed": 0, "half_open": 1, "open": 2, "forced_open": 3}
"""Values of the gauge `clipmill_breaker_state`."""


def signal_key(name: str) -> str:
    """Return the key of a breaker's signal."""
    return f"{BREAKER}{name}"


def is_plain(state: BreakerState) -> bool:
    """Return whether a breaker lets everything through, which nobody needs to be told."""
    return state.state == "closed" and state.budget_until is None


def signal(state: BreakerState, step: str, cause: str | None) -> Outgoing:
    """Return the state for all workers. What differs has another id, what is the same has none."""
    key, body = signal_key(state.name), encode(state)
    return seal(
        SIGNALS,
        key,
        body,
        kind=KIND,
        step=step,
        event_id=f"{key}:{_digest(body)}",
        request_id=key,
        trace_id=_digest(key.encode()),
        cause_id=cause,
    )


def withdrawal(name: str) -> Outgoing:
    """Return the tombstone of a breaker's signal."""
    return Outgoing(SIGNALS, signal_key(name).encode(), None)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def announce(before: Breaker, after: Breaker) -> None:
    """Log and count a change of state, if it is one."""
    if before.state == after.state:
        return
    name = state_of(after).name
    level = logging.ERROR if LEVELS[after.state] >= LEVELS["open"] else logging.WARNING
    log.log(level, "%s %s", name, describe(before, after))
    BREAKER_TRANSITIONS.labels(*way_of(after), after.state).inc()
    BREAKER_STATE.labels(*way_of(after)).set(LEVELS[after.state])


def describe(before: Breaker, after: Breaker) -> str:
    """Return what happened to a breaker, in words that follow its name."""
    match after.state:
        case "open":
            return _opened(before, after)
        case "half_open":
            return f"is half-open: {after.trials_max} trials will show how the platform is"
        case "forced_open":
            return f"was opened by {after.by or 'somebody'} and stays so until it is reset"
        case _:
            return "closed: attempts are made as usual"


def _opened(before: Breaker, after: Breaker) -> str:
    seconds = (after.until or after.since) - after.since
    if before.state == "half_open":
        return f"opened again for {seconds:g} s: its trials failed, mostly {after.reason}"
    failed = sum(call.code in COUNTING for call in after.window)
    slow = sum(call.slow for call in after.window)
    return (
        f"opened for {seconds:g} s: {failed} of {len(after.window)} attempts failed, "
        f"{slow} were slow, mostly {after.reason}"
    )


def way_of(row: Breaker) -> tuple[str, str, str]:
    """Return platform, operation and egress: the labels of a breaker's metrics."""
    return row.platform, row.operation, row.egress


def measure(row: Breaker, known: frozenset[ErrorCode]) -> frozenset[ErrorCode]:
    """Set the gauges of a breaker; those of codes that were ``known`` fall to 0.

    Returns the codes that have a gauge now.
    """
    BREAKER_STATE.labels(*way_of(row)).set(LEVELS[row.state])
    ratios = error_ratios(row.window)
    for code in known | ratios.keys():
        ATTEMPT_ERRORS.labels(*way_of(row), code).set(ratios.get(code, 0.0))
    return known | ratios.keys()


def unmeasure(row: Breaker, known: frozenset[ErrorCode]) -> None:
    """Remove the gauges of a breaker that this process does not look after any more."""
    BREAKER_STATE.remove(*way_of(row))
    for code in known:
        ATTEMPT_ERRORS.remove(*way_of(row), code)
