"""Priority queue with ageing: highest rank first, FIFO among equal ranks.

Used by the schedule of a stage and by the bulkheads. Pure: no I/O, no clock. Push and pop cost
O(log n).
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

HIGHEST_PRIORITY = 9
DEFAULT_PRIORITY = 5

AGEING = 16
"""Entries served: every sixteenth one is the oldest, whatever its rank. Prevents starvation of low
ranks and costs high ones 6 % of the throughput."""

DEAD_MIN = 64
"""Removed entries tolerated in the heaps before a rebuild."""

arrivals = count()
"""Sequence numbers of entries, in arrival order."""


def rank_of(priority: int, *, in_batch: bool) -> int:
    """Return the rank of a request, 0 to 19: by priority, then single requests before batches."""
    return 2 * max(0, min(priority, HIGHEST_PRIORITY)) + (not in_batch)


DEFAULT_RANK = rank_of(DEFAULT_PRIORITY, in_batch=False)

URGENT = 2 * HIGHEST_PRIORITY + 2
"""Rank above all priorities: cancelled requests, which only need their outcome."""


class QueueEntry(msgspec.Struct, Generic[T], eq=False):
    """Queue entry of an item.

    Attributes:
        rank: larger is served first.
        arrival: unique sequence number; smaller is served first among equal ranks.
        queued: False once it was served or removed.
    """

    item: T
    rank: int
    arrival: int
    queued: bool = False

    def __lt__(self, other: "QueueEntry[T]") -> bool:
        return (-self.rank, self.arrival) < (-other.rank, other.arrival)


def new_entry(item: T, rank: int) -> QueueEntry[T]:
    """Create an entry with the next arrival number."""
    return QueueEntry(item, rank, next(arrivals))


class PriorityQueue(Generic[T]):
    """Two heaps, by rank and by arrival. Removal is lazy: entries stay in both until a rebuild."""

    def __init__(self) -> None:
        self._by_rank: list[tuple[int, int, QueueEntry[T]]] = []
        self._by_arrival: list[tuple[int, QueueEntry[T]]] = []
        self._live = 0
        self._served = 0

    def __len__(self) -> int:
        return self._live

    def __iter__(self) -> Iterator[QueueEntry[T]]:
        """Iterate over the queued entries in arrival order."""
        return iter(
            sorted(
                {each.arrival: each for _, each in self._by_arrival if each.queued}.values(),
                key=_arrival,
            )
        )

    def push(self, entry: QueueEntry[T]) -> None:
        """Add an entry; a requeued one keeps its position by arrival."""
        entry.queued = True
        self._live += 1
        heappush(self._by_rank, (-entry.rank, entry.arrival, entry))
        heappush(self._by_arrival, (entry.arrival, entry))

    def best(self) -> QueueEntry[T]:
        """Return the entry with the highest rank. The queue must not be empty."""
        while not _is_current(self._by_rank[0]):
            heappop(self._by_rank)
        return self._by_rank[0][2]

    def oldest(self) -> QueueEntry[T]:
        """Return the entry with the earliest arrival. The queue must not be empty."""
        while not self._by_arrival[0][1].queued:
            heappop(self._by_arrival)
        return self._by_arrival[0][1]

    def pop(self) -> QueueEntry[T]:
        """Remove and return the next entry: the best, or the oldest every `AGEING` calls."""
        self._served += 1
        entry = self.best() if self._served % AGEING else self.oldest()
        self.remove(entry)
        return entry

    def remove(self, entry: QueueEntry[T]) -> None:
        """Remove an entry, if it is queued."""
        if not entry.queued:
            return
        entry.queued = False
        self._live -= 1
        longest = max(len(self._by_rank), len(self._by_arrival))
        if longest > 2 * self._live + DEAD_MIN:
            self._rebuild()

    def _rebuild(self) -> None:
        entries = list(self)
        self._by_arrival = [(entry.arrival, entry) for entry in entries]
        self._by_rank = [(-entry.rank, entry.arrival, entry) for entry in entries]
        heapify(self._by_rank)


def _arrival(entry: QueueEntry[T]) -> int:
    return entry.arrival


def _is_current(item: tuple[int, int, QueueEntry[T]]) -> bool:
    """Return whether a heap item is of a queued entry, with the entry's present rank."""
    rank, _, entry = item
    return entry.queued and entry.rank == -rank
