"""Rate limiter of one platform and egress: a priority queue in front of a token bucket.

Callers are served by rank, then first come, first served. Every so often the caller that arrived
first is served next, so that low ranks do not starve. A caller that would wait too long is rejected
with a retry-after.
"""

import asyncio
import itertools
import math
import time
from bisect import insort
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from agents.resilience.token_bucket import (
    Rate,
    TokenBucket,
    after_consuming,
    can_reserve,
    refilled,
    reserve,
    seconds_until,
)

POLL_SECONDS = 0.5
"""Longest sleep of a queued caller, in seconds: it observes a change of the rate within it."""

AGEING = 16
"""Permits after which the caller that arrived first is served next, whatever its rank. The same as
`streams.priority_queue.AGEING` of the bulkhead; this package may not import it."""

Slot = Callable[[], AbstractAsyncContextManager[None]]
"""Returns a context that holds a slot of a bulkhead."""


class RateLimitExceededError(Exception):
    """The wait would exceed the maximum; retry after ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass(slots=True, eq=False)
class _Ticket:
    """A caller in the queue."""

    since: float
    requests: float
    rank: float
    number: int


def _queue_order(ticket: _Ticket) -> tuple[float, int]:
    return -ticket.rank, ticket.number


class FairRateLimiter:
    """FIFO within a rank, over a token bucket.

    A caller whose estimated wait exceeds ``max_wait_seconds`` is rejected at once with a
    retry-after. When the reservation horizon is full, callers queue up to the maximum wait before
    they are rejected, so that a backlog drains evenly and is not rejected as a whole.

    Args:
        rate: returns the rate in force.
        max_wait_seconds: longest wait in the queue.
        clock: seconds, monotonic.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        rate: Callable[[], Rate],
        max_wait_seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._rate = rate
        self._max_wait_seconds = max_wait_seconds
        self._clock = clock
        self._sleep = sleep
        self._bucket = refilled(TokenBucket(clock()), rate(), clock())
        self._queue: list[_Ticket] = []
        self._numbers = itertools.count()
        self._served = 0
        self._reserved_rank = -math.inf

    def would_admit(self, *, requeued: bool, rank: float = 0.0) -> bool:
        """Return whether a caller that arrives now would be served within the maximum wait.

        A requeued caller has waited before: it does not queue behind reservations, which are of
        later callers. Nor does a caller whose rank exceeds that of every reservation.
        """
        bucket, rate = self._refill()
        passes = requeued or rank > self._reserved_rank
        reserved = 0.0 if passes else bucket.reserved
        ahead = max(sum(each.requests for each in self._queue if each.rank >= rank), reserved)
        return not self._exceeds_max_wait(seconds_until(bucket, rate, ahead + 1))

    @asynccontextmanager
    async def acquire(
        self, slot: Slot, *, requeued: bool = False, requests: float = 1.0, rank: float = 0.0
    ) -> AsyncIterator[None]:
        """Hold a slot from when the rate permits.

        Tokens are consumed only with a slot in hand: slots that become free together admit no more
        than the rate. A caller with several requests starts on the first token and puts the bucket
        into debt, which delays the callers behind it; waiting for all tokens first could take
        forever at a low rate.

        Args:
            slot: acquires the slot.
            requeued: the caller was rejected before.
            requests: how many it makes, 1 or more.
            rank: larger is served first.

        Raises:
            RateLimitExceededError: the wait would exceed the maximum.
        """
        if not self.would_admit(requeued=requeued, rank=rank) and self._can_reserve():
            raise self._reject(requests, rank)
        ticket = _Ticket(self._clock(), requests, rank, next(self._numbers))
        insort(self._queue, ticket, key=_queue_order)
        try:
            while True:
                await self._wait_until_due(ticket)
                async with slot():
                    # The wait may have grown meanwhile: by a rate cut, a debt, a higher rank.
                    if self._wait_seconds(ticket) > 0:
                        continue
                    self._queue.remove(ticket)
                    self._bucket = after_consuming(self._bucket, requests)
                    self._promote_oldest()
                    yield
                    return
        finally:
            if ticket in self._queue:
                self._queue.remove(ticket)

    async def _wait_until_due(self, ticket: _Ticket) -> None:
        while (seconds := self._wait_seconds(ticket)) > 0:
            waited = self._clock() - ticket.since
            if self._exceeds_max_wait(seconds) and (
                waited >= self._max_wait_seconds or self._can_reserve()
            ):
                raise self._reject(ticket.requests, ticket.rank)
            await self._sleep(min(seconds, POLL_SECONDS))

    def _wait_seconds(self, ticket: _Ticket) -> float:
        ahead = self._queue[: self._queue.index(ticket)]
        return seconds_until(*self._refill(), sum(each.requests for each in ahead) + 1)

    def _exceeds_max_wait(self, seconds: float) -> bool:
        # A rate of 0 means that this worker owns no partition: the new owner does the work.
        return self._max_wait_seconds < seconds < float("inf")

    def _can_reserve(self) -> bool:
        return can_reserve(*self._refill())

    def _promote_oldest(self) -> None:
        """Move the caller that arrived first to the front, once in `AGEING` permits."""
        self._served += 1
        if self._served % AGEING == 0 and self._queue:
            oldest = min(self._queue, key=lambda ticket: ticket.number)
            self._queue.remove(oldest)
            oldest.rank = math.inf
            insort(self._queue, oldest, key=_queue_order)

    def _reject(self, requests: float, rank: float) -> RateLimitExceededError:
        """Make a reservation and return the error with its retry-after."""
        bucket, rate = self._refill()
        self._reserved_rank = max(self._reserved_rank, rank) if bucket.reserved else rank
        self._bucket, seconds = reserve(bucket, rate, self._admissible_requests(rate), requests)
        return RateLimitExceededError(seconds)

    def _admissible_requests(self, rate: Rate) -> float:
        """Return the requests at the head of the queue that fit into the maximum wait."""
        admissible = 0.0
        for ticket in self._queue:
            if admissible >= self._max_wait_seconds * rate.per_second:
                break
            admissible += ticket.requests
        return admissible

    def _refill(self) -> tuple[TokenBucket, Rate]:
        rate = self._rate()
        self._bucket = refilled(self._bucket, rate, self._clock())
        return self._bucket, rate
