"""Bulkhead: bounds concurrent operations. Callers queue by rank, then in order of arrival."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streams.priority_queue import DEFAULT_RANK, PriorityQueue, new_entry


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
