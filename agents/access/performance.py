"""The built-in plug-in: how long requests over the network take, and which take longest."""

import heapq
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from agents.plugins import Outcome, PluginRequest, outcome_of
from streams.observability.metrics import (
    REQUEST_QUANTILE,
    REQUEST_SECONDS,
    REQUESTS_IN_FLIGHT,
    observe,
)
from streams.settings import PerformanceSettings, load_settings

QUANTILES = (0.5, 0.95, 0.99)

LATEST_MAX = 2_000
"""Attempts of one platform and operation that are remembered; at more than that within the window
the window is shorter."""

WAYS_MAX = 64
"""Platforms times operations of which attempts are remembered; there are fewer."""

Way = tuple[str, str]
"""Platform and operation."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that ended.

    Attributes:
        at: when, on the clock of the monitor.
        seconds: how long it took.
        outcome: what came of it.
        request: what it was.
    """

    at: float
    seconds: float
    outcome: Outcome
    request: PluginRequest


class PerformanceMonitor:
    """Metrics of attempts by platform, operation and outcome, and a log line now and then.

    Args:
        settings: how long attempts count, and how often they are told of.
        clock: seconds that only go forward.
    """

    def __init__(
        self, settings: PerformanceSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._latest: dict[Way, deque[Ended]] = {}
        self._told_at = clock()

    def on_request_start(self, request: PluginRequest) -> None:
        """Note that an attempt begins."""
        REQUESTS_IN_FLIGHT.labels(request.platform, request.operation).inc()

    def on_request_complete(self, request: PluginRequest, seconds: float) -> None:
        """Note an attempt that brought what was asked for."""
        self._ended(request, "ok", seconds)

    def on_request_error(
        self, request: PluginRequest, error: BaseException, seconds: float
    ) -> None:
        """Note an attempt that failed."""
        self._ended(request, outcome_of(error), seconds)

    def quantile(self, way: Way, share: float) -> float:
        """Return the seconds within which a share of the latest attempts ended; 0 without any."""
        return quantile([ended.seconds for ended in self._fresh(way)], share)

    def _ended(self, request: PluginRequest, outcome: Outcome, seconds: float) -> None:
        REQUESTS_IN_FLIGHT.labels(request.platform, request.operation).dec()
        observe(REQUEST_SECONDS.labels(request.platform, request.operation, outcome), seconds)
        now = self._clock()
        self._remember(Ended(now, seconds, outcome, request))
        if now - self._told_at >= self._settings.log_seconds:
            self._told_at = now
            self._tell()

    def _remember(self, ended: Ended) -> None:
        way = (ended.request.platform, ended.request.operation)
        if way not in self._latest:
            if len(self._latest) >= WAYS_MAX:
                return
            self._latest[way] = deque(maxlen=LATEST_MAX)
            self._export(way)
        latest = self._latest[way]
        while latest and latest[0].at < self._oldest():
            latest.popleft()
        latest.append(ended)

    def _export(self, way: Way) -> None:
        """Have quantiles made when somebody reads them: they cost nothing in between."""
        for share in QUANTILES:
            gauge = REQUEST_QUANTILE.labels(*way, f"{share:g}")
            gauge.set_function(partial(self.quantile, way, share))

    def _fresh(self, way: Way) -> list[Ended]:
        oldest = self._oldest()
        # A copy: metrics are read in another thread.
        return [ended for ended in self._latest[way].copy() if ended.at >= oldest]

    def _oldest(self) -> float:
        return self._clock() - self._settings.window_seconds

    def _tell(self) -> None:
        for way in sorted(self._latest):
            if latest := self._fresh(way):
                log.info("%s", describe_latest(way, latest, self._settings.slowest))


def quantile(seconds: Sequence[float], share: float) -> float:
    """Return the quantile by the nearest rank, 0 when there is nothing.

    Args:
        seconds: in any order.
        share: above 0, up to 1.
    """
    if not seconds:
        return 0.0
    ordered = sorted(seconds)
    return ordered[math.ceil(share * len(ordered)) - 1]


def describe_latest(way: Way, latest: Sequence[Ended], slowest: int) -> str:
    """Return one line about attempts: how many, how long, and the ids of the slowest."""
    spans = [ended.seconds for ended in latest]
    quantiles = ", ".join(
        f"p{share * 100:.0f} {quantile(spans, share):.2f} s" for share in QUANTILES
    )
    failed = sum(ended.outcome != "ok" for ended in latest)
    return (
        f"{way[0]} {way[1]}: {len(latest)} attempts, {failed} failed, {quantiles};"
        f" slowest: {_slowest(latest, slowest)}"
    )


def _slowest(latest: Iterable[Ended], count: int) -> str:
    found = heapq.nlargest(count, latest, key=lambda ended: ended.seconds)
    return ", ".join(
        f"{ended.seconds:.2f} s {ended.outcome} {ended.request.request_id}"
        f" ({ended.request.subject} by {ended.request.egress})"
        for ended in found
    )


def plugin() -> PerformanceMonitor:
    """Return the monitor with the settings in force; the entry point."""
    return PerformanceMonitor(load_settings().performance)
