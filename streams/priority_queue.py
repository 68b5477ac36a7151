"""A priority queue with ageing: the highest rank first, among equals the earliest arrival.

Used in front of everything that is scarce: the slots of a stage, the slots of an operation, the
room in front of the next stage. It does no I/O and knows no clock. Push and pop cost O(log n).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")

HIGHEST_PRIORITY = 9
DEFAULT_PRIORITY = 5

AGEING = 16
"""Every so many-th entry that is served is the one that arrived first, whatever its rank. A
sixteenth of the throughput keeps low ranks moving and costs high ones 6 %."""

DEAD_MIN = 64
"""Removed entries that are kept at least before the queue is rebuilt."""

arrivals = count()
"""Numbers of entries in the order of their arrival."""


def rank_of(priority: int, *, in_batch: bool) -> int:
    """Return the rank of a request, 0 to 19: its priority, and in it singles before batches."""
    return 2 * max(0, min(priority, HIGHEST_PRIORITY)) + (not in_batch)


DEFAULT_RANK = rank_of(DEFAULT_PRIORITY, in_batch=False)

URGENT = 2 * HIGHEST_PRIORITY + 2
"""Rank above all priorities: of requests that were cancelled and only need their outcome."""


@dataclass(slots=True, eq=False)
class Entry(Generic[T]):
    """An item in a queue.

    Attributes:
        rank: larger is served first.
        arrival: smaller is served first among equals; unique.
        queued: False once it was served or removed.
    """

    item: T
    rank: int
    arrival: int
    queued: bool = False

    def __lt__(self, other: "Entry[T]") -> bool:
        return (-self.rank, self.arrival) < (-other.rank, other.arrival)


def arrive(item: T, rank: int) -> Entry[T]:
    """Return an entry that arrives now."""
    return Entry(item, rank, next(arrivals))


class PriorityQueue(Generic[T]):
    """Entries by rank and by arrival. Removed entries stay in both orders until a rebuild."""

    def __init__(self) -> None:
        self._by_rank: list[tuple[int, int, Entry[T]]] = []
        self._by_arrival: list[tuple[int, Entry[T]]] = []
        self._live = 0
        self._served = 0

    def __len__(self) -> int:
        return self._live

    def __iter__(self) -> Iterator[Entry[T]]:
        """Iterate over the queued entries in the order of their arrival."""
        return iter(
            sorted(
                {each.arrival: each for _, each in self._by_arrival if each.queued}.values(),
                key=_arrival,
            )
        )

    def push(self, entry: Entry[T]) -> None:
        """Add an entry; one that arrived before others that are here keeps its place."""
        entry.queued = True
        self._live += 1
        heappush(self._by_rank, (-entry.rank, entry.arrival, entry))
        heappush(self._by_arrival, (entry.arrival, entry))

    def best(self) -> Entry[T]:
        """Return the entry of the highest rank. The queue must not be empty."""
        while not _is_current(self._by_rank[0]):
            heappop(self._by_rank)
        return self._by_rank[0][2]

    def oldest(self) -> Entry[T]:
        """Return the entry that arrived first. The queue must not be empty."""
        while not self._by_arrival[0][1].queued:
            heappop(self._by_arrival)
        return self._by_arrival[0][1]

    def pop(self) -> Entry[T]:
        """Remove and return the entry that is served next."""
        self._served += 1
        entry = self.best() if self._served % AGEING else self.oldest()
        self.remove(entry)
        return entry

    def raise_rank(self, entry: Entry[T], rank: int) -> None:
        """Give a queued entry a higher rank."""
        entry.rank = rank
        heappush(self._by_rank, (-rank, entry.arrival, entry))

    def remove(self, entry: Entry[T]) -> None:
        """Remove an entry, if it is queued."""
        if not entry.queued:
            return
        entry.queued = False
        self._live -= 1
        longest = max(len(self._by_rank), len(self._by_arrival))
        if longest > 2 * self._live + DEAD_MIN:
            self._forget_removed()

    def _forget_removed(self) -> None:
        entries = list(self)
        self._by_arrival = [(entry.arrival, entry) for entry in entries]
        self._by_rank = [(-entry.rank, entry.arrival, entry) for entry in entries]
        heapify(self._by_rank)


def _arrival(entry: Entry[T]) -> int:
    return entry.arrival


def _is_current(place: tuple[int, int, Entry[T]]) -> bool:
    """Return whether a place is that of a queued entry, and of the rank that it has now."""
    rank, _, entry = place
    return entry.queued and entry.rank == -rank
