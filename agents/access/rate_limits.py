"""Rate limits and bulkheads of one operation: requests per second, and calls at a time.

The rate belongs to the address that the platform sees, so all workers share it: each worker applies
the part of it that its partitions are of all partitions of its stage. Bulkheads are per process.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from agents.resilience.rate_limiter import FairRateLimiter, Slot
from agents.resilience.token_bucket import Rate
from schemas.attempts import Operation
from schemas.errors import Endpoint
from schemas.signals import RATE, RateState
from streams.observability.metrics import (
    RATE_ALLOWED,
    RATE_LIMIT,
    RATE_WAIT,
    TASKS_LIMIT,
    TASKS_RUNNING,
    TASKS_WAITING,
)
from streams.priority_queue import DEFAULT_RANK, PriorityQueue, new_entry
from streams.settings import LimitSettings
from streams.stage import StageContext


class Bulkhead:
    """A semaphore with a priority queue.

    Args:
        limit: number of slots.

    Attributes:
        running: slots in use.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: PriorityQueue[asyncio.Future[None]] = PriorityQueue()
        self.running = 0

    @property
    def waiting(self) -> int:
        """Number of queued callers."""
        return len(self._waiting)

    @asynccontextmanager
    async def slot(self, rank: int = DEFAULT_RANK) -> AsyncIterator[None]:
        """Hold a slot; a caller that is cancelled in the queue leaves it."""
        if self._free:
            self._free -= 1
        else:
            await self._wait_in_queue(rank)
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._release()

    async def _wait_in_queue(self, rank: int) -> None:
        entry = new_entry(asyncio.get_running_loop().create_future(), rank)
        self._waiting.push(entry)
        try:
            await entry.item
        except asyncio.CancelledError:
            self._waiting.remove(entry)
            # The slot may have been handed over just before the cancellation.
            if entry.item.done() and not entry.item.cancelled():
                self._release()
            raise

    def _release(self) -> None:
        while self._waiting:
            waiter = self._waiting.pop().item
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1


RATE_LIMITED = frozenset[Operation]({"resolve", "extract"})
"""Operations that call the platform itself. Files come from its CDN, which bandwidth bounds."""

BulkheadName = Operation | Literal["list"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What an attempt takes of the rate limit.

    Attributes:
        requests: how many it makes of the platform, 1 or more.
        is_list: it reads a list, which takes long: lists have a bulkhead of their own.
        rank: larger is served first.
    """

    requests: float = 1.0
    is_list: bool = False
    rank: int = DEFAULT_RANK


ONE_REQUEST = Cost()


class RateLimits:
    """The rate limiters, one per platform and egress, and bulkheads of one operation.

    Args:
        operation: what is attempted.
        context: has the limits, the adapted rates, and the share of this worker.
        bulkhead: name of the bulkhead in the metrics, the operation's by default.
        clock: the time that the end of a pause is compared with.
    """

    def __init__(
        self,
        operation: Operation,
        context: StageContext,
        *,
        bulkhead: str | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._operation = operation
        self._context = context
        self._limits = context.settings.limits
        self._clock = clock
        self._bulkhead = open_bulkhead(operation, self._limits, label=bulkhead)
        self._list_bulkhead = (
            open_bulkhead("list", self._limits) if operation == "extract" else self._bulkhead
        )
        self._limiters: dict[tuple[str, str], FairRateLimiter] = {}

    def cuts(self, endpoint: Endpoint) -> int:
        """Return the number of cuts of an endpoint's rate, as far as this worker has observed."""
        state = self._state(endpoint)
        return 0 if state is None else state.cuts

    def would_admit(self, endpoint: Endpoint, *, requeued: bool, rank: int = DEFAULT_RANK) -> bool:
        """Return whether an attempt that arrives now would be admitted within the maximum wait."""
        if self._operation not in RATE_LIMITED:
            return True
        return self._limiter(endpoint).would_admit(requeued=requeued, rank=rank)

    @asynccontextmanager
    async def acquire(
        self, endpoint: Endpoint, *, requeued: bool, cost: Cost = ONE_REQUEST
    ) -> AsyncIterator[None]:
        """Hold a slot of the bulkhead from when the rate permits.

        A ``requeued`` attempt was rejected before.

        Raises:
            RateLimitExceededError: the wait would exceed the maximum.
        """
        if self._operation not in RATE_LIMITED:
            async with self._bulkhead.slot(cost.rank):
                yield
            return
        async with AsyncExitStack() as stack:
            slot: Slot = partial(self._bulkhead.slot, cost.rank)
            if cost.is_list:
                # Before it queues for the rate: a list at the head of that queue without a slot
                # would hold up pages.
                await stack.enter_async_context(self._list_bulkhead.slot(cost.rank))
                slot = nullcontext
            began = time.monotonic()
            permit = self._limiter(endpoint).acquire(
                slot, requeued=requeued, requests=cost.requests, rank=cost.rank
            )
            await stack.enter_async_context(permit)
            RATE_WAIT.labels(*endpoint.labels).inc(time.monotonic() - began)
            yield

    def _limiter(self, endpoint: Endpoint) -> FairRateLimiter:
        name = endpoint.platform, endpoint.egress
        limiter = self._limiters.get(name)
        if limiter is None:
            rate, labels = partial(self._rate, endpoint), endpoint.labels
            limiter = FairRateLimiter(rate, self._limits.patience_seconds)
            self._limiters[name] = limiter
            RATE_LIMIT.labels(*labels).set(self._limits.limit_of(endpoint.platform))
            RATE_ALLOWED.labels(*labels).set_function(lambda: rate().per_second)
        return limiter

    def _rate(self, endpoint: Endpoint) -> Rate:
        limit = self._limits.limit_of(endpoint.platform)
        state = self._state(endpoint)
        allowed = limit
        paused = 0.0
        if state is not None:
            allowed = min(limit, state.requests_per_second or limit)
            if state.until is not None:
                # Bounded, because it is by the monitor's clock.
                left = (state.until - self._clock()).total_seconds()
                paused = max(0.0, min(left, self._limits.pause_seconds_max))
        own = allowed * self._context.partition_share()
        return Rate(own, max(1.0, own * self._limits.burst_seconds), paused)

    def _state(self, endpoint: Endpoint) -> RateState | None:
        return self._context.shared_state.read(f"{RATE}{endpoint.key}", RateState)


def open_bulkhead(
    name: BulkheadName, limits: LimitSettings, *, label: str | None = None
) -> Bulkhead:
    """Return the bulkhead of an operation, or of lists; ``label`` is its name in the metrics."""
    tasks: dict[BulkheadName, int] = {
        "resolve": limits.resolve_tasks,
        "extract": limits.extract_tasks,
        "list": limits.list_tasks,
        "download": limits.download_tasks,
    }
    bulkhead = Bulkhead(tasks[name])
    label = label or name
    TASKS_LIMIT.labels(label).set(tasks[name])
    TASKS_RUNNING.labels(label).set_function(lambda: bulkhead.running)
    TASKS_WAITING.labels(label).set_function(lambda: bulkhead.waiting)
    return bulkhead
