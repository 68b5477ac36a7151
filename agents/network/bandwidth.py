"""A limit of bytes per second, shared by all transfers of a process."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from agents.network.time_limit import extend_limits

BURST_SECONDS = 0.25
"""So much of the rate may come at once after a pause; less would cost speed, more would not show
as a limit."""


class Bandwidth:
    """A leaky bucket (ITU-T I.371, the virtual scheduling algorithm), in bytes.

    Who has received bytes spends them, and waits until they would have come at the rate: in the
    order of spending, so that transfers with pieces of one size come forward alike. What is not
    read meanwhile is held back by TCP. The wait counts against no time limit: that the server was
    slow would be said of our own doing.

    Args:
        bytes_per_second: the limit; None: there is none.
        clock: seconds.
        sleep: waits that many seconds.
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
        self._spent_until = clock()

    async def spend(self, count: int) -> None:
        """Return when so many bytes more are within the limit."""
        if self._rate is None:
            return
        now = self._clock()
        self._spent_until = max(self._spent_until, now) + count / self._rate
        wait = self._spent_until - BURST_SECONDS - now
        if wait > 0:
            extend_limits(wait)
            await self._sleep(wait)


UNLIMITED = Bandwidth(None)
