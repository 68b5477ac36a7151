"""Acknowledging in order: an offset is passed on only when everything before it is finished.

Faust commits past events that are still being worked on as soon as a later one is acknowledged
(faust-streaming issue 606), so events must be acknowledged strictly in the order of their offsets.

After a rebalance the broker sends everything uncommitted again, and now and then Faust goes back to
the committed offset in between. Work that is still running, or finished but waiting behind a slower
neighbour, is not repeated: the new copy of the event takes the place of the old one.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

Partition = tuple[str, int]
"""Topic and partition number."""

Acknowledge = Callable[[], object]


class SkippedOffsetsError(Exception):
    """Offsets of a partition never arrived: Faust drops events around a rebalance.

    Acknowledging what follows could commit past them, so the stage has to start again from the
    committed offset.
    """


@dataclass(slots=True)
class _Entry:
    acknowledge: Acknowledge | None
    done: bool = False


class InOrderAcks:
    """The events in flight of one stage, per partition, in the order of their offsets.

    Args:
        believed: gaps that were seen before. A gap that stands there again after a restart is
            real (transaction markers, compaction) and is passed over.
    """

    def __init__(self, believed: set[tuple[Partition, int]] | None = None) -> None:
        self._entries: dict[Partition, dict[int, _Entry]] = {}
        self._last: dict[Partition, int] = {}
        self._believed = set() if believed is None else believed

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._entries.values())

    def deliver(
        self,
        partition: Partition,
        offset: int,
        acknowledge: Acknowledge,
        *,
        committed: int | None = None,
    ) -> bool:
        """Note a delivered event. False when its work is already running or finished.

        ``committed`` is the offset from which reading began; it counts for the first event after
        a rebalance, None when it is not known.

        Raises:
            SkippedOffsetsError: events before this one never arrived.
        """
        self._check_gap(partition, offset, committed)
        entries = self._entries.setdefault(partition, {})
        known = entries.get(offset)
        if known is not None:
            known.acknowledge = acknowledge
            self._advance(partition)
            return False
        out_of_order = bool(entries) and offset < next(reversed(entries))
        entries[offset] = _Entry(acknowledge)
        if out_of_order:
            self._entries[partition] = dict(sorted(entries.items()))
        return True

    def finish(self, partition: Partition, offset: int) -> None:
        """Note that everything this event led to is delivered; acknowledge what now can be."""
        entry = self._entries.get(partition, {}).get(offset)
        if entry is not None:
            entry.done = True
            self._advance(partition)

    def in_flight(self, partition: Partition) -> int:
        """Return how many events of a partition are not acknowledged yet."""
        return len(self._entries.get(partition, ()))

    def delivered(self, partition: Partition) -> int | None:
        """Return the offset of the last event since the rebalance, None before the first."""
        return self._last.get(partition)

    def suspend(self) -> None:
        """Forget the events, not the work: a rebalance makes every delivered event stale."""
        self._last.clear()
        for entries in self._entries.values():
            for entry in entries.values():
                entry.acknowledge = None

    def retain(self, partitions: Collection[Partition]) -> None:
        """Forget the work of all other partitions: they have another owner now."""
        for partition in self._entries.keys() - set(partitions):
            del self._entries[partition]

    def _check_gap(self, partition: Partition, offset: int, committed: int | None) -> None:
        last = self._last.get(partition)
        self._last[partition] = offset
        if last is None:
            self._check_resumption(partition, offset)
            last = offset if committed is None else committed - 1
        if offset <= last + 1 or (partition, offset) in self._believed:
            return
        self._believed.add((partition, offset))
        raise SkippedOffsetsError(f"{partition[0]}-{partition[1]}: {last} is followed by {offset}")

    def _check_resumption(self, partition: Partition, offset: int) -> None:
        """Refuse to wait for events that never come again.

        Reading goes on behind them when another owner committed them while this process was
        frozen, or when Faust dropped them.
        """
        first = next(iter(self._entries.get(partition, ())), offset)
        if first < offset:
            raise SkippedOffsetsError(
                f"{partition[0]}-{partition[1]} goes on at {offset}, but {first} is still in flight"
            )

    def _advance(self, partition: Partition) -> None:
        entries = self._entries[partition]
        while entries:
            offset, head = next(iter(entries.items()))
            if not head.done or head.acknowledge is None:
                return
            head.acknowledge()
            del entries[offset]
