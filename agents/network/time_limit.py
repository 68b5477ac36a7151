"""A timeout that excludes local waits, such as those of the bandwidth limiter."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

_LIMITS: ContextVar[tuple[asyncio.Timeout, ...]] = ContextVar("time_limits", default=())


@asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """Limit the time of the block like `asyncio.timeout`; `extend_limits` adds local waits.

    Raises:
        TimeoutError: the limit is exceeded.
    """
    async with asyncio.timeout(seconds) as limit:
        outer = _LIMITS.set((*_LIMITS.get(), limit))
        try:
            yield limit
        finally:
            _LIMITS.reset(outer)


def extend_limits(seconds: float) -> None:
    """Extend all limits around the caller, before a local wait of that length."""
    for limit in _LIMITS.get():
        deadline = limit.when()
        if deadline is not None and not limit.expired():
            limit.reschedule(deadline + seconds)
