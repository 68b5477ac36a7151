"""A rate limit of pages per second and egress, with the peak of requested pages."""

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Any

from tests.standin.wire import Reply, text_reply

SECOND = 1.0


class RateLimit:
    """Sliding window of one second; pages above the limit are answered 429.

    Rejected requests do not count towards the limit.

    Args:
        clock: Monotonic seconds.

    Attributes:
        per_second: Pages per second and egress, None for no limit.
        retry_after_seconds: For the header Retry-After of a 429, 0 for none.
        refused: Number of 429 responses since it was set.
        most: Peak of requested pages per second since then, by egress.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._requested: dict[str, deque[float]] = defaultdict(deque)
        self._admitted: dict[str, deque[float]] = defaultdict(deque)
        self.set()

    def set(self, per_second: int | None = None, retry_after_seconds: int = 0) -> None:
        """Set another limit, or none, and reset the counts."""
        self.per_second = per_second
        self.retry_after_seconds = retry_after_seconds
        self.refused = 0
        self.most: Counter[str] = Counter()
        self._requested.clear()
        self._admitted.clear()

    def refusal(self, egress: str) -> Reply | None:
        """The 429 response to a page above the limit, None when it is admitted."""
        now = self._clock()
        requested, admitted = self._requested[egress], self._admitted[egress]
        requested.append(now)
        _expire(requested, now)
        _expire(admitted, now)
        self.most[egress] = max(self.most[egress], len(requested))
        if self.per_second is None or len(admitted) < self.per_second:
            admitted.append(now)
            return None
        self.refused += 1
        seconds = str(self.retry_after_seconds)
        headers = (("Retry-After", seconds),) if self.retry_after_seconds else ()
        return text_reply(429, "slow down", *headers)

    def as_json(self) -> dict[str, Any]:
        """The counts as plain data."""
        return {"most": dict(self.most), "refused": self.refused}


def _expire(moments: deque[float], now: float) -> None:
    while moments and now - moments[0] >= SECOND:
        moments.popleft()
