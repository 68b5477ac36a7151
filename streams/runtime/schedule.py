"""The schedule of a stage: which held record is started next.

Records with the same path share a priority queue, so a path without capacity blocks no other path.
In an ordered stage the records of one key are served FIFO. The next one is served when those before
it have ended, or with `Schedule.join` beside them. The first that waits inherits the highest rank
among them, so a low rank does not block a high one of the same key for longer than necessary
(priority inheritance).
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar, cast

import msgspec

from streams.claims import Claim, TopicPath, cancellable_ids
from streams.priority_queue import AGEING, URGENT, PriorityQueue, QueueEntry, arrivals

T = TypeVar("T")

Admits = Callable[[Claim], bool]
"""Returns whether there is capacity for a record on its path."""


class Scheduled(QueueEntry[T], eq=False, kw_only=True):
    """A scheduled record: waiting, or in progress.

    Attributes:
        claim: its rank and path.
        key: its records are started one at a time, or in one write batch; None without ordering.
        own_rank: raised when its request is cancelled; ``rank`` may be inherited.
    """

    claim: Claim
    key: bytes | None
    own_rank: int


class _Chain(msgspec.Struct, Generic[T]):
    """The records of one key, FIFO; the first is queued unless ``in_progress`` is positive."""

    waiting: deque[Scheduled[T]] = msgspec.field(default_factory=deque)
    ranks: dict[int, int] = {}
    in_progress: int = 0

    def count_rank(self, rank: int, change: int) -> None:
        """Count waiting records of a rank."""
        self.ranks[rank] = self.ranks.get(rank, 0) + change

    def highest(self) -> int:
        return max(rank for rank, number in self.ranks.items() if number)


class Schedule(Generic[T]):
    """The records that a stage holds and has not started."""

    def __init__(self) -> None:
        self._queues: dict[TopicPath, PriorityQueue[T]] = {}
        self._chains: dict[bytes, _Chain[T]] = {}
        self._by_name: dict[str, list[Scheduled[T]]] = {}
        self._entries: set[Scheduled[T]] = set()
        self._served = 0

    def __len__(self) -> int:
        return len(self._entries)

    def push(
        self, item: T, claim: Claim, key: bytes | None = None, *, arrival: int | None = None
    ) -> Scheduled[T]:
        """Add a record; with the ``arrival`` of an earlier record it is queued in its place."""
        entry = scheduled(item, claim, key)
        if arrival is not None:
            entry.arrival = arrival
        self._add(entry)
        return entry

    def pop(self, admits: Admits) -> Scheduled[T] | None:
        """Remove and return the next record with capacity on its path; None if there is none.

        Every `AGEING`-th one is the oldest record among the paths with capacity, whatever its rank.
        """
        entry = self._next(admits)
        if entry is None:
            return None
        self._count_in_progress(entry.key)
        self.remove(entry)
        return entry

    def waiting_behind(self, entry: Scheduled[T]) -> Scheduled[T] | None:
        """Return the first waiting record of the key of a record in progress.

        None if there is none, or one of a lower rank, which must not pass the other keys.
        """
        chain = None if entry.key is None else self._chains.get(entry.key)
        if chain is None or not chain.waiting or chain.waiting[0].own_rank < entry.rank:
            return None
        return chain.waiting[0]

    def join(self, entry: Scheduled[T]) -> None:
        """Start a waiting record while its key's previous one is in progress (write batch)."""
        self._count_in_progress(entry.key)
        self.remove(entry)

    def is_free(self, key: bytes | None) -> bool:
        """Return whether no record of a key waits or is in progress."""
        return key is None or key not in self._chains

    def start(self, key: bytes | None) -> None:
        """Count a record that starts without waiting as in progress."""
        if key is not None and key not in self._chains:
            self._chains[key] = _Chain()
        self._count_in_progress(key)

    def _count_in_progress(self, key: bytes | None) -> None:
        if key is not None:
            self._chains[key].in_progress += 1

    def release(self, key: bytes | None) -> None:
        """Count a record of a key as ended; after the last in progress, queue the next waiting."""
        if key is None or (chain := self._chains.get(key)) is None:
            return
        chain.in_progress -= 1
        self._queue_first(key)

    def remove(self, entry: Scheduled[T]) -> None:
        if entry not in self._entries:
            return
        self._entries.remove(entry)
        self._unindex(entry)
        self._unqueue(entry)
        key = entry.key
        if key is not None:
            chain = self._chains[key]
            chain.waiting.remove(entry)
            chain.count_rank(entry.own_rank, -1)
            self._queue_first(key)

    def remove_where(self, lost: Callable[[T], bool]) -> list[T]:
        """Remove the records that match, and return them."""
        found = [entry for entry in self._entries if lost(entry.item)]
        for entry in found:
            self.remove(entry)
        return [entry.item for entry in found]

    def expedite(self, name: str) -> None:
        """Give a cancelled request, or batch, the highest rank and an empty path."""
        for entry in self._by_name.get(name, ()):
            if entry.key is None:
                self._unqueue(entry)
                self._queue(entry, URGENT)
                continue
            chain = self._chains[entry.key]
            chain.count_rank(entry.own_rank, -1)
            chain.count_rank(URGENT, 1)
            entry.own_rank = URGENT
            self._queue_first(entry.key)

    def _add(self, entry: Scheduled[T]) -> None:
        self._entries.add(entry)
        for name in cancellable_ids(entry.claim.request):
            self._by_name.setdefault(name, []).append(entry)
        if entry.key is None:
            self._queue(entry, entry.own_rank)
            return
        chain = self._chains.get(entry.key)
        if chain is None:
            chain = self._chains[entry.key] = _Chain()
        chain.waiting.append(entry)
        chain.count_rank(entry.own_rank, 1)
        self._queue_first(entry.key)

    def _queue_first(self, key: bytes) -> None:
        """Queue the first record of a key, with the highest rank among all of this key."""
        chain = self._chains[key]
        if chain.in_progress:
            return
        if not chain.waiting:
            del self._chains[key]
            return
        first, rank = chain.waiting[0], chain.highest()
        if not first.queued:
            self._queue(first, rank)
        elif rank != first.rank:
            self._unqueue(first)
            self._queue(first, rank)

    def _queue(self, entry: Scheduled[T], rank: int) -> None:
        entry.rank = rank
        path = _effective_path(entry)
        if path not in self._queues:
            self._queues[path] = PriorityQueue()
        self._queues[path].push(entry)

    def _unqueue(self, entry: Scheduled[T]) -> None:
        if entry.queued:
            self._queues[_effective_path(entry)].remove(entry)

    def _next(self, admits: Admits) -> Scheduled[T] | None:
        ready = [queue for queue in self._queues.values() if queue and admits(_head_claim(queue))]
        if not ready:
            return None
        self._served += 1
        if self._served % AGEING == 0:
            entry = min((queue.oldest() for queue in ready), key=lambda each: each.arrival)
        else:
            entry = min(queue.best() for queue in ready)
        return cast("Scheduled[T]", entry)

    def _unindex(self, entry: Scheduled[T]) -> None:
        for name in cancellable_ids(entry.claim.request):
            entries = self._by_name[name]
            entries.remove(entry)
            if not entries:
                del self._by_name[name]


def _effective_path(entry: Scheduled[T]) -> TopicPath:
    """Return the path that needs capacity: a cancelled request produces only its result."""
    return () if entry.rank >= URGENT else entry.claim.path


def _head_claim(queue: PriorityQueue[T]) -> Claim:
    """Return the claim of the best record, with its effective rank and path."""
    entry = queue.best()
    assert isinstance(entry, Scheduled)
    claim: Claim = entry.claim
    if claim.rank == entry.rank:
        return claim
    return msgspec.structs.replace(claim, rank=entry.rank, path=_effective_path(entry))


def scheduled(item: T, claim: Claim, key: bytes | None) -> Scheduled[T]:
    """Return an entry for a record that arrives now."""
    return Scheduled(item, claim.rank, next(arrivals), claim=claim, key=key, own_rank=claim.rank)
