"""The line in front of one platform and egress: who is next, and who had better come back later."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from agents.resilience.rate import (
    Bucket,
    Pace,
    has_room,
    promise,
    seconds_until,
    settled,
    taken,
)

LOOK_SECONDS = 0.5
"""A change of the pace is noticed by those who wait within this time."""

Slot = Callable[[], AbstractAsyncContextManager[None]]
"""Gives a slot of a task pool."""


class NotYetError(Exception):
    """The turn would come after a longer time than is waited for; come back in ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class _Ticket:
    """The place of one in the line, since a moment, for so many requests."""

    __slots__ = ("requests", "since")

    def __init__(self, since: float, requests: float) -> None:
        self.since = since
        self.requests = requests


class RateLine:
    """Those who wait for their turn, first come first served.

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
        self._bucket = settled(Bucket(clock()), pace(), clock())
        self._queue: list[_Ticket] = []

    def is_short(self, *, returning: bool) -> bool:
        """Return whether the turn of one who comes now would come in time.

        Who returns has waited before, and does not wait for those who were sent away later.
        """
        bucket, pace = self._look()
        promised = 0.0 if returning else bucket.promised
        place = max(_sum(self._queue), promised) + 1
        return not self._is_long(seconds_until(bucket, pace, place))

    @asynccontextmanager
    async def turn(
        self, slot: Slot, *, returning: bool = False, requests: float = 1.0
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

        Raises:
            NotYetError: that would take too long.
        """
        if not self.is_short(returning=returning) and self._has_room():
            raise self._sent_away(requests)
        ticket = _Ticket(self._clock(), requests)
        self._queue.append(ticket)
        try:
            while True:
                await self._until_due(ticket)
                async with slot():
                    if self._seconds_of(ticket) > 0:
                        continue
                    self._queue.remove(ticket)
                    self._bucket = taken(self._bucket, requests)
                    yield
                    return
        finally:
            if ticket in self._queue:
                self._queue.remove(ticket)

    async def _until_due(self, ticket: _Ticket) -> None:
        while (seconds := self._seconds_of(ticket)) > 0:
            waited = self._clock() - ticket.since
            if self._is_long(seconds) and (waited >= self._patience_seconds or self._has_room()):
                raise self._sent_away(ticket.requests)
            await self._sleep(min(seconds, LOOK_SECONDS))

    def _seconds_of(self, ticket: _Ticket) -> float:
        ahead = self._queue[: self._queue.index(ticket)]
        return seconds_until(*self._look(), _sum(ahead) + 1)

    def _is_long(self, seconds: float) -> bool:
        # Without any rate there is no partition either: whoever gets it does the work.
        return self._patience_seconds < seconds < float("inf")

    def _has_room(self) -> bool:
        return has_room(*self._look())

    def _sent_away(self, requests: float) -> NotYetError:
        bucket, pace = self._look()
        self._bucket, seconds = promise(bucket, pace, self._staying(pace), requests)
        return NotYetError(seconds)

    def _staying(self, pace: Pace) -> float:
        """Return how many requests those make who stay of a long line: its head."""
        staying = 0.0
        for ticket in self._queue:
            if staying >= self._patience_seconds * pace.per_second:
                break
            staying += ticket.requests
        return staying

    def _look(self) -> tuple[Bucket, Pace]:
        """Return bucket and pace as they are now."""
        pace = self._pace()
        self._bucket = settled(self._bucket, pace, self._clock())
        return self._bucket, pace


def _sum(tickets: Sequence[_Ticket]) -> float:
    """Return how many requests all of them make."""
    return sum(ticket.requests for ticket in tickets)
