"""Permitted calls, the order of egresses, and breaker states under clock skew."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.access.breaker_client import (
    Permission,
    breaker_state,
    by_preference,
    first_to_permit,
    has_free_trials,
    not_permitted_error,
    permission_of,
)
from agents.resilience.circuit_breaker import BUDGET_SECONDS
from schemas.codec import encode
from schemas.errors import Endpoint, ErrorCode
from schemas.signals import BREAKER, BreakerState
from streams.cluster.shared_state import SharedState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def breaker(state: Any, egress: str = "a", **changes: Any) -> BreakerState:
    fields = {"platform": "tiktok", "operation": "extract", "egress": egress, "since": NOW}
    return BreakerState(**{**fields, **changes}, state=state)


PERMISSIONS: dict[str, tuple[BreakerState | None, Permission]] = {
    "unknown": (None, "go"),
    "closed": (breaker("closed"), "go"),
    "open": (breaker("open", until=NOW + SECOND), "no"),
    "open until now": (breaker("open", until=NOW), "wait"),
    "open until a second ago": (breaker("open", until=NOW - SECOND), "wait"),
    "open without an end": (breaker("open"), "wait"),
    "half-open": (breaker("half_open", trials=("other",), trials_max=5), "wait"),
    "half-open, trial granted": (breaker("half_open", trials=("other", "mine")), "trial"),
    "half-open, no free trial": (breaker("half_open", trials=("x",), trials_max=1), "wait"),
    "forced": (breaker("forced_open"), "no"),
    "forced, with a past end": (breaker("forced_open", until=NOW - SECOND), "no"),
    "open, with a stale grant": (breaker("open", until=NOW + SECOND, trials=("mine",)), "no"),
}


@pytest.mark.parametrize("name", PERMISSIONS)
def test_permission_by_breaker_state(name: str) -> None:
    state, expected = PERMISSIONS[name]
    assert permission_of(state, "mine", NOW) == expected


def test_every_permission_is_covered() -> None:
    assert {expected for _, expected in PERMISSIONS.values()} == set(get_args(Permission))


@pytest.mark.parametrize(
    ("state", "free"),
    [
        (None, True),
        (breaker("open"), True),
        (breaker("half_open", trials=("a", "b"), trials_max=3), True),
        (breaker("half_open", trials=("a", "b"), trials_max=2), False),
        (breaker("half_open", trials=("a", "b"), trials_max=1), False),
    ],
)
def test_has_free_trials_by_breaker_state(state: BreakerState | None, *, free: bool) -> None:
    assert has_free_trials(state) is free


NAMES = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=6, unique=True)


@given(NAMES, st.text(max_size=20), st.randoms(use_true_random=False))
def test_preference_order_does_not_depend_on_listing_order(
    names: list[str], subject: str, chance: Any
) -> None:
    shuffled = chance.sample(names, len(names))
    assert by_preference(names, (), subject) == by_preference(shuffled, (), subject)
    assert sorted(by_preference(names, (), subject)) == sorted(names)


@given(NAMES, st.text(max_size=20))
def test_avoided_egress_leaves_order_of_the_others_unchanged(
    names: list[str], subject: str
) -> None:
    order = by_preference(names, (), subject)
    for avoided in names:
        remaining = [name for name in order if name != avoided]
        assert by_preference(names, (avoided,), subject) == (remaining or order)


def test_avoiding_all_egresses_keeps_all() -> None:
    assert sorted(by_preference(["a", "b"], ("b", "a"), "v")) == ["a", "b"]


def test_subjects_are_distributed_evenly_across_egresses() -> None:
    firsts = Counter(by_preference(["a", "b", "c"], (), f"tiktok:{n}")[0] for n in range(3_000))
    assert set(firsts) == {"a", "b", "c"}
    assert min(firsts.values()) > 850


@pytest.mark.parametrize(
    ("states", "egress"),
    [
        ([breaker("open", "a", until=NOW + SECOND), breaker("open", "b", until=NOW)], "b"),
        ([breaker("forced_open", "a"), breaker("open", "b", until=NOW + 9 * SECOND)], "b"),
        ([breaker("open", "a", until=NOW + SECOND), breaker("half_open", "b")], "b"),
        ([breaker("forced_open", "a"), breaker("forced_open", "b")], "a"),
    ],
)
def test_first_to_permit_is_the_breaker_with_the_earliest_end(
    states: list[BreakerState], egress: str
) -> None:
    assert first_to_permit(states).egress == egress


def test_not_permitted_error_names_breaker_reason_and_end() -> None:
    state = breaker("open", reason=ErrorCode.RATE_LIMIT_IP_BLOCK, until=NOW + 30 * SECOND)
    error = not_permitted_error(state)
    assert error.code is ErrorCode.RATE_LIMIT_IP_BLOCK
    assert (error.permitted, error.endpoint) == (
        False,
        Endpoint(platform="tiktok", operation="extract", egress="a"),
    )
    assert error.details == {"breaker": "tiktok:extract:a"}
    assert error.message == (
        "no attempt was made: the circuit breaker tiktok:extract:a is open since"
        " 2026-01-01T00:00:00+00:00 because of rate_limit.ip_block"
        " until 2026-01-01T00:00:30+00:00"
    )


def test_not_permitted_error_of_a_forced_breaker_names_the_user() -> None:
    error = not_permitted_error(breaker("forced_open", by="ann"))
    assert error.code is ErrorCode.NETWORK_SERVER
    assert error.message.endswith("is forced-open since 2026-01-01T00:00:00+00:00 forced by ann")


# Clock skew between a worker and the monitor

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
