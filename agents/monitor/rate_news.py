"""What is told of an adaptive rate: the signal to all workers, and the log line."""

import logging

from agents.monitor.state_store import Told
from agents.resilience.adaptive_rate import AdaptiveRate, RateRules, rate_of, state_of
from schemas.codec import encode

log = logging.getLogger(__name__)

EVENT = "rate.changed.v1"


def told(row: AdaptiveRate) -> Told:
    """Return what workers must know; nothing while the whole limit is allowed."""
    return Told(encode(state_of(row)), plain=row.allowed is None and row.until is None)


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
