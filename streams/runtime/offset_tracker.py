"""The offset tracker: an offset is committed once all before it are finished (at-least-once).

Faust commits past events in flight as soon as a later one is acknowledged (faust-streaming issue
606), so events must be acknowledged strictly in offset order.

After a rebalance the broker redelivers all uncommitted events, and occasionally Faust seeks to the
committed offset in between. Work that is still running, or finished but waiting behind a slower
event, is not repeated: the redelivered event replaces the old one in its entry.

Offsets without records (transaction markers, aborted transactions, log compaction) are skipped when
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
    """Offsets of a partition were not delivered: Faust drops events around a rebalance.

    Acknowledging later offsets could commit past them, so the stage must restart from the committed
    offset.
    """


@dataclass(slots=True)
class _Entry:
    acknowledge: Acknowledge | None
    done: bool = False
    is_gap: bool = False


@dataclass(order=True, slots=True)
class _Gap:
    """Offsets from ``start`` to ``end``, exclusive, at which the log has no record."""

    start: int
    end: int
    acknowledge: Acknowledge = field(compare=False)


@dataclass(slots=True)
class _Tracked:
    """One partition.

    Attributes:
        entries: events in flight, and gaps behind one, by offset.
        offsets: a heap of the entries' offsets. Finding the first key of a dict takes time in
            proportion to its deleted first keys, and 50,000 events may be held.
        done: number of finished events.
        gap_count: number of entries that are gaps.
        next: the offset after the last event or gap since the rebalance, None before the first.
        gaps: gaps beyond ``next``, sorted.
        timestamps: offset and timestamp of records; one is kept where it differs from the one
            before by `TIMESTAMP_SECONDS`.
    """

    entries: dict[int, _Entry] = field(default_factory=dict)
    offsets: list[int] = field(default_factory=list)
    done: int = 0
    gap_count: int = 0
    next: int | None = None
    gaps: list[_Gap] = field(default_factory=list)
    timestamps: deque[tuple[int, float]] = field(default_factory=deque)


class OffsetTracker:
    """The events in flight of one stage, acknowledged in offset order in each partition."""

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
        """Track a delivered event; False when its work is already running or finished.

        ``committed`` is the offset where reading started; it counts for the first event after a
        rebalance, None when unknown. ``timestamp`` is the record's, epoch seconds.

        Raises:
            SkippedOffsetsError: earlier events were not delivered.
        """
        tracked = self._track(partition)
        self._check_order(partition, tracked, offset, committed)
        known = tracked.entries.get(offset)
        if known is not None:
            known.acknowledge = acknowledge
        else:
            _insert(tracked, offset, _Entry(acknowledge))
        if timestamp:
            _record_timestamp(tracked, offset, timestamp)
        if known is not None or tracked.gap_count:
            self._advance(tracked)
        return known is None

    def _track(self, partition: Partition) -> _Tracked:
        tracked = self._partitions.get(partition)
        if tracked is None:
            tracked = self._partitions[partition] = _Tracked()
        return tracked

    def skip_gap(
        self,
        partition: Partition,
        start: int,
        end: int,
        acknowledge: Acknowledge,
        *,
        committed: int | None = None,
    ) -> None:
        """Skip the offsets from ``start`` to ``end``, exclusive: the log has no records there.

        ``acknowledge`` is that of the last offset, so that a gap at the end of a partition does not
        count as lag.
        """
        tracked = self._track(partition)
        insort(tracked.gaps, _Gap(start, end, acknowledge))
        if tracked.next is None and committed is not None and not tracked.entries:
            tracked.next = committed
        self._close_gaps(tracked)
        self._advance(tracked)

    def finish(self, partition: Partition, offset: int) -> None:
        """Mark an event as finished, its effects acknowledged; acknowledge in order."""
        tracked = self._partitions.get(partition)
        entry = tracked.entries.get(offset) if tracked else None
        if tracked is not None and entry is not None and not entry.done:
            entry.done = True
            tracked.done += 1
            self._advance(tracked)

    def in_flight(self, partition: Partition) -> int:
        """Return the number of unacknowledged events of a partition."""
        tracked = self._partitions.get(partition)
        return len(tracked.entries) - tracked.gap_count if tracked else 0

    def finished_ahead(self, partition: Partition) -> int:
        """Return the number of events that are finished behind an unfinished one."""
        tracked = self._partitions.get(partition)
        return tracked.done if tracked else 0

    def delivered(self, partition: Partition) -> int | None:
        """Return the last offset since the rebalance, None before the first."""
        tracked = self._partitions.get(partition)
        return None if tracked is None or tracked.next is None else tracked.next - 1

    def finished(self, partition: Partition) -> int | None:
        """Return the number of finished offsets of a partition, counted from 0.

        None when unknown: no event was delivered since the rebalance.
        """
        tracked = self._partitions.get(partition)
        if tracked is None or tracked.next is None:
            return None
        return tracked.next - self.in_flight(partition) + tracked.done

    def timestamp(self, partition: Partition, committed: int) -> float | None:
        """Return the timestamp of the first uncommitted record, to the second.

        None when it was not delivered since the rebalance. Drops the timestamps of committed
        records, so callers must pass growing offsets.
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
        """Clear the acknowledgements, keep the work: a rebalance makes delivered events stale."""
        for tracked in self._partitions.values():
            tracked.next = None
            tracked.timestamps.clear()  # uncommitted records are redelivered
            tracked.gaps.clear()  # the fetcher reports them again
            events = {offset: each for offset, each in tracked.entries.items() if not each.is_gap}
            for entry in events.values():
                entry.acknowledge = None
            tracked.entries, tracked.offsets, tracked.gap_count = events, list(events), 0
            heapify(tracked.offsets)

    def retain(self, partitions: Collection[Partition]) -> None:
        """Drop the state of all other partitions: they were revoked."""
        for partition in self._partitions.keys() - set(partitions):
            del self._partitions[partition]

    def reset(self, partition: Partition) -> None:
        """Drop the state of a partition whose log was replaced: its offsets mean other records."""
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
        """Skip the gaps that start where the delivered events end."""
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
                tracked.gap_count -= 1
            else:
                tracked.done -= 1
            del tracked.entries[heappop(tracked.offsets)]


def _insert(tracked: _Tracked, offset: int, entry: _Entry) -> None:
    tracked.entries[offset] = entry
    tracked.gap_count += entry.is_gap
    heappush(tracked.offsets, offset)


def _record_timestamp(tracked: _Tracked, offset: int, timestamp: float) -> None:
    kept = tracked.timestamps
    if kept:
        last, before = kept[-1]
        if offset <= last or abs(timestamp - before) < TIMESTAMP_SECONDS:
            return
    kept.append((offset, timestamp))


def _check_resumption(partition: Partition, tracked: _Tracked, offset: int) -> None:
    """Reject a position behind events in flight, which would never be redelivered.

    The position moves past them when another owner committed them while this process was frozen, or
    when Faust dropped them.
    """
    first = tracked.offsets[0] if tracked.offsets else offset
    if first < offset:
        raise SkippedOffsetsError(
            f"{partition[0]}-{partition[1]} goes on at {offset}, but {first} is still in flight"
        )
