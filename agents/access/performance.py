"""Built-in plug-in: latency metrics of network requests, and a log line with the slowest."""

import heapq
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from agents.plugins import AttemptOutcome, PluginRequest, outcome_of
from streams.observability.metrics import (
    REQUEST_QUANTILE,
    REQUEST_SECONDS,
    REQUESTS_IN_FLIGHT,
    observe,
)
from streams.settings import PerformanceSettings, load_settings

QUANTILES = (0.5, 0.95, 0.99)

WINDOW_ATTEMPTS_MAX = 2_000
"""Attempts kept per platform and operation; at a higher rate the window is shorter than
configured."""

SERIES_MAX = 64
"""Pairs of platform and operation whose attempts are kept; there are fewer in practice."""

SeriesKey = tuple[str, str]
"""Platform and operation."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CompletedAttempt:
    """An attempt that ended.

    Attributes:
        at: its end, by the clock of the monitor.
        seconds: duration.
        outcome: "ok", or why it failed.
        request: the request as plug-ins get it.
    """

    at: float
    seconds: float
    outcome: AttemptOutcome
    request: PluginRequest


class PerformanceMonitor:
    """Metrics of attempts by platform, operation and outcome, and a periodic log line.

    Args:
        settings: length of the window, and interval of the log line.
        clock: seconds, monotonic.
    """

    def __init__(
        self, settings: PerformanceSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._windows: dict[SeriesKey, deque[CompletedAttempt]] = {}
        self._logged_at = clock()

    def on_request_start(self, request: PluginRequest) -> None:
        """Count an attempt in flight."""
        REQUESTS_IN_FLIGHT.labels(request.platform, request.operation).inc()

    def on_request_complete(self, request: PluginRequest, seconds: float) -> None:
        """Record a successful attempt."""
        self._record_end(request, "ok", seconds)

    def on_request_error(
        self, request: PluginRequest, error: BaseException, seconds: float
    ) -> None:
        """Record a failed attempt."""
        self._record_end(request, outcome_of(error), seconds)

    def quantile(self, series: SeriesKey, level: float) -> float:
        """Return a quantile of the duration over the window, in seconds; 0 without attempts."""
        return quantile([attempt.seconds for attempt in self._recent(series)], level)

    def _record_end(self, request: PluginRequest, outcome: AttemptOutcome, seconds: float) -> None:
        REQUESTS_IN_FLIGHT.labels(request.platform, request.operation).dec()
        observe(REQUEST_SECONDS.labels(request.platform, request.operation, outcome), seconds)
        now = self._clock()
        self._add(CompletedAttempt(now, seconds, outcome, request))
        if now - self._logged_at >= self._settings.log_seconds:
            self._logged_at = now
            self._log_windows()

    def _add(self, attempt: CompletedAttempt) -> None:
        series = (attempt.request.platform, attempt.request.operation)
        if series not in self._windows:
            if len(self._windows) >= SERIES_MAX:
                return
            self._windows[series] = deque(maxlen=WINDOW_ATTEMPTS_MAX)
            self._export(series)
        window = self._windows[series]
        while window and window[0].at < self._window_start():
            window.popleft()
        window.append(attempt)

    def _export(self, series: SeriesKey) -> None:
        """Export quantiles as gauges that are computed when they are scraped, not before."""
        for level in QUANTILES:
            gauge = REQUEST_QUANTILE.labels(*series, f"{level:g}")
            gauge.set_function(partial(self.quantile, series, level))

    def _recent(self, series: SeriesKey) -> list[CompletedAttempt]:
        start = self._window_start()
        # A copy: metrics are read in another thread.
        return [attempt for attempt in self._windows[series].copy() if attempt.at >= start]

    def _window_start(self) -> float:
        return self._clock() - self._settings.window_seconds

    def _log_windows(self) -> None:
        for series in sorted(self._windows):
            if window := self._recent(series):
                log.info("%s", describe_window(series, window, self._settings.slowest))


def quantile(seconds: Sequence[float], level: float) -> float:
    """Return the quantile by the nearest rank, 0 when there is nothing.

    Args:
        seconds: in any order.
        level: above 0, up to 1.
    """
    if not seconds:
        return 0.0
    ordered = sorted(seconds)
    return ordered[math.ceil(level * len(ordered)) - 1]


def describe_window(series: SeriesKey, window: Sequence[CompletedAttempt], slowest: int) -> str:
    """Return one line about attempts: number, quantiles, and the ids of the slowest."""
    durations = [attempt.seconds for attempt in window]
    quantiles = ", ".join(
        f"p{level * 100:.0f} {quantile(durations, level):.2f} s" for level in QUANTILES
    )
    failed = sum(attempt.outcome != "ok" for attempt in window)
    return (
        f"{series[0]} {series[1]}: {len(window)} attempts, {failed} failed, {quantiles};"
        f" slowest: {_slowest(window, slowest)}"
    )


def _slowest(window: Iterable[CompletedAttempt], count: int) -> str:
    attempts = heapq.nlargest(count, window, key=lambda attempt: attempt.seconds)
    return ", ".join(
        f"{attempt.seconds:.2f} s {attempt.outcome} {attempt.request.request_id}"
        f" ({attempt.request.subject} by {attempt.request.egress})"
        for attempt in attempts
    )


def plugin() -> PerformanceMonitor:
    """Return the plug-in with the settings in force; the entry point."""
    return PerformanceMonitor(load_settings().performance)
