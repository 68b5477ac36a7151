"""Synthetic series: what must count as growth, and what must not."""

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.memory.trend import POINTS_MIN, Point, Trend, find_trend

MEBIBYTE = 2.0**20
MINUTE = 60.0
COUNT = 60
"""One point a minute for an hour."""

Series = Callable[[int, random.Random], float]


def trend_of(series: Series, *, seed: int = 1, count: int = COUNT) -> Trend:
    """Return the trend of a series in MiB, in MiB an hour."""
    chance = random.Random(seed)
    found = find_trend([(n * MINUTE, series(n, chance)) for n in range(count)])
    assert found is not None
    return found


def noise(_: int, chance: random.Random) -> float:
    return 200 + chance.gauss(0, 5)


def ramp(n: int, chance: random.Random) -> float:
    return 200 + n * 0.5 + chance.gauss(0, 5)


def step(n: int, chance: random.Random) -> float:
    return 200 + (40 if n >= COUNT // 2 else 0) + chance.gauss(0, 2)


def early_step(n: int, chance: random.Random) -> float:
    return 200 + (40 if n >= 5 else 0) + chance.gauss(0, 2)


def saw(n: int, _: random.Random) -> float:
    return 200 + 3 * (n % 10)


def growing_saw(n: int, _: random.Random) -> float:
    return 200 + 3 * (n % 10) + 0.5 * n


def spikes(n: int, chance: random.Random) -> float:
    return noise(n, chance) + (2_000 if n % 12 == 0 else 0)


def shrinking(n: int, chance: random.Random) -> float:
    return 200 - n * 0.5 + chance.gauss(0, 2)


@pytest.mark.parametrize("series", [noise, step, early_step, saw, spikes])
@pytest.mark.parametrize("seed", range(5))
def test_what_does_not_grow_is_flat(series: Series, seed: int) -> None:
    found = trend_of(series, seed=seed)
    assert found.low <= 1, f"{found}: nobody may call this growth"


@pytest.mark.parametrize(("series", "per_hour"), [(ramp, 30), (growing_saw, 30), (shrinking, -30)])
@pytest.mark.parametrize("seed", range(5))
def test_what_grows_is_seen_with_its_rate(series: Series, per_hour: float, seed: int) -> None:
    found = trend_of(series, seed=seed)
    assert found.low <= per_hour <= found.high
    assert not found.is_flat
    assert found.per_hour == pytest.approx(per_hour, abs=8)


def test_the_interval_holds_what_it_promises() -> None:
    """Of flat series of independent noise about one in twenty is called growing or shrinking."""
    wrong = sum(not trend_of(noise, seed=seed, count=30).is_flat for seed in range(200))
    assert wrong <= 20


def test_points_that_follow_their_neighbours_are_no_growth() -> None:
    """Without the widening about every second of these would be called a trend."""
    wrong = sum(not find(wander(seed)).is_flat for seed in range(100))
    assert wrong <= 20


def wander(seed: int) -> list[Point]:
    chance, value, points = random.Random(seed), 0.0, []
    for n in range(COUNT):
        value = 0.8 * value + chance.gauss(0, 5)
        points.append((n * MINUTE, value))
    return points


def find(points: list[Point]) -> Trend:
    found = find_trend(points)
    assert found is not None
    return found


def test_a_straight_line_has_its_slope_and_no_doubt() -> None:
    found = trend_of(lambda n, _: 2.0 * n)
    assert (found.low, found.per_hour, found.high) == pytest.approx((120, 120, 120))


def test_what_stands_still_has_no_slope() -> None:
    assert trend_of(lambda _n, _c: 7.0) == Trend(0, 0, 0)


@pytest.mark.parametrize(
    "points",
    [
        pytest.param([], id="none"),
        pytest.param([(float(n), 1.0) for n in range(POINTS_MIN - 1)], id="too few"),
        pytest.param([(5.0, float(n)) for n in range(20)], id="all at one moment"),
    ],
)
def test_too_little_says_nothing(points: list[Point]) -> None:
    assert find_trend(points) is None


VALUES = st.lists(
    st.floats(min_value=0, max_value=1e12, allow_subnormal=False), min_size=8, max_size=40
)


@given(VALUES)
def test_the_slope_is_inside_its_interval(values: list[float]) -> None:
    found = find([(n * MINUTE, value) for n, value in enumerate(values)])
    assert found.low <= found.per_hour <= found.high
    assert math.isfinite(found.low)
    assert math.isfinite(found.high)


@given(VALUES)
def test_upside_down_is_the_opposite(values: list[float]) -> None:
    up = find([(n * MINUTE, value) for n, value in enumerate(values)])
    down = find([(n * MINUTE, -value) for n, value in enumerate(values)])
    assert down.per_hour == pytest.approx(-up.per_hour)
