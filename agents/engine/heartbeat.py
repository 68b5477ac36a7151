"""Heartbeat of a worker process: detects a hang long before the deadlines of its jobs.

Used by `agents.engine.worker_handle`, on the event loop.
"""

import asyncio
from collections.abc import Callable

MISSED_BEATS_MAX = 4
"""Intervals without a message that make a timeout. Several short ones and not a single long one:
after a stall of this program itself, an answer may be in the socket that it has not read yet."""


class ProcessHeartbeat:
    """Pings a busy process, and reports when it does not answer.

    Args:
        seconds: timeout, and up to a quarter more.
        is_busy: an idle process is not pinged.
        send_ping: called at most once per interval.
        on_timeout: called once; ends the heartbeat.
    """

    def __init__(
        self,
        seconds: float,
        *,
        is_busy: Callable[[], bool],
        send_ping: Callable[[], None],
        on_timeout: Callable[[], None],
    ) -> None:
        self._interval = seconds / MISSED_BEATS_MAX
        self._is_busy = is_busy
        self._send_ping = send_ping
        self._on_timeout = on_timeout
        self._missed = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Schedule the next beat; needs a running event loop."""
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._beat)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def reset(self) -> None:
        """Restart the timeout: the process sent a message of any kind."""
        self._missed = 0

    def _beat(self) -> None:
        if self._missed == MISSED_BEATS_MAX:
            self._on_timeout()
            return
        if self._missed or self._is_busy():
            if not self._missed:
                self._send_ping()
            self._missed += 1
        self.start()
