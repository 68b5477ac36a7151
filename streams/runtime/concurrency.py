"""The concurrency limit of a stage: a semaphore whose slots are released during network waits.

Slots are reserved by `streams.runtime.dispatcher` before a task starts. Handlers call
`slot_released` around network and rate-limiter waits, so the limit bounds running work, not tasks.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any


class Reservation:
    """A slot that is acquired for a task that has not started yet."""

    def __init__(self, limit: "ConcurrencyLimit") -> None:
        self._limit: ConcurrencyLimit | None = limit

    def transfer_to(self, limit: "ConcurrencyLimit") -> bool:
        """Transfer the slot to the caller, once; False when it is of another limit or used up."""
        if self._limit is not limit:
            return False
        self._limit = None
        return True

    def release(self) -> None:
        """Release the slot, unless it was transferred."""
        limit, self._limit = self._limit, None
        if limit is not None:
            limit.release()


class ConcurrencyLimit:
    """The slots of one stage.

    `Dispatcher` reserves a slot for each record that it starts. Waiting tasks are served FIFO, and
    before new records.

    Args:
        count: records in progress at a time.

    Attributes:
        on_free: called when a slot is free and no task waits for one.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.on_free: Callable[[], object] = lambda: None

    @property
    def has_free_slot(self) -> bool:
        return self._free > 0

    def reserve(self) -> Reservation:
        """Acquire a free slot for a task that is about to start."""
        assert self._free
        self._free -= 1
        return Reservation(self)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[None]:
        """Hold a slot for the block, the reserved one if any; `slot_released` suspends the hold."""
        reservation = RESERVED.get()
        if reservation is None or not reservation.transfer_to(self):
            await self._acquire_slot()
        token = _held.set((self, asyncio.current_task()))
        try:
            yield
        finally:
            _held.reset(token)
            self.release()

    def release(self) -> None:
        """Pass a slot to the first waiting task, or report it as free."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1
        self.on_free()

    async def reacquire(self) -> None:
        """Acquire a slot again, even when cancelled: the block's exit releases it."""
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                await self._acquire_slot()
            except asyncio.CancelledError as error:
                cancelled = error
            else:
                break
        if cancelled is not None:
            raise cancelled

    async def _acquire_slot(self) -> None:
        if self._free:
            self._free -= 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release()
            raise


RESERVED: ContextVar[Reservation | None] = ContextVar("reserved", default=None)
"""Reservation of the current task."""

_held: ContextVar[tuple[ConcurrencyLimit, asyncio.Task[Any] | None] | None] = ContextVar(
    "held", default=None
)


@asynccontextmanager
async def slot_released() -> AsyncIterator[None]:
    """Release the task's slot during the block: a network wait, or a wait for a rate limiter.

    No effect in child tasks of a record's task: they share its slot and do not own it.
    """
    held = _held.get()
    if held is None or held[1] is not asyncio.current_task():
        yield
        return
    token = _held.set(None)
    held[0].release()
    try:
        yield
    finally:
        _held.reset(token)
        await held[0].reacquire()
