"""A bound on time in which we do not count against others what we wait for ourselves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

_LIMITS: ContextVar[tuple[asyncio.Timeout, ...]] = ContextVar("time_limits", default=())


@asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """Bound the time of the block, as `asyncio.timeout` does, without waits of our own.

    Raises:
        TimeoutError: the time is over.
    """
    async with asyncio.timeout(seconds) as limit:
        outer = _LIMITS.set((*_LIMITS.get(), limit))
        try:
            yield limit
        finally:
            _LIMITS.reset(outer)


def extend_limits(seconds: float) -> None:
    """Give all limits around the caller so much more time: it will wait so long for ourselves."""
    for limit in _LIMITS.get():
        ends = limit.when()
        if ends is not None and not limit.expired():
            limit.reschedule(ends + seconds)
