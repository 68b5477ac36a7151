"""Whose turn it is at one operation: so many at a time in a process, and pages at a pace.

The pace belongs to the address that the platform sees, so all workers share it: each one takes the
part of it that its partitions are of all partitions of its stage.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Literal

from agents.access.bulkhead import TaskPool
from agents.resilience.rate_limiter import FairRateLimiter, Slot
from agents.resilience.token_bucket import Pace
from schemas.attempts import Operation, breaker_name
from schemas.codec import MalformedMessageError, decode
from schemas.errors import Place
from schemas.signals import RATE, RateState
from streams.observability.metrics import (
    RATE_ALLOWED,
    RATE_LIMIT,
    RATE_WAIT,
    TASKS_LIMIT,
    TASKS_RUNNING,
    TASKS_WAITING,
)
from streams.priority_queue import DEFAULT_RANK
from streams.settings import LimitSettings
from streams.stage import StageContext

PACED = frozenset[Operation]({"resolve", "extract"})
"""What is asked of the platform itself. Files come from its CDN, which bandwidth bounds."""

PoolName = Operation | Literal["list"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What an attempt needs of its turn.

    Attributes:
        requests: how many it makes of the platform, 1 or more.
        is_list: it reads a list, which takes long: lists have slots of their own.
        rank: larger goes first.
    """

    requests: float = 1.0
    is_list: bool = False
    rank: int = DEFAULT_RANK


ONE_REQUEST = Cost()


class RateLimits:
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
        self._lists = open_pool("list", self._limits) if operation == "extract" else self._pool
        self._lines: dict[tuple[str, str], FairRateLimiter] = {}

    def cuts(self, place: Place) -> int:
        """Return how often the rate of a place was cut so far, as this worker knows."""
        state = self._state(place)
        return 0 if state is None else state.cuts

    def is_soon(self, place: Place, *, returning: bool, rank: int = DEFAULT_RANK) -> bool:
        """Return whether a turn that is asked for now would come in time."""
        if self._operation not in PACED:
            return True
        return self._line(place).is_short(returning=returning, rank=rank)

    @asynccontextmanager
    async def acquire(
        self, place: Place, *, returning: bool, need: Cost = ONE_REQUEST
    ) -> AsyncIterator[None]:
        """Hold a turn from when it comes; who returns was sent away before.

        Raises:
            NotYetError: it would come too late.
        """
        if self._operation not in PACED:
            async with self._pool.slot(need.rank):
                yield
            return
        async with AsyncExitStack() as stack:
            slot: Slot = partial(self._pool.slot, need.rank)
            if need.is_list:
                # Before it joins the line: one that waits there for its slot would hold up pages.
                await stack.enter_async_context(self._lists.slot(need.rank))
                slot = nullcontext
            began = time.monotonic()
            turn = self._line(place).acquire(
                slot, returning=returning, requests=need.requests, rank=need.rank
            )
            await stack.enter_async_context(turn)
            RATE_WAIT.labels(*_way(place)).inc(time.monotonic() - began)
            yield

    def _line(self, place: Place) -> FairRateLimiter:
        name = place.platform, place.egress
        if name not in self._lines:
            self._lines[name] = self._open_line(place)
        return self._lines[name]

    def _open_line(self, place: Place) -> FairRateLimiter:
        RATE_LIMIT.labels(*_way(place)).set(self._limits.limit_of(place.platform))
        RATE_ALLOWED.labels(*_way(place)).set_function(lambda: self._pace(place).per_second)
        return FairRateLimiter(lambda: self._pace(place), self._limits.patience_seconds)

    def _pace(self, place: Place) -> Pace:
        limit = self._limits.limit_of(place.platform)
        state = self._state(place)
        allowed = limit
        paused = 0.0
        if state is not None:
            allowed = min(limit, state.requests_per_second or limit)
            if state.until is not None:
                paused = self._seconds_to(state.until)
        own = allowed * self._context.share()
        return Pace(own, max(1.0, own * self._limits.burst_seconds), paused)

    def _seconds_to(self, until: datetime) -> float:
        """Return how long a pause lasts; the monitor's clock may be another."""
        left = (until - self._clock()).total_seconds()
        return max(0.0, min(left, self._limits.pause_seconds_max))

    def _state(self, place: Place) -> RateState | None:
        value = self._context.signals.get(f"{RATE}{breaker_name(*_way(place))}")
        return None if value is None else _read(value)


def open_pool(name: PoolName, limits: LimitSettings) -> TaskPool:
    """Return the pool of an operation, or of lists, with its metrics."""
    tasks: dict[PoolName, int] = {
        "resolve": limits.resolve_tasks,
        "extract": limits.extract_tasks,
        "list": limits.list_tasks,
        "download": limits.download_tasks,
    }
    pool = TaskPool(tasks[name])
    TASKS_LIMIT.labels(name).set(tasks[name])
    TASKS_RUNNING.labels(name).set_function(lambda: pool.running)
    TASKS_WAITING.labels(name).set_function(lambda: pool.waiting)
    return pool


def _way(place: Place) -> tuple[str, str, str]:
    return place.platform, place.operation, place.egress


@lru_cache(maxsize=1_024)
def _read(value: bytes) -> RateState | None:
    """Return a state, decoded once; one that cannot be read holds nothing back."""
    with suppress(MalformedMessageError):
        return decode(value, RateState)
    return None
