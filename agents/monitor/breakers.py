"""The circuit breakers that the monitor of this process looks after."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from agents.monitor.breaker_news import EVENT, announce, measure, told, unmeasure
from agents.monitor.state_store import Kind, LiveRows
from agents.resilience.breaker_rules import Rules
from agents.resilience.circuit_breaker import (
    Breaker,
    is_idle,
    new_breaker,
    on_attempt,
    on_order,
    on_trial_request,
    tidied,
)
from schemas.attempts import AttemptRecord, BreakerOrder, NetworkAttempt, TrialRequest
from schemas.errors import ErrorCode
from schemas.signals import BREAKER
from streams.records import Effect

TABLE = "breakers"

IDLE_SECONDS = 3_600.0
"""A closed breaker that nothing happened to for so long is forgotten."""

NEVER = 2.0
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
        self._lenient = msgspec.structs.replace(rules, failure_ratio=NEVER)
        self._live = LiveRows(kind, step, read_row=read_row, read_signal=read_signal)
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
