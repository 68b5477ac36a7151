"""Synthetic series that must count as growth, and series that must not."""

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
    rng = random.Random(seed)
    found = find_trend([(n * MINUTE, series(n, rng)) for n in range(count)])
    assert found is not None
    return found


def noise(_: int, rng: random.Random) -> float:
    return 200 + rng.gauss(0, 5)


def ramp(n: int, rng: random.Random) -> float:
    return 200 + n * 0.5 + rng.gauss(0, 5)


def step(n: int, rng: random.Random) -> float:
    return 200 + (40 if n >= COUNT // 2 else 0) + rng.gauss(0, 2)


def early_step(n: int, rng: random.Random) -> float:
    return 200 + (40 if n >= 5 else 0) + rng.gauss(0, 2)


def sawtooth(n: int, _: random.Random) -> float:
    return 200 + 3 * (n % 10)


def growing_sawtooth(n: int, _: random.Random) -> float:
    return 200 + 3 * (n % 10) + 0.5 * n


def spikes(n: int, rng: random.Random) -> float:
    return noise(n, rng) + (2_000 if n % 12 == 0 else 0)


def shrinking(n: int, rng: random.Random) -> float:
    return 200 - n * 0.5 + rng.gauss(0, 2)


@pytest.mark.parametrize("series", [noise, step, early_step, sawtooth, spikes])
@pytest.mark.parametrize("seed", range(5))
def test_series_without_growth_has_no_positive_lower_bound(series: Series, seed: int) -> None:
    found = trend_of(series, seed=seed)
    assert found.low <= 1, f"{found}: must not count as growth"


@pytest.mark.parametrize(
    ("series", "per_hour"), [(ramp, 30), (growing_sawtooth, 30), (shrinking, -30)]
)
@pytest.mark.parametrize("seed", range(5))
def test_growth_is_detected_with_its_rate(series: Series, per_hour: float, seed: int) -> None:
    found = trend_of(series, seed=seed)
    assert found.low <= per_hour <= found.high
    assert not includes_zero(found)
    assert found.per_hour == pytest.approx(per_hour, abs=8)


def test_false_positive_rate_on_noise_is_within_the_confidence_level() -> None:
    """At 95 % about one in twenty flat series of independent noise counts as a trend."""
    wrong = sum(not includes_zero(trend_of(noise, seed=seed, count=30)) for seed in range(200))
    assert wrong <= 20


def test_autocorrelated_noise_is_not_growth() -> None:
    """Without the widened interval about every second series would count as a trend."""
    found = (require_trend(autocorrelated_points(seed)) for seed in range(100))
    wrong = sum(not includes_zero(each) for each in found)
    assert wrong <= 20


def autocorrelated_points(seed: int) -> list[Point]:
    rng, value, points = random.Random(seed), 0.0, []
    for n in range(COUNT):
        value = 0.8 * value + rng.gauss(0, 5)
        points.append((n * MINUTE, value))
    return points


def includes_zero(trend: Trend) -> bool:
    return trend.low <= 0 <= trend.high


def require_trend(points: list[Point]) -> Trend:
    found = find_trend(points)
    assert found is not None
    return found


def test_straight_line_has_its_slope_and_an_empty_interval() -> None:
    found = trend_of(lambda n, _: 2.0 * n)
    assert (found.low, found.per_hour, found.high) == pytest.approx((120, 120, 120))


def test_constant_series_has_zero_slope() -> None:
    assert trend_of(lambda _n, _c: 7.0) == Trend(0, 0, 0)


@pytest.mark.parametrize(
    "points",
    [
        pytest.param([], id="none"),
        pytest.param([(float(n), 1.0) for n in range(POINTS_MIN - 1)], id="too few"),
        pytest.param([(5.0, float(n)) for n in range(20)], id="all at one time"),
    ],
)
def test_too_few_points_have_no_trend(points: list[Point]) -> None:
    assert find_trend(points) is None


VALUES = st.lists(
    st.floats(min_value=0, max_value=1e12, allow_subnormal=False), min_size=8, max_size=40
)


@given(VALUES)
def test_slope_is_inside_its_interval(values: list[float]) -> None:
    found = require_trend([(n * MINUTE, value) for n, value in enumerate(values)])
    assert found.low <= found.per_hour <= found.high
    assert math.isfinite(found.low)
    assert math.isfinite(found.high)


@given(VALUES)
def test_negated_series_has_the_negated_slope(values: list[float]) -> None:
    up = require_trend([(n * MINUTE, value) for n, value in enumerate(values)])
    down = require_trend([(n * MINUTE, -value) for n, value in enumerate(values)])
    assert down.per_hour == pytest.approx(-up.per_hour)
