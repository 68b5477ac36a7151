"""Which calls breakers permit, and the order in which egresses are preferred."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.access.breaker_client import (
    Permission,
    by_preference,
    first_to_permit,
    has_free_trials,
    not_permitted_error,
    permission_of,
)
from schemas.errors import Endpoint, ErrorCode
from schemas.signals import BreakerState

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
