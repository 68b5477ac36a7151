"""Whether something grows: a robust slope with its confidence, as pure functions.

The Theil-Sen estimator: the median of the slopes between all pairs of points, so that up to 29 %
of wild points change nothing. Its interval is Sen's (Journal of the American Statistical
Association 63, 1968), widened for points that resemble their neighbours (Yue and Wang, Water
Resources Management 18, 2004): a single step, or the teeth of a saw, are no growth.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import median

HOUR_SECONDS = 3_600.0

POINTS_MIN = 8
"""Fewer say nothing."""

NORMAL_QUANTILE = 1.96
"""Of 95 % confidence, on both sides."""

CORRELATION_MAX = 0.95
"""Of neighbours; beyond it the interval is everything in any case."""

Point = tuple[float, float]
"""Seconds, and a value."""


@dataclass(frozen=True, slots=True)
class Trend:
    """Growth per hour, and the bounds between which it lies with 95 % confidence."""

    per_hour: float
    low: float
    high: float

    @property
    def is_flat(self) -> bool:
        """Whether there may be no growth at all."""
        return self.low <= 0 <= self.high


def find_trend(points: Sequence[Point]) -> Trend | None:
    """Return the trend of points in the order of time, None when they are too few.

    Takes time with the square of their number: 120 points are some milliseconds.
    """
    slopes = sorted(
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier, later in combinations(points, 2)
        if later[0] > earlier[0]
    )
    if len(points) < POINTS_MIN or not slopes:
        return None
    slope = median(slopes)
    reach = _reach(len(points)) * _widening(points, slope)
    low, high = _at(slopes, (len(slopes) - reach) / 2), _at(slopes, (len(slopes) + reach) / 2)
    return Trend(slope * HOUR_SECONDS, low * HOUR_SECONDS, high * HOUR_SECONDS)


def _reach(count: int) -> float:
    """Return how many of the ordered slopes the interval takes in, for independent points."""
    return NORMAL_QUANTILE * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)


def _widening(points: Sequence[Point], slope: float) -> float:
    """Return the factor of the interval for points that depend on their neighbours."""
    rest = [value - slope * at for at, value in points]
    middle = median(rest)
    rest = [value - middle for value in rest]
    power = math.fsum(value * value for value in rest)
    if power == 0:
        return 1.0
    shared = math.fsum(here * there for here, there in pairwise(rest))
    correlation = min(max(shared / power, 0.0), CORRELATION_MAX)
    return math.sqrt((1 + correlation) / (1 - correlation))


def _at(ordered: Sequence[float], place: float) -> float:
    return ordered[min(max(round(place), 0), len(ordered) - 1)]


POINTS = 120
"""Of a window; each is the least of the samples in its part: what a collection leaves over."""

FULL_SHARE = 0.5
"""A trend is told of once the points cover this share of the window."""

ALL_CLEAR_SHARE = 0.5
"""Of the threshold, below which growth must fall before it is reported again."""


@dataclass(frozen=True, slots=True)
class Growth:
    """The trend now, and whether it is a leak that was not reported yet."""

    trend: Trend
    is_news: bool


class LeakWatch:
    """Watches one series of samples over a sliding window.

    Args:
        window_seconds: time over which growth must last.
        leak_per_hour: growth from which on it counts as a leak.
    """

    def __init__(self, window_seconds: float, leak_per_hour: float) -> None:
        self._window_seconds = window_seconds
        self._leak_per_hour = leak_per_hour
        self._points: deque[Point] = deque(maxlen=POINTS)
        self._part: list[Point] = []
        self._is_reported = False

    def add(self, at: float, value: float) -> Growth | None:
        """Take a sample; return the growth when there is a new point, and enough of them."""
        part_seconds = self._window_seconds / POINTS
        self._part.append((at, value))
        if at - self._part[0][0] < part_seconds:
            return None
        self._points.append(min(self._part, key=lambda point: point[1]))
        self._part.clear()
        if not self._is_covered():
            return None
        trend = find_trend(self._points)
        return None if trend is None else Growth(trend, self._is_news(trend))

    def _is_covered(self) -> bool:
        covered = self._points[-1][0] - self._points[0][0]
        return covered >= self._window_seconds * FULL_SHARE

    def _is_news(self, trend: Trend) -> bool:
        if trend.low > self._leak_per_hour:
            was_reported, self._is_reported = self._is_reported, True
            return not was_reported
        if trend.low < self._leak_per_hour * ALL_CLEAR_SHARE:
            self._is_reported = False
        return False
