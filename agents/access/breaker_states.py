"""State of a circuit breaker as this worker observes it, converted to its own clock."""

from datetime import datetime, timedelta

import msgspec

from agents.resilience.circuit_breaker import BUDGET_SECONDS
from schemas.signals import BREAKER, BreakerState
from streams.cluster.shared_state import SharedState


def breaker_state(signals: SharedState, name: str, now: datetime) -> BreakerState | None:
    """Return the state of a breaker; None when there is none, or it is malformed.

    Its times are by the monitor's clock. They are shifted to this worker's: a breaker is open for
    as long as the monitor meant, however far the clocks are apart or jump.
    """
    key = f"{BREAKER}{name}"
    state = signals.read(key, BreakerState)
    if state is None or (state.until is None and state.budget_until is None):
        return state
    since = signals.published_at(key, state.since, now)
    until = None if state.until is None else since + (state.until - state.since)
    return msgspec.structs.replace(
        state,
        since=since,
        until=until,
        budget_until=_capped(state.budget_until, now),
    )


def _capped(until: datetime | None, now: datetime) -> datetime | None:
    """Return the end of the retry budget's hold; the monitor publishes its end as well."""
    return None if until is None else min(until, now + timedelta(seconds=BUDGET_SECONDS))
