"""Notices that a process answers no more, long before the deadlines of its jobs are over."""

import asyncio
from collections.abc import Callable

BEATS = 4
"""Looks at the process without an answer that make a silence. Not a single look after all the time:
when this program itself stood still, an answer may be there that it has not read yet."""


class Heartbeat:
    """Asks a busy process whether it lives, and tells when it does not answer.

    Args:
        seconds: of silence until it is told, and up to a quarter more.
        is_busy: has the process anything to do? An idle one is not asked.
        ask: sends the question.
        on_silence: called once, and nothing is asked any more.
    """

    def __init__(
        self,
        seconds: float,
        *,
        is_busy: Callable[[], bool],
        ask: Callable[[], None],
        on_silence: Callable[[], None],
    ) -> None:
        self._interval = seconds / BEATS
        self._is_busy = is_busy
        self._ask = ask
        self._on_silence = on_silence
        self._unanswered = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin; needs a running event loop."""
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._beat)

    def stop(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()

    def heard(self) -> None:
        """Take note that the process said something, whatever it is."""
        self._unanswered = 0

    def _beat(self) -> None:
        if self._unanswered == BEATS:
            self._on_silence()
            return
        if self._unanswered or self._is_busy():
            if not self._unanswered:
                self._ask()
            self._unanswered += 1
        self.start()
