"""The line in front of one platform and egress: who is next, and who had better come back later.

A rate limiter over a token bucket. Callers wait by rank, then in the order of asking; now and then
the one that has waited longest is moved to the front, so that low ranks do not starve.
"""

import asyncio
import itertools
import math
import time
from bisect import insort
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from agents.resilience.token_bucket import (
    Pace,
    TokenBucket,
    has_room,
    promise,
    seconds_until,
    settled,
    taken,
)

LOOK_SECONDS = 0.5
"""A change of the pace is noticed by those who wait within this time."""

AGEING = 16
"""After so many turns the caller that has waited longest is next, whatever its rank. The same share
of the throughput as in front of the slots."""

Slot = Callable[[], AbstractAsyncContextManager[None]]
"""Gives a slot of a task pool."""


class RateLimitExceededError(Exception):
    """The turn would come after a longer time than is waited for; come back in ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class _Ticket:
    """The place of one in the line, since a moment, for so many requests."""

    __slots__ = ("number", "rank", "requests", "since")

    def __init__(self, since: float, requests: float, rank: float, number: int) -> None:
        self.since = since
        self.requests = requests
        self.rank = rank
        self.number = number


def _place(ticket: _Ticket) -> tuple[float, int]:
    return -ticket.rank, ticket.number


class FairRateLimiter:
    """Those who wait for their turn, by rank, then first come first served.

    Who would have to wait for long is sent away at once. When many were, they are so only after
    they have waited for long: a backlog is not all sent away.

    Args:
        pace: returns the present pace.
        patience_seconds: what is long.
        clock: seconds, monotonic.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        pace: Callable[[], Pace],
        patience_seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._pace = pace
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._sleep = sleep
        self._bucket = settled(TokenBucket(clock()), pace(), clock())
        self._queue: list[_Ticket] = []
        self._numbers = itertools.count()
        self._turns = 0
        self._promised_rank = -math.inf

    def is_short(self, *, returning: bool, rank: float = 0.0) -> bool:
        """Return whether the turn of one who comes now would come in time.

        Who returns has waited before, and does not wait for those who were sent away later. Nor
        does one of a higher rank than all of those.
        """
        bucket, pace = self._look()
        passes = returning or rank > self._promised_rank
        promised = 0.0 if passes else bucket.promised
        place = max(_sum(each for each in self._queue if each.rank >= rank), promised) + 1
        return not self._is_long(seconds_until(bucket, pace, place))

    @asynccontextmanager
    async def acquire(
        self, slot: Slot, *, returning: bool = False, requests: float = 1.0, rank: float = 0.0
    ) -> AsyncIterator[None]:
        """Hold a slot, from when it is one's turn.

        The token is taken when there is a slot too: slots that come free all at once let no
        more through than the pace. Who makes several requests begins when there is a token for
        the first, and owes the others: those behind wait until they have come. To wait for all
        of them before would be for ever at a low rate.

        Args:
            slot: where the slot comes from.
            returning: it was sent away before.
            requests: how many it makes, 1 or more.
            rank: larger goes first.

        Raises:
            NotYetError: that would take too long.
        """
        if not self.is_short(returning=returning, rank=rank) and self._has_room():
            raise self._sent_away(requests, rank)
        ticket = _Ticket(self._clock(), requests, rank, next(self._numbers))
        insort(self._queue, ticket, key=_place)
        try:
            while True:
                await self._until_due(ticket)
                async with slot():
                    if self._seconds_of(ticket) > 0:
                        continue
                    self._queue.remove(ticket)
                    self._bucket = taken(self._bucket, requests)
                    self._age()
                    yield
                    return
        finally:
            if ticket in self._queue:
                self._queue.remove(ticket)

    async def _until_due(self, ticket: _Ticket) -> None:
        while (seconds := self._seconds_of(ticket)) > 0:
            waited = self._clock() - ticket.since
            if self._is_long(seconds) and (waited >= self._patience_seconds or self._has_room()):
                raise self._sent_away(ticket.requests, ticket.rank)
            await self._sleep(min(seconds, LOOK_SECONDS))

    def _seconds_of(self, ticket: _Ticket) -> float:
        ahead = self._queue[: self._queue.index(ticket)]
        return seconds_until(*self._look(), _sum(ahead) + 1)

    def _is_long(self, seconds: float) -> bool:
        # Without any rate there is no partition either: whoever gets it does the work.
        return self._patience_seconds < seconds < float("inf")

    def _has_room(self) -> bool:
        return has_room(*self._look())

    def _age(self) -> None:
        """Move the one that has waited longest to the front, once in so many turns."""
        self._turns += 1
        if self._turns % AGEING == 0 and self._queue:
            oldest = min(self._queue, key=lambda ticket: ticket.number)
            self._queue.remove(oldest)
            oldest.rank = math.inf
            insort(self._queue, oldest, key=_place)

    def _sent_away(self, requests: float, rank: float) -> RateLimitExceededError:
        bucket, pace = self._look()
        self._promised_rank = max(self._promised_rank, rank) if bucket.promised else rank
        self._bucket, seconds = promise(bucket, pace, self._staying(pace), requests)
        return RateLimitExceededError(seconds)

    def _staying(self, pace: Pace) -> float:
        """Return how many requests those make who stay of a long line: its head."""
        staying = 0.0
        for ticket in self._queue:
            if staying >= self._patience_seconds * pace.per_second:
                break
            staying += ticket.requests
        return staying

    def _look(self) -> tuple[TokenBucket, Pace]:
        """Return bucket and pace as they are now."""
        pace = self._pace()
        self._bucket = settled(self._bucket, pace, self._clock())
        return self._bucket, pace


def _sum(tickets: Iterable[_Ticket]) -> float:
    """Return how many requests all of them make."""
    return sum(ticket.requests for ticket in tickets)
