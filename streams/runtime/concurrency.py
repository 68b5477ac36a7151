"""How many records a stage works on at a time. A task that waits for the network steps aside."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any


class Reservation:
    """A slot that was taken for a task which has not begun yet."""

    def __init__(self, slots: "ConcurrencyLimit") -> None:
        self._slots: ConcurrencyLimit | None = slots

    def claimed_by(self, slots: "ConcurrencyLimit") -> bool:
        """Hand the slot over to the caller, once; False when it is another's or gone."""
        if self._slots is not slots:
            return False
        self._slots = None
        return True

    def withdraw(self) -> None:
        """Give the slot back at once, with nothing started in between."""
        assert self._slots is not None
        self._slots.unreserve()
        self._slots = None

    def release(self) -> None:
        """Give the slot back, unless it was handed over."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.leave()


class ConcurrencyLimit:
    """The slots of one stage.

    The flow reserves a slot for each record that it starts. Tasks that come back from aside go
    before new records, in the order of asking.

    Args:
        count: records that are worked on at a time.

    Attributes:
        on_free: called when a slot is free and no task waits for one.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.on_free: Callable[[], object] = lambda: None

    def reserve(self) -> Reservation | None:
        """Take a slot for a task that is about to be started, None when there is none."""
        if not self._free:
            return None
        self._free -= 1
        return Reservation(self)

    def unreserve(self) -> None:
        """Take back a reservation; free slots are not announced again."""
        self._free += 1

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Hold a slot for the block, the reserved one if there is one, except while `aside`."""
        reservation = RESERVED.get()
        if reservation is None or not reservation.claimed_by(self):
            await self._acquire()
        token = _held.set((self, asyncio.current_task()))
        try:
            yield
        finally:
            _held.reset(token)
            self.leave()

    def leave(self) -> None:
        """Give a slot back, to a task that waits for one or for new records."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1
        self.on_free()

    async def come_back(self) -> None:
        """Take a slot again. A cancellation waits for it: the slot is given back afterwards."""
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                await self._acquire()
            except asyncio.CancelledError as error:
                cancelled = error
            else:
                break
        if cancelled is not None:
            raise cancelled

    async def _acquire(self) -> None:
        if self._free:
            self._free -= 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.leave()
            raise


RESERVED: ContextVar[Reservation | None] = ContextVar("reserved", default=None)
"""The slot that was reserved for the task that runs."""

_held: ContextVar[tuple[ConcurrencyLimit, asyncio.Task[Any] | None] | None] = ContextVar(
    "held", default=None
)


@asynccontextmanager
async def aside() -> AsyncIterator[None]:
    """Let others work during the block, which waits for the network or for its turn.

    Tasks that a record's task has begun share its slot, so they cannot give it away.
    """
    held = _held.get()
    if held is None or held[1] is not asyncio.current_task():
        yield
        return
    token = _held.set(None)
    held[0].leave()
    try:
        yield
    finally:
        _held.reset(token)
        await held[0].come_back()
