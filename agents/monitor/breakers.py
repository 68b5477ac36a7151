"""The circuit breakers that the monitor of this process looks after."""

import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from agents.monitor.state_store import Kind, PublishedState, StateStore
from agents.resilience.breaker_rules import COUNTING, Rules
from agents.resilience.circuit_breaker import (
    Breaker,
    is_idle,
    new_breaker,
    on_attempt,
    on_order,
    on_trial_request,
    state_of,
    tidied,
)
from agents.resilience.sliding_window import error_ratios
from schemas.attempts import AttemptRecord, BreakerOrder, NetworkAttempt, TrialRequest
from schemas.codec import encode
from schemas.errors import ErrorCode
from schemas.signals import BREAKER
from streams.observability.metrics import ATTEMPT_ERRORS, BREAKER_STATE, BREAKER_TRANSITIONS
from streams.records import Effect

log = logging.getLogger(__name__)

EVENT = "breaker.changed.v1"

LEVELS = {"closed": 0, "half_open": 1, "open": 2, "forced_open": 3}
"""Values of the gauge `clipmill_breaker_state`."""


def told(row: Breaker) -> PublishedState:
    """Return what workers must know; nothing while it lets everything through."""
    state = state_of(row)
    return PublishedState(
        encode(state), plain=state.state == "closed" and state.budget_until is None
    )


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


TABLE = "breakers"

IDLE_SECONDS = 3_600.0
"""A closed breaker that nothing happened to for so long is forgotten."""

UNREACHABLE_RATIO = 2.0
"""A share of failures that there cannot be."""


class MonitoredBreakers:
    """Breakers in memory, with their rows and signals.

    Args:
        rules: the numbers.
        step: the stage that writes them.
        read_row: returns the row of a breaker.
        read_signal: returns what workers know under a key.
    """

    def __init__(
        self,
        rules: Rules,
        step: str,
        *,
        read_row: Callable[[str], bytes | None],
        read_signal: Callable[[str], bytes | None],
    ) -> None:
        kind = Kind(TABLE, Breaker, BREAKER, EVENT, told, self._forgotten)
        self._rules = rules
        self._lenient = msgspec.structs.replace(rules, failure_ratio=UNREACHABLE_RATIO)
        self._live = StateStore(kind, step, read_row=read_row, read_signal=read_signal)
        self._codes: dict[str, frozenset[ErrorCode]] = {}

    def is_closed(self, message: AttemptRecord, now: float) -> bool:
        """Return whether a breaker lets everything through."""
        return self._live.at(message.name, lambda: new_breaker(message, now)).now.state == "closed"

    def hear(
        self, message: AttemptRecord, cause: str, now: float, *, forgiving: bool
    ) -> Sequence[Effect]:
        """Return what follows from a message; who is forgiving opens nothing because of 429."""
        live = self._live.at(message.name, lambda: new_breaker(message, now))
        after = self._after(live.now, message, now, forgiving=forgiving)
        announce(live.now, after)
        return self._live.change(message.name, live, after, cause, now)

    def _after(
        self, breaker: Breaker, message: AttemptRecord, now: float, *, forgiving: bool
    ) -> Breaker:
        match message:
            case NetworkAttempt():
                after = on_attempt(breaker, message, self._rules, now)
                if forgiving and _opens_for_limit(breaker, after):
                    return on_attempt(breaker, message, self._lenient, now)
                return after
            case TrialRequest():
                return on_trial_request(breaker, message, self._rules, now)
            case BreakerOrder():
                return on_order(breaker, message, now)

    def sweep(self, rows: Mapping[str, bytes], now: float) -> Sequence[Effect]:
        """Return what is to be written about all breakers of this process."""
        self._live.keep(rows)
        return [effect for name, row in rows.items() for effect in self._look(name, row, now)]

    def _look(self, name: str, row: bytes, now: float) -> Sequence[Effect]:
        live = self._live.known(name, row)
        if live is None or is_idle(live.now, IDLE_SECONDS, now):
            return self._live.drop(name)
        live.now = tidied(live.now, self._rules, now)
        self._codes[name] = measure(live.now, self._codes.get(name, frozenset()))
        return self._live.look(name, live, row, now)

    def _forgotten(self, name: str, row: Breaker) -> None:
        unmeasure(row, self._codes.pop(name, frozenset()))


def _opens_for_limit(before: Breaker, after: Breaker) -> bool:
    opens = before.state == "closed" and after.state == "open"
    return opens and after.reason is ErrorCode.RATE_LIMIT_API
