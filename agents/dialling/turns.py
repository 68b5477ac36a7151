"""Whose turn it is at one operation: so many at a time in a process, and pages at a pace.

The pace belongs to the address that the platform sees, so all workers share it: each one takes the
part of it that its partitions are of all partitions of its stage.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache

from agents.resilience.rate import Pace
from agents.resilience.rate_line import RateLine
from agents.resilience.task_pool import TaskPool
from schemas.attempts import Operation, breaker_name
from schemas.codec import MalformedMessageError, decode
from schemas.errors import Place
from schemas.signals import RATE, RateState
from streams.metrics import (
    RATE_ALLOWED,
    RATE_LIMIT,
    RATE_WAIT,
    TASKS_LIMIT,
    TASKS_RUNNING,
    TASKS_WAITING,
)
from streams.settings import LimitSettings
from streams.stage import StageContext

PACED = frozenset[Operation]({"resolve", "extract"})
"""What is asked of the platform itself. Files come from its CDN, which bandwidth bounds."""


class Turns:
    """The turns of one operation in this process.

    Args:
        operation: what is done when it is one's turn.
        context: has the limits, the adapted rates, and the share of this worker.
        clock: tells the time that signals go by.
    """

    def __init__(
        self,
        operation: Operation,
        context: StageContext,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._operation = operation
        self._context = context
        self._limits = context.settings.limits
        self._clock = clock
        self._pool = open_pool(operation, self._limits)
        self._lines: dict[tuple[str, str], RateLine] = {}

    def is_soon(self, place: Place, *, returning: bool) -> bool:
        """Return whether a turn that is asked for now would come in time."""
        return self._operation not in PACED or self._line(place).is_short(returning=returning)

    @asynccontextmanager
    async def turn(self, place: Place, *, returning: bool) -> AsyncIterator[None]:
        """Hold a turn from when it comes; who returns was sent away before.

        Raises:
            NotYetError: it would come too late.
        """
        if self._operation not in PACED:
            async with self._pool.slot():
                yield
            return
        began = time.monotonic()
        async with self._line(place).turn(self._pool.slot, returning=returning):
            RATE_WAIT.labels(*_way(place)).inc(time.monotonic() - began)
            yield

    def _line(self, place: Place) -> RateLine:
        name = place.platform, place.egress
        if name not in self._lines:
            self._lines[name] = self._open_line(place)
        return self._lines[name]

    def _open_line(self, place: Place) -> RateLine:
        RATE_LIMIT.labels(*_way(place)).set(self._limits.limit_of(place.platform))
        RATE_ALLOWED.labels(*_way(place)).set_function(lambda: self._pace(place).per_second)
        return RateLine(lambda: self._pace(place), self._limits.patience_seconds)

    def _pace(self, place: Place) -> Pace:
        limit = self._limits.limit_of(place.platform)
        state = self._state(place)
        allowed = limit
        paused = 0.0
        if state is not None:
            allowed = min(limit, state.requests_per_second or limit)
            if state.until is not None:
                paused = max(0.0, (state.until - self._clock()).total_seconds())
        own = allowed * self._context.share()
        return Pace(own, max(1.0, own * self._limits.burst_seconds), paused)

    def _state(self, place: Place) -> RateState | None:
        value = self._context.signals.get(f"{RATE}{breaker_name(*_way(place))}")
        return None if value is None else _read(value)


def open_pool(operation: Operation, limits: LimitSettings) -> TaskPool:
    """Return the pool of an operation, with its metrics."""
    tasks: dict[Operation, int] = {
        "resolve": limits.resolve_tasks,
        "extract": limits.extract_tasks,
        "download": limits.download_tasks,
    }
    pool = TaskPool(tasks[operation])
    TASKS_LIMIT.labels(operation).set(tasks[operation])
    TASKS_RUNNING.labels(operation).set_function(lambda: pool.running)
    TASKS_WAITING.labels(operation).set_function(lambda: pool.waiting)
    return pool


def _way(place: Place) -> tuple[str, str, str]:
    return place.platform, place.operation, place.egress


@lru_cache(maxsize=1_024)
def _read(value: bytes) -> RateState | None:
    """Return a state, decoded once; one that cannot be read holds nothing back."""
    with suppress(MalformedMessageError):
        return decode(value, RateState)
    return None
