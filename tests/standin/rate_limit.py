"""A limit of pages a second for each way out, and how many were asked for at most."""

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Any

from tests.standin.wire import Reply, text_reply

SECOND = 1.0


class RateLimit:
    """Counts the pages of every sliding second; above the limit they are answered 429.

    What was refused does not count for the limit: who keeps asking gets what others leave.

    Args:
        clock: Monotonic seconds.

    Attributes:
        per_second: Pages a second by one way, None for no limit.
        retry_after_seconds: For the header Retry-After of a refusal, 0 for none.
        refused: How many were refused since it was set.
        most: Pages that were asked for within one second at most since then, by egress.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked: dict[str, deque[float]] = defaultdict(deque)
        self._admitted: dict[str, deque[float]] = defaultdict(deque)
        self.set()

    def set(self, per_second: int | None = None, retry_after_seconds: int = 0) -> None:
        """Set another limit, or none, and count anew."""
        self.per_second = per_second
        self.retry_after_seconds = retry_after_seconds
        self.refused = 0
        self.most: Counter[str] = Counter()
        self._asked.clear()
        self._admitted.clear()

    def refusal(self, egress: str) -> Reply | None:
        """The answer to one page too many, None when it may be had."""
        now = self._clock()
        asked, admitted = self._asked[egress], self._admitted[egress]
        asked.append(now)
        _forget(asked, now)
        _forget(admitted, now)
        self.most[egress] = max(self.most[egress], len(asked))
        if self.per_second is None or len(admitted) < self.per_second:
            admitted.append(now)
            return None
        self.refused += 1
        seconds = str(self.retry_after_seconds)
        headers = (("Retry-After", seconds),) if self.retry_after_seconds else ()
        return text_reply(429, "slow down", *headers)

    def as_json(self) -> dict[str, Any]:
        """What was counted, as plain data."""
        return {"most": dict(self.most), "refused": self.refused}


def _forget(moments: deque[float], now: float) -> None:
    while moments and now - moments[0] >= SECOND:
        moments.popleft()
