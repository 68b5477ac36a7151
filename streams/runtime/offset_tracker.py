"""The offset tracker: an offset is committed only when everything before it is finished.

Faust commits past events that are still being worked on as soon as a later one is acknowledged
(faust-streaming issue 606), so events must be acknowledged strictly in the order of their offsets.

After a rebalance the broker sends everything uncommitted again, and now and then Faust goes back to
the committed offset in between. Work that is still running, or finished but waiting behind a slower
neighbour, is not repeated: the new copy of the event takes the place of the old one.

Offsets without records (transaction markers, aborted transactions, compaction) are passed over when
the fetcher has reported them. Every other missing offset is a record that Faust has dropped.
"""

from bisect import insort
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

Partition = tuple[str, int]
"""Topic and partition number."""

Acknowledge = Callable[[], object]

TIMESTAMP_SECONDS = 1.0
"""Precision of the timestamps that are kept: one a second instead of one a record."""


class SkippedOffsetsError(Exception):
    """Offsets of a partition never arrived: Faust drops events around a rebalance.

    Acknowledging what follows could commit past them, so the stage has to start again from the
    committed offset.
    """


@dataclass(slots=True)
class _Entry:
    acknowledge: Acknowledge | None
    done: bool = False
    is_gap: bool = False


@dataclass(order=True, slots=True)
class _Gap:
    """Offsets from ``start`` up to ``end``, exclusive, at which the log has no record."""

    start: int
    end: int
    acknowledge: Acknowledge = field(compare=False)


@dataclass(slots=True)
class _Tracked:
    """One partition.

    Attributes:
        entries: events in flight, and gaps behind one, by offset.
        offsets: those of the entries, a heap: to find the first key of a dict whose first ones were
            deleted takes time in proportion to those, and 50,000 events may be held.
        done: how many of the events are finished.
        passed: how many of the entries are gaps.
        next: the offset after the last event or gap since the rebalance, None before the first.
        gaps: those beyond ``next``, in order.
        timestamps: offset and timestamp of records; one is kept where it differs from the one
            before by `TIMESTAMP_SECONDS`.
    """

    entries: dict[int, _Entry] = field(default_factory=dict)
    offsets: list[int] = field(default_factory=list)
    done: int = 0
    passed: int = 0
    next: int | None = None
    gaps: list[_Gap] = field(default_factory=list)
    timestamps: deque[tuple[int, float]] = field(default_factory=deque)


class InOrderAcks:
    """The events in flight of one stage, per partition, in the order of their offsets."""

    def __init__(self) -> None:
        self._partitions: dict[Partition, _Tracked] = {}

    def __len__(self) -> int:
        return sum(map(self.in_flight, self._partitions))

    def deliver(
        self,
        partition: Partition,
        offset: int,
        acknowledge: Acknowledge,
        *,
        committed: int | None = None,
        timestamp: float | None = None,
    ) -> bool:
        """Note a delivered event. False when its work is already running or finished.

        ``committed`` is the offset from which reading began; it counts for the first event after
        a rebalance, None when it is not known. ``timestamp`` is the record's, epoch seconds.

        Raises:
            SkippedOffsetsError: events before this one never arrived.
        """
        tracked = self._partitions.setdefault(partition, _Tracked())
        self._check_order(partition, tracked, offset, committed)
        known = tracked.entries.get(offset)
        if known is not None:
            known.acknowledge = acknowledge
        else:
            _insert(tracked, offset, _Entry(acknowledge))
        if timestamp:
            _note_timestamp(tracked, offset, timestamp)
        self._advance(tracked)
        return known is None

    def pass_over(
        self,
        partition: Partition,
        start: int,
        end: int,
        acknowledge: Acknowledge,
        *,
        committed: int | None = None,
    ) -> None:
        """Note that the log has no record from ``start`` up to ``end``, exclusive.

        ``acknowledge`` is that of its last offset, so that a gap at the end of a partition does
        not count as lag.
        """
        tracked = self._partitions.setdefault(partition, _Tracked())
        insort(tracked.gaps, _Gap(start, end, acknowledge))
        if tracked.next is None and committed is not None and not tracked.entries:
            tracked.next = committed
        self._close_gaps(tracked)
        self._advance(tracked)

    def finish(self, partition: Partition, offset: int) -> None:
        """Note that everything this event led to is delivered; acknowledge what now can be."""
        tracked = self._partitions.get(partition)
        entry = tracked.entries.get(offset) if tracked else None
        if tracked is not None and entry is not None and not entry.done:
            entry.done = True
            tracked.done += 1
            self._advance(tracked)

    def in_flight(self, partition: Partition) -> int:
        """Return how many events of a partition are not acknowledged yet."""
        tracked = self._partitions.get(partition)
        return len(tracked.entries) - tracked.passed if tracked else 0

    def finished_ahead(self, partition: Partition) -> int:
        """Return how many events of a partition are finished and wait for one before them."""
        tracked = self._partitions.get(partition)
        return tracked.done if tracked else 0

    def delivered(self, partition: Partition) -> int | None:
        """Return the last offset since the rebalance, None before the first."""
        tracked = self._partitions.get(partition)
        return None if tracked is None or tracked.next is None else tracked.next - 1

    def finished(self, partition: Partition) -> int | None:
        """Return how many offsets of a partition are finished, counted from 0.

        None when that is not known: none was delivered since the rebalance.
        """
        tracked = self._partitions.get(partition)
        if tracked is None or tracked.next is None:
            return None
        return tracked.next - self.in_flight(partition) + tracked.done

    def timestamp(self, partition: Partition, committed: int) -> float | None:
        """Return the timestamp of the first record that is not committed, to the second.

        None when it was not delivered since the rebalance. What is kept of committed records is
        dropped, so this must be called now and then, with growing offsets.
        """
        tracked = self._partitions.get(partition)
        if tracked is None:
            return None
        kept = tracked.timestamps
        while len(kept) > 1 and kept[1][0] <= committed:
            kept.popleft()
        is_delivered = tracked.next is not None and committed < tracked.next
        return kept[0][1] if kept and is_delivered else None

    def suspend(self) -> None:
        """Forget the events, not the work: a rebalance makes every delivered event stale."""
        for tracked in self._partitions.values():
            tracked.next = None
            tracked.timestamps.clear()  # all that is not committed is delivered again
            tracked.gaps.clear()  # the fetcher reports them again
            events = {offset: each for offset, each in tracked.entries.items() if not each.is_gap}
            for entry in events.values():
                entry.acknowledge = None
            tracked.entries, tracked.offsets, tracked.passed = events, list(events), 0
            heapify(tracked.offsets)

    def retain(self, partitions: Collection[Partition]) -> None:
        """Forget the work of all other partitions: they have another owner now."""
        for partition in self._partitions.keys() - set(partitions):
            del self._partitions[partition]

    def restart(self, partition: Partition) -> None:
        """Forget a partition whose log is another one now: its offsets mean other records."""
        self._partitions.pop(partition, None)

    def _check_order(
        self, partition: Partition, tracked: _Tracked, offset: int, committed: int | None
    ) -> None:
        if tracked.next is None:
            _check_resumption(partition, tracked, offset)
            tracked.next = offset if committed is None else committed
        self._close_gaps(tracked)
        if offset > tracked.next:
            raise SkippedOffsetsError(
                f"{partition[0]}-{partition[1]}: {tracked.next - 1} is followed by {offset}"
            )
        tracked.next = max(tracked.next, offset + 1)
        self._close_gaps(tracked)

    def _close_gaps(self, tracked: _Tracked) -> None:
        """Pass over the gaps that begin where events end."""
        while tracked.gaps and tracked.next is not None and tracked.gaps[0].start <= tracked.next:
            gap = tracked.gaps.pop(0)
            if gap.end > tracked.next:
                tracked.next = gap.end
                _insert(tracked, gap.end - 1, _Entry(gap.acknowledge, done=True, is_gap=True))

    def _advance(self, tracked: _Tracked) -> None:
        while tracked.offsets:
            head = tracked.entries[tracked.offsets[0]]
            if not head.done or head.acknowledge is None:
                return
            head.acknowledge()
            if head.is_gap:
                tracked.passed -= 1
            else:
                tracked.done -= 1
            del tracked.entries[heappop(tracked.offsets)]


def _insert(tracked: _Tracked, offset: int, entry: _Entry) -> None:
    tracked.entries[offset] = entry
    tracked.passed += entry.is_gap
    heappush(tracked.offsets, offset)


def _note_timestamp(tracked: _Tracked, offset: int, timestamp: float) -> None:
    kept = tracked.timestamps
    if kept:
        last, before = kept[-1]
        if offset <= last or abs(timestamp - before) < TIMESTAMP_SECONDS:
            return
    kept.append((offset, timestamp))


def _check_resumption(partition: Partition, tracked: _Tracked, offset: int) -> None:
    """Refuse to wait for events that never come again.

    Reading goes on behind them when another owner committed them while this process was
    frozen, or when Faust dropped them.
    """
    first = tracked.offsets[0] if tracked.offsets else offset
    if first < offset:
        raise SkippedOffsetsError(
            f"{partition[0]}-{partition[1]} goes on at {offset}, but {first} is still in flight"
        )
