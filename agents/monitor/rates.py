"""The adaptive rates that the monitor of this process looks after."""

import logging
from collections.abc import Callable, Mapping, Sequence

from agents.monitor.state_store import Kind, PublishedState, StateStore
from agents.resilience.adaptive_rate import (
    AdaptiveRate,
    RateRules,
    is_idle,
    new_rate,
    rate_of,
    state_of,
    tidied,
)
from agents.resilience.aimd import adapt, handles_limits
from schemas.attempts import NetworkAttempt, Way
from schemas.codec import encode
from schemas.signals import RATE
from streams.records import Effect

log = logging.getLogger(__name__)

EVENT = "rate.changed.v1"


def told(row: AdaptiveRate) -> PublishedState:
    """Return what workers must know; nothing while the whole limit is allowed."""
    return PublishedState(encode(state_of(row)), plain=row.allowed is None and row.until is None)


def announce(before: AdaptiveRate, after: AdaptiveRate, rules: RateRules) -> None:
    """Log a cut, a pause, and the return to the whole limit; not every step on the way."""
    text = describe(before, after, rules)
    if text is not None:
        log.warning("%s %s", state_of(after).name, text)


def describe(before: AdaptiveRate, after: AdaptiveRate, rules: RateRules) -> str | None:
    """Return what happened to a rate, in words that follow its name; None: nothing new."""
    if after.cut_at > before.cut_at:
        now, then = rate_of(after, rules), rate_of(before, rules)
        return f"slows down from {then:.3g} to {now:.3g} requests a second: {after.reason}"
    if after.until is not None and before.until is None:
        return f"pauses for {after.until - after.active_at:.3g} s, as the platform asks"
    if before.allowed is not None and after.allowed is None:
        return f"is back to {rules.limit:.3g} requests a second"
    return None


TABLE = "rates"

IDLE_SECONDS = 3_600.0
"""A rate that nothing happened to for so long is forgotten: all is allowed again."""


class MonitoredRates:
    """Rates in memory, with their rows and signals.

    Args:
        rules: returns the numbers of a platform.
        step: the stage that writes them.
        read_row: returns the row of a rate.
        read_signal: returns what workers know under a key.
    """

    def __init__(
        self,
        rules: Callable[[str], RateRules],
        step: str,
        *,
        read_row: Callable[[str], bytes | None],
        read_signal: Callable[[str], bytes | None],
    ) -> None:
        kind = Kind(TABLE, AdaptiveRate, RATE, EVENT, told)
        self._rules = rules
        self._live = StateStore(kind, step, read_row=read_row, read_signal=read_signal)

    def hear(self, attempt: NetworkAttempt, cause: str, now: float) -> Sequence[Effect]:
        """Return what follows from an attempt."""
        rules = self._rules(attempt.platform)
        live = self._live.at(attempt.name, lambda: new_rate(attempt, now))
        after = adapt(live.now, attempt, rules, now)
        announce(live.now, after, rules)
        return self._live.change(attempt.name, live, after, cause, now)

    def handles_limits(self, way: Way, now: float) -> bool:
        """Return whether a lower rate is the answer to 429 at present."""
        rules = self._rules(way.platform)
        row = self._live.at(way.name, lambda: new_rate(way, now)).now
        return handles_limits(tidied(row, rules, now), rules, now)

    def reset(self, way: Way, cause: str, now: float) -> Sequence[Effect]:
        """Allow all again, and forget what was counted."""
        live = self._live.at(way.name, lambda: new_rate(way, now))
        # One more cut: what was asked before counts no longer.
        after = new_rate(way, now, live.now.cuts + 1)
        return self._live.change(way.name, live, after, cause, now)

    def sweep(self, rows: Mapping[str, bytes], now: float) -> Sequence[Effect]:
        """Return what is to be written about all rates of this process."""
        self._live.keep(rows)
        return [effect for name, row in rows.items() for effect in self._look(name, row, now)]

    def _look(self, name: str, row: bytes, now: float) -> Sequence[Effect]:
        live = self._live.known(name, row)
        if live is None or is_idle(live.now, IDLE_SECONDS, now):
            return self._live.drop(name)
        live.now = tidied(live.now, self._rules(live.now.platform), now)
        return self._live.look(name, live, row, now)
