"""Breaker states under clock skew between a worker and the monitor."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.access.breaker_client import breaker_state
from agents.resilience.circuit_breaker import BUDGET_SECONDS
from schemas.codec import encode
from schemas.signals import BREAKER, BreakerState
from streams.cluster.shared_state import SharedState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAME = "tiktok:extract:a"
OPEN_SECONDS = 30.0


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


class SkewedBreaker:
    """A breaker state received now from a monitor whose clock is ``ahead`` seconds ahead."""

    def __init__(self, ahead: float, *, live: bool, age: float = 0.0, **fields: Any) -> None:
        self.elapsed = 0.0
        self.shared_state = SharedState(clock=lambda: self.elapsed)
        since = NOW + seconds(ahead - age)
        fields = {"state": "open", "until": since + seconds(OPEN_SECONDS), **fields}
        state = BreakerState(
            platform="tiktok", operation="extract", egress="a", since=since, **fields
        )
        self.shared_state.put(f"{BREAKER}{NAME}", encode(state), live=live)

    def remaining(self, elapsed: float = 0.0, jump: float = 0.0) -> float:
        """Return the open seconds left after ``elapsed``, with a step of the local clock."""
        self.elapsed = elapsed
        now = NOW + seconds(elapsed + jump)
        state = breaker_state(self.shared_state, NAME, now)
        assert state is not None
        assert state.until is not None
        return (state.until - now).total_seconds()


@pytest.mark.parametrize("ahead", [-3_000.0, -600.0, 0.0, 600.0, 3_000.0])
@pytest.mark.parametrize("jump", [-7_200.0, 0.0, 3_000.0])
def test_live_state_keeps_its_open_time_under_clock_skew(ahead: float, jump: float) -> None:
    breaker = SkewedBreaker(ahead, live=True)
    assert breaker.remaining() == OPEN_SECONDS
    assert breaker.remaining(elapsed=10, jump=jump) == OPEN_SECONDS - 10


@pytest.mark.parametrize(
    ("ahead", "remaining"), [(0.0, 20.0), (600.0, OPEN_SECONDS), (-600.0, -580.0)]
)
def test_replayed_state_is_open_no_longer_than_its_open_time(
    ahead: float, remaining: float
) -> None:
    breaker = SkewedBreaker(ahead, live=False, age=10)
    assert breaker.remaining() == remaining
    assert breaker.remaining(elapsed=10) == remaining - 10


def test_retry_budget_hold_is_capped_under_clock_skew() -> None:
    breaker = SkewedBreaker(
        600.0, live=True, state="closed", until=None, budget_until=NOW + seconds(605)
    )
    state = breaker_state(breaker.shared_state, NAME, NOW)
    assert state is not None
    assert (state.until, state.budget_until) == (None, NOW + seconds(BUDGET_SECONDS))


@pytest.mark.parametrize("value", [None, b"", b"{"])
def test_undecodable_state_is_ignored(value: bytes | None) -> None:
    shared_state = SharedState()
    shared_state.put(f"{BREAKER}{NAME}", value)
    assert breaker_state(shared_state, NAME, NOW) is None
