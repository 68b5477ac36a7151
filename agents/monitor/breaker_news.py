"""What is told of a circuit breaker: the signal to all workers, the log line, the metrics."""

import logging

from agents.monitor.state_store import Told
from agents.resilience.breaker_rules import COUNTING
from agents.resilience.circuit_breaker import Breaker, state_of
from agents.resilience.sliding_window import error_ratios
from schemas.codec import encode
from schemas.errors import ErrorCode
from streams.observability.metrics import ATTEMPT_ERRORS, BREAKER_STATE, BREAKER_TRANSITIONS

log = logging.getLogger(__name__)

EVENT = "breaker.changed.v1"

LEVELS = {"closed": 0, "half_open": 1, "open": 2, "forced_open": 3}
"""Values of the gauge `clipmill_breaker_state`."""


def told(row: Breaker) -> Told:
    """Return what workers must know; nothing while it lets everything through."""
    state = state_of(row)
    return Told(encode(state), plain=state.state == "closed" and state.budget_until is None)


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
