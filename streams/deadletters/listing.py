"""The newest dead letters that match a filter."""

import heapq
from datetime import datetime
from typing import Generic, TypeVar

from streams.deadletters.dead_letter import DeadLetterSummary, Filter

Kept = TypeVar("Kept", bound=DeadLetterSummary)


class NewestDeadLetters(Generic[Kept]):
    """Keeps the newest ``limit`` matching dead letters of any number.

    Attributes:
        count: number of all that match.
    """

    def __init__(self, wanted: Filter, limit: int) -> None:
        self._wanted = wanted
        self._limit = limit
        self._newest: list[tuple[datetime, str, Kept]] = []
        self.count = 0

    def add(self, dead_letter: Kept) -> None:
        if not self._wanted.matches(dead_letter):
            return
        self.count += 1
        heapq.heappush(self._newest, (dead_letter.metadata.failed_at, dead_letter.id, dead_letter))
        if len(self._newest) > self._limit:
            heapq.heappop(self._newest)

    def newest_first(self) -> list[Kept]:
        return [dead_letter for *_, dead_letter in sorted(self._newest, reverse=True)]
