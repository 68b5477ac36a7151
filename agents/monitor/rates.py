"""Adaptive rates of the partitions that this process owns: state, log lines, published state."""

import logging
from collections.abc import Callable, Mapping, Sequence

from agents.monitor.write_behind import PublishedState, StateKind, WriteBehindCache
from agents.resilience.adaptive_rate import (
    AdaptiveRate,
    RateRules,
    expire_outdated,
    is_idle,
    new_rate,
    rate_of,
    state_of,
)
from agents.resilience.aimd import adapt, handles_limits
from schemas.attempts import EndpointRecord, NetworkAttempt
from schemas.codec import encode
from schemas.signals import RATE
from streams.records import Effect

log = logging.getLogger(__name__)

EVENT = "rate.changed.v1"


def to_published(row: AdaptiveRate) -> PublishedState:
    """Return the state to publish; the default is the whole limit without a pause."""
    is_default = row.allowed is None and row.until is None
    return PublishedState(encode(state_of(row)), is_default=is_default)


def log_change(before: AdaptiveRate, after: AdaptiveRate, rules: RateRules) -> None:
    """Log a cut, a pause, and the recovery of the whole limit, but not each increase."""
    text = describe(before, after, rules)
    if text is not None:
        log.warning("%s %s", state_of(after).name, text)


def describe(before: AdaptiveRate, after: AdaptiveRate, rules: RateRules) -> str | None:
    """Return the predicate of a log line about a change; None when it is not logged."""
    if after.cut_at > before.cut_at:
        now, then = rate_of(after, rules), rate_of(before, rules)
        return f"is limited to {now:.3g} instead of {then:.3g} requests per second: {after.reason}"
    if after.until is not None and before.until is None:
        return (
            f"is paused for {after.until - after.active_at:.3g} s by a Retry-After of the platform"
        )
    if before.allowed is not None and after.allowed is None:
        return f"is restored to {rules.limit:.3g} requests per second"
    return None


TABLE = "rates"

IDLE_SECONDS = 3_600.0
"""Seconds without an attempt after which a rate is dropped, and with it a cut."""


class MonitoredRates:
    """Rates in memory, with their rows and published states.

    Args:
        rules: returns the parameters of a platform.
        step: the stage that writes them.
        read_row: returns the row of a rate.
        read_signal: returns the published state of a key.
    """

    def __init__(
        self,
        rules: Callable[[str], RateRules],
        step: str,
        *,
        read_row: Callable[[str], bytes | None],
        read_signal: Callable[[str], bytes | None],
    ) -> None:
        kind = StateKind(TABLE, AdaptiveRate, RATE, EVENT, to_published)
        self._rules = rules
        self._store = WriteBehindCache(kind, step, read_row=read_row, read_signal=read_signal)

    def on_attempt(self, attempt: NetworkAttempt, cause: str, now: float) -> Sequence[Effect]:
        """Adapt the rate to an attempt."""
        rules = self._rules(attempt.platform)
        entry = self._store.get_or_create(attempt.name, lambda: new_rate(attempt, now))
        after = adapt(entry.row, attempt, rules, now)
        log_change(entry.row, after, rules)
        return self._store.update(attempt.name, entry, after, cause, now)

    def handles_limits(self, endpoint: EndpointRecord, now: float) -> bool:
        """Return whether the rate, not the breaker, reacts to a 429 at present."""
        rules = self._rules(endpoint.platform)
        row = self._store.get_or_create(endpoint.name, lambda: new_rate(endpoint, now)).row
        return handles_limits(expire_outdated(row, rules, now), rules, now)

    def reset(self, endpoint: EndpointRecord, cause: str, now: float) -> Sequence[Effect]:
        """Restore the whole limit and clear the window."""
        entry = self._store.get_or_create(endpoint.name, lambda: new_rate(endpoint, now))
        # A reset counts as a cut, so that attempts made before it are not evaluated.
        after = new_rate(endpoint, now, entry.row.cuts + 1)
        return self._store.update(endpoint.name, entry, after, cause, now)

    def sweep(self, rows: Mapping[str, bytes], now: float) -> Sequence[Effect]:
        """Return due writes of all rates whose rows this process owns, and evict the others."""
        self._store.retain(rows)
        return [effect for name, row in rows.items() for effect in self._sweep_row(name, row, now)]

    def _sweep_row(self, name: str, row: bytes, now: float) -> Sequence[Effect]:
        entry = self._store.load(name, row)
        if entry is None or is_idle(entry.row, IDLE_SECONDS, now):
            return self._store.drop(name)
        entry.row = expire_outdated(entry.row, self._rules(entry.row.platform), now)
        return self._store.reconcile(name, entry, row, now)
