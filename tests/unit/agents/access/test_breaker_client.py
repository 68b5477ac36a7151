"""What breakers permit, and which way out is taken."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.access.breaker_client import (
    Permission,
    by_preference,
    has_free_trials,
    opens_next,
    permission,
    refusal,
)
from schemas.errors import ErrorCode, Place
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
    "open until a moment ago": (breaker("open", until=NOW - SECOND), "wait"),
    "open without an end": (breaker("open"), "wait"),
    "half-open": (breaker("half_open", trials=("other",), trials_max=5), "wait"),
    "half-open, and granted": (breaker("half_open", trials=("other", "mine")), "trial"),
    "half-open, and full": (breaker("half_open", trials=("x",), trials_max=1), "wait"),
    "forced": (breaker("forced_open"), "no"),
    "forced, once until then": (breaker("forced_open", until=NOW - SECOND), "no"),
    "open, and once granted": (breaker("open", until=NOW + SECOND, trials=("mine",)), "no"),
}


@pytest.mark.parametrize("name", PERMISSIONS)
def test_what_a_breaker_permits(name: str) -> None:
    state, expected = PERMISSIONS[name]
    assert permission(state, "mine", NOW) == expected


def test_every_permission_is_met() -> None:
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
def test_whether_a_trial_may_be_granted_at_once(state: BreakerState | None, *, free: bool) -> None:
    assert has_free_trials(state) is free


NAMES = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=6, unique=True)


@given(NAMES, st.text(max_size=20), st.randoms(use_true_random=False))
def test_a_subject_has_one_order_however_the_names_are_listed(
    names: list[str], subject: str, chance: Any
) -> None:
    mixed = chance.sample(names, len(names))
    assert by_preference(names, (), subject) == by_preference(mixed, (), subject)
    assert sorted(by_preference(names, (), subject)) == sorted(names)


@given(NAMES, st.text(max_size=20))
def test_when_one_is_avoided_the_order_of_the_others_stays(names: list[str], subject: str) -> None:
    order = by_preference(names, (), subject)
    for avoided in names:
        left = [name for name in order if name != avoided]
        assert by_preference(names, (avoided,), subject) == (left or order)


def test_when_all_are_to_be_avoided_all_are_left() -> None:
    assert sorted(by_preference(["a", "b"], ("b", "a"), "v")) == ["a", "b"]


def test_subjects_are_spread() -> None:
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
def test_the_one_that_opens_next_is_named(states: list[BreakerState], egress: str) -> None:
    assert opens_next(states).egress == egress


def test_a_refusal_says_which_breaker_why_and_until_when() -> None:
    state = breaker("open", reason=ErrorCode.RATE_LIMIT_IP_BLOCK, until=NOW + 30 * SECOND)
    error = refusal(state)
    assert error.code is ErrorCode.RATE_LIMIT_IP_BLOCK
    assert (error.permitted, error.place) == (
        False,
        Place(platform="tiktok", operation="extract", egress="a"),
    )
    assert error.details == {"breaker": "tiktok:extract:a"}
    assert error.message == (
        "nothing was tried: the circuit breaker tiktok:extract:a is open since"
        " 2026-01-01T00:00:00+00:00 because of rate_limit.ip_block"
        " until 2026-01-01T00:00:30+00:00"
    )


def test_a_refusal_by_order_says_by_whose() -> None:
    error = refusal(breaker("forced_open", by="ann"))
    assert error.code is ErrorCode.NETWORK_SERVER
    assert error.message.endswith("is forced-open since 2026-01-01T00:00:00+00:00 by order of ann")
