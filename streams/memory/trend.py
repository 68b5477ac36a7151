"""Trend estimation and leak detection: a robust slope with its confidence interval. Pure.

Theil-Sen estimator: the median of the slopes between all pairs of points, robust against up to 29 %
outliers. The interval is Sen's (Journal of the American Statistical Association 63, 1968), widened
for autocorrelated points (Yue and Wang, Water Resources Management 18, 2004): a single step, or a
sawtooth, is no growth.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import median

HOUR_SECONDS = 3_600.0

POINTS_MIN = 8
"""Minimum sample size; fewer points give no useful interval."""

NORMAL_QUANTILE = 1.96
"""Normal quantile of a two-sided 95 % interval."""

CORRELATION_MAX = 0.95
"""Cap of the lag-1 autocorrelation; beyond it the interval covers everything anyway."""

Point = tuple[float, float]
"""Seconds and value."""


@dataclass(frozen=True, slots=True)
class Trend:
    """Growth per hour with its 95 % confidence interval."""

    per_hour: float
    low: float
    high: float


def find_trend(points: Sequence[Point]) -> Trend | None:
    """Return the trend of points in time order, None when there are too few.

    Quadratic in the number of points: 120 points take some milliseconds.
    """
    slopes = sorted(
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier, later in combinations(points, 2)
        if later[0] > earlier[0]
    )
    if len(points) < POINTS_MIN or not slopes:
        return None
    slope = median(slopes)
    width = _interval_width(len(points)) * _widening(points, slope)
    low, high = _nth(slopes, (len(slopes) - width) / 2), _nth(slopes, (len(slopes) + width) / 2)
    return Trend(slope * HOUR_SECONDS, low * HOUR_SECONDS, high * HOUR_SECONDS)


def _interval_width(count: int) -> float:
    """Return the interval width in ordered slopes, for independent points."""
    return NORMAL_QUANTILE * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)


def _widening(points: Sequence[Point], slope: float) -> float:
    """Return the widening factor of the interval for autocorrelated points."""
    residuals = [value - slope * at for at, value in points]
    middle = median(residuals)
    residuals = [value - middle for value in residuals]
    variance = math.fsum(value * value for value in residuals)
    if variance == 0:
        return 1.0
    covariance = math.fsum(here * there for here, there in pairwise(residuals))
    correlation = min(max(covariance / variance, 0.0), CORRELATION_MAX)
    return math.sqrt((1 + correlation) / (1 - correlation))


def _nth(ordered: Sequence[float], position: float) -> float:
    return ordered[min(max(round(position), 0), len(ordered) - 1)]


POINTS = 120
"""Points per window; each is the minimum of the samples in its bucket: memory after a garbage
collection."""

MIN_COVERAGE = 0.5
"""Share of the window that points must cover before a trend is reported."""

REARM_SHARE = 0.5
"""Share of the threshold below which growth must fall before a leak is reported again (hysteresis).
"""


@dataclass(frozen=True, slots=True)
class Growth:
    """Current trend, and whether it is a leak that was not reported yet."""

    trend: Trend
    is_new_leak: bool


class LeakDetector:
    """Detects growth of one series of samples over a sliding window.

    Args:
        window_seconds: time over which growth must last.
        leak_per_hour: threshold of the lower confidence bound, per hour.
    """

    def __init__(self, window_seconds: float, leak_per_hour: float) -> None:
        self._window_seconds = window_seconds
        self._leak_per_hour = leak_per_hour
        self._points: deque[Point] = deque(maxlen=POINTS)
        self._bucket: list[Point] = []
        self._is_reported = False

    def add(self, at: float, value: float) -> Growth | None:
        """Add a sample; return the growth when it completes a point and there are enough."""
        bucket_seconds = self._window_seconds / POINTS
        self._bucket.append((at, value))
        if at - self._bucket[0][0] < bucket_seconds:
            return None
        self._points.append(min(self._bucket, key=lambda point: point[1]))
        self._bucket.clear()
        if not self._is_covered():
            return None
        trend = find_trend(self._points)
        return None if trend is None else Growth(trend, self._is_new_leak(trend))

    def _is_covered(self) -> bool:
        covered = self._points[-1][0] - self._points[0][0]
        return covered >= self._window_seconds * MIN_COVERAGE

    def _is_new_leak(self, trend: Trend) -> bool:
        if trend.low > self._leak_per_hour:
            was_reported, self._is_reported = self._is_reported, True
            return not was_reported
        if trend.low < self._leak_per_hour * REARM_SHARE:
            self._is_reported = False
        return False
