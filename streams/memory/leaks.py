"""Notices memory that grows and does not come back."""

from collections import deque
from dataclasses import dataclass

from streams.memory.trend import Point, Trend, find_trend

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
