"""Rate limiter of the bandwidth of all transfers of a process; timeouts that exclude its waits."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

BURST_SECONDS = 0.25
"""Burst size in seconds of the rate, after an idle time; less would cost throughput, more would not
look like a limit."""


class BandwidthLimiter:
    """A leaky bucket (ITU-T I.371, the virtual scheduling algorithm), in bytes.

    A transfer consumes bytes after it has received them, and then sleeps until they conform to the
    rate. Waits are FIFO, so transfers with equal chunks progress equally; TCP flow control slows
    the server meanwhile. The sleep extends the time limits around it: it must not be reported as a
    timeout of the server.

    Args:
        bytes_per_second: the limit; None for unlimited.
        clock: seconds.
        sleep: takes seconds.
    """

    def __init__(
        self,
        bytes_per_second: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rate = bytes_per_second
        self._clock = clock
        self._sleep = sleep
        self._conforms_at = clock()

    async def consume(self, count: int) -> None:
        """Account for received bytes; returns when they are within the limit."""
        if self._rate is None:
            return
        now = self._clock()
        self._conforms_at = max(self._conforms_at, now) + count / self._rate
        wait = self._conforms_at - BURST_SECONDS - now
        if wait > 0:
            extend_limits(wait)
            await self._sleep(wait)


UNLIMITED = BandwidthLimiter(None)


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
