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
    "closed": (breaker("closed"), 1),
    "closed with an end": (breaker("closed", 99), 1),
    "open for 42 s": (breaker("open", 42), 42),
    "open for 0.25 s": (breaker("open", 0.25), 0.25),
    "open without an end": (breaker("open"), 30),
    "forced": (breaker("forced_open"), 30),
    "forced with an end": (breaker("forced_open", 99), 30),
}


@pytest.mark.parametrize(("state", "seconds"), BREAKERS.values(), ids=BREAKERS.keys())
@pytest.mark.parametrize("uniform", [0.0, 0.5, 1.0])
def test_breaker_wait_has_up_to_one_second_of_jitter(
    state: BreakerState | None, seconds: float, uniform: float
) -> None:
    assert breaker_seconds(state, NOW, uniform) == seconds + uniform


TRIALS: dict[str, tuple[BreakerState, float]] = {
    "half-open since now": (breaker("half_open", since=0), 1),
    "half-open for 0.5 s": (breaker("half_open", since=-0.5), 1),
    "half-open for 6 s": (breaker("half_open", since=-6), 6),
    "half-open for 600 s": (breaker("half_open", since=-600), 8),
    "half-open by a future clock": (breaker("half_open", since=600), 1),
    "open time over now": (breaker("open", 0), 1),
    "open time over for 6 s": (breaker("open", -6), 6),
    "open time over for 60 s": (breaker("open", -60), 8),
}


@pytest.mark.parametrize(("state", "seconds"), TRIALS.values(), ids=TRIALS.keys())
@pytest.mark.parametrize("uniform", [0.0, 0.5, 1.0])
def test_half_open_wait_is_half_to_twice_the_elapsed_time(
    state: BreakerState, seconds: float, uniform: float
) -> None:
    assert breaker_seconds(state, NOW, uniform) == seconds * (0.5 + 1.5 * uniform)


BUDGETS: dict[str, tuple[BreakerState | None, float, float]] = {
    "no breaker": (None, 1.0, 0),
    "none": (breaker("closed"), 1.0, 0),
    "expired": (breaker("closed", budget=-1), 1.0, 0),
    "expires now": (breaker("closed", budget=0), 1.0, 0),
    "active": (breaker("closed", budget=7), 0.0, 7),
    "with jitter": (breaker("closed", budget=7), 1.0, 8),
    "with half the jitter": (breaker("open", 3, budget=0.5), 0.5, 1),
}


@pytest.mark.parametrize(("state", "uniform", "seconds"), BUDGETS.values(), ids=BUDGETS.keys())
def test_retry_budget_wait_by_breaker_state(
    state: BreakerState | None, uniform: float, seconds: float
) -> None:
    assert budget_seconds(state, NOW, uniform) == seconds


LEFT = [(60, DAY.total_seconds() - 60), (0, 86_400), (-500, 86_400), (86_400, 0), (86_401, -1)]


@pytest.mark.parametrize(("age", "left"), LEFT)
def test_seconds_left_of_the_total_time(age: float, left: float) -> None:
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
def test_due_time_is_within_the_total_time_and_the_deadline(
    seconds: float, deadline: float | None, expected: float
) -> None:
    ends = None if deadline is None else NOW + timedelta(seconds=deadline)
    due = due_after(seconds, make_job(deadline=ends), NOW, timedelta(seconds=100))
    assert due == NOW + timedelta(seconds=expected)


def test_due_time_after_the_total_time_is_now() -> None:
    late = WRITTEN_AT + DAY + timedelta(seconds=1)
    assert due_after(5, make_job(), late, DAY) == late


@given(
    received=st.datetimes(timezones=st.just(WRITTEN_AT.tzinfo)),
    seconds=st.floats(allow_nan=False),
)
def test_due_time_is_bounded_for_any_arrival_time(received: datetime, seconds: float) -> None:
    due = due_after(seconds, make_job(received_at=received), NOW, DAY)
    assert NOW <= due <= NOW + DAY
