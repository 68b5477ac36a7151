from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.recovery.backoff import breaker_seconds, budget_seconds, due_after, seconds_left
from schemas.signals import BreakerState
from tests.unit.agents.builders import WRITTEN_AT, make_job
from tests.unit.agents.recovery.cases import DAY, NOW, breaker

BREAKERS: dict[str, tuple[BreakerState | None, float]] = {
    "none": (None, 1),
    "closed meanwhile": (breaker("closed"), 1),
    "closed with a moment": (breaker("closed", 99), 1),
    "open for a while": (breaker("open", 42), 42),
    "open for a moment": (breaker("open", 0.25), 0.25),
    "open for ever": (breaker("open"), 30),
    "forced": (breaker("forced_open"), 30),
    "forced with a moment": (breaker("forced_open", 99), 30),
}


@pytest.mark.parametrize(("state", "seconds"), BREAKERS.values(), ids=BREAKERS.keys())
@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_a_breaker_is_waited_for_and_a_second_more_at_most(
    state: BreakerState | None, seconds: float, chance: float
) -> None:
    assert breaker_seconds(state, NOW, chance) == seconds + chance


TRIALS: dict[str, tuple[BreakerState, float]] = {
    "half-open since now": (breaker("half_open", since=0), 1),
    "half-open since a moment": (breaker("half_open", since=-0.5), 1),
    "half-open since a while": (breaker("half_open", since=-6), 6),
    "half-open for long": (breaker("half_open", since=-600), 8),
    "half-open by a clock ahead": (breaker("half_open", since=600), 1),
    "to be tried now": (breaker("open", 0), 1),
    "to be tried since a while": (breaker("open", -6), 6),
    "to be tried for long": (breaker("open", -60), 8),
}


@pytest.mark.parametrize(("state", "seconds"), TRIALS.values(), ids=TRIALS.keys())
@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_trials_are_waited_for_from_half_to_twice_as_long_as_they_take_so_far(
    state: BreakerState, seconds: float, chance: float
) -> None:
    assert breaker_seconds(state, NOW, chance) == seconds * (0.5 + 1.5 * chance)


BUDGETS: dict[str, tuple[BreakerState | None, float, float]] = {
    "no breaker": (None, 1.0, 0),
    "none": (breaker("closed"), 1.0, 0),
    "over": (breaker("closed", budget=-1), 1.0, 0),
    "over just now": (breaker("closed", budget=0), 1.0, 0),
    "to be waited for": (breaker("closed", budget=7), 0.0, 7),
    "with a spread": (breaker("closed", budget=7), 1.0, 8),
    "with half a spread": (breaker("open", 3, budget=0.5), 0.5, 1),
}


@pytest.mark.parametrize(("state", "chance", "seconds"), BUDGETS.values(), ids=BUDGETS.keys())
def test_retries_wait_for_their_share(
    state: BreakerState | None, chance: float, seconds: float
) -> None:
    assert budget_seconds(state, NOW, chance) == seconds


LEFT = [(60, DAY.total_seconds() - 60), (0, 86_400), (-500, 86_400), (86_400, 0), (86_401, -1)]


@pytest.mark.parametrize(("age", "left"), LEFT)
def test_the_rest_of_the_total_time(age: float, left: float) -> None:
    now = WRITTEN_AT + timedelta(seconds=age)
    assert seconds_left(make_job(), now, DAY) == left


DUE = [
    (5.0, None, 5.0),
    (0.0, None, 0.0),
    (-9.0, None, 0.0),
    (40.0, None, 40.0),
    (40.5, None, 40.0),
    (1e300, None, 40.0),
    (5.0, 4.0, 4.0),
    (5.0, 5.0, 5.0),
    (5.0, 6.0, 5.0),
    (5.0, 0.0, 0.0),
    (5.0, -100.0, 0.0),
    (0.0, -100.0, 0.0),
    (50.0, 45.0, 40.0),
]


@pytest.mark.parametrize(("seconds", "deadline", "expected"), DUE)
def test_what_is_due_is_within_the_total_time_and_the_deadline(
    seconds: float, deadline: float | None, expected: float
) -> None:
    ends = None if deadline is None else NOW + timedelta(seconds=deadline)
    due = due_after(seconds, make_job(deadline=ends), NOW, timedelta(seconds=100))
    assert due == NOW + timedelta(seconds=expected)


def test_after_the_total_time_everything_is_due_now() -> None:
    late = WRITTEN_AT + DAY + timedelta(seconds=1)
    assert due_after(5, make_job(), late, DAY) == late


@given(
    received=st.datetimes(timezones=st.just(WRITTEN_AT.tzinfo)),
    seconds=st.floats(allow_nan=False),
)
def test_no_moment_of_arrival_is_too_odd(received: datetime, seconds: float) -> None:
    due = due_after(seconds, make_job(received_at=received), NOW, DAY)
    assert NOW <= due <= NOW + DAY
