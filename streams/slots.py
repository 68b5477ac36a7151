"""How much a stage works on at a time. Whoever waits for somebody else steps aside meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any


class Slots:
    """The slots of one stage, served in the order of asking.

    Args:
        count: records that are worked on at a time.
    """

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Hold a slot for the block, except while it steps `aside`."""
        async with self._free:
            token = _held.set((self, asyncio.current_task()))
            try:
                yield
            finally:
                _held.reset(token)

    def leave(self) -> None:
        """Give a slot back for a while."""
        self._free.release()

    async def come_back(self) -> None:
        """Take a slot again. A cancellation waits for it: the slot is given back afterwards."""
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                await self._free.acquire()
            except asyncio.CancelledError as error:
                cancelled = error
            else:
                break
        if cancelled is not None:
            raise cancelled


_held: ContextVar[tuple[Slots, asyncio.Task[Any] | None] | None] = ContextVar("held", default=None)


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
