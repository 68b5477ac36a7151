"""A bulkhead: so many operations at a time. Callers wait by rank, then in the order of asking."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streams.priority_queue import DEFAULT_RANK, PriorityQueue, arrive


class TaskPool:
    """So many slots.

    Args:
        limit: how many.

    Attributes:
        running: slots that are held.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: PriorityQueue[asyncio.Future[None]] = PriorityQueue()
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._waiting)

    @asynccontextmanager
    async def slot(self, rank: int = DEFAULT_RANK) -> AsyncIterator[None]:
        """Hold a slot; a caller that is cancelled while waiting gives up its place."""
        await self._acquire(rank)
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._release()

    async def _acquire(self, rank: int) -> None:
        if self._free:
            self._free -= 1
            return
        entry = arrive(asyncio.get_running_loop().create_future(), rank)
        self._waiting.push(entry)
        try:
            await entry.item
        except asyncio.CancelledError:
            self._waiting.remove(entry)
            if entry.item.done() and not entry.item.cancelled():
                self._release()
            raise

    def _release(self) -> None:
        while self._waiting:
            turn = self._waiting.pop().item
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
