"""The partitions of a stage that are assigned to this worker, and the progress of each."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition

from streams.faust_driver.app import committed_offset, end_offsets
from streams.observability.lag import SourceProgress
from streams.runtime.offset_tracker import OffsetTracker, Partition
from streams.runtime.stall_detector import Position
from streams.topics import HEARTBEATS, Topic


class PartitionShare:
    """The share of one worker in a stage, 0 to 1: its assigned partitions as a part of all.

    Cluster-wide limits (rates, back-pressure capacity) are divided by these shares without
    coordination. A share stays as it is from one assignment to the next, on all workers alike, so
    the shares add up to 1.

    Args:
        topics: sources of the stage.
        partitions: number of partitions of topics without a number of their own.
    """

    def __init__(self, topics: Sequence[Topic], partitions: int) -> None:
        self._names = {topic.name for topic in topics}
        self._all = sum(topic.partitions or partitions for topic in topics)
        self._mine = 0

    def assign(self, partitions: Collection[Partition]) -> None:
        self._mine = sum(topic in self._names for topic, _ in set(partitions))

    def __call__(self) -> float:
        return self._mine / self._all


class AssignedPartitions:
    """The assigned partitions of a stage's sources.

    Args:
        app: Faust app of the stage.
        sources: topics that the stage reads, by their names on Kafka.
        offsets: tracker of the stage.
        share: updated at each assignment.
    """

    def __init__(
        self, app: Any, sources: Mapping[str, Topic], offsets: OffsetTracker, share: PartitionShare
    ) -> None:
        self._app = app
        self._sources = sources
        self._offsets = offsets
        self._share = share
        self._assigned: set[Partition] = set()

    def assign(self, partitions: Iterable[Any]) -> set[Partition]:
        """Record a new assignment; return the partitions of sources, without changelogs."""
        known = (tp for tp in partitions if tp.topic in self._sources)
        self._assigned = {(self._sources[tp.topic].name, tp.partition) for tp in known}
        self._share.assign(self._assigned)
        return self._assigned

    def __contains__(self, partition: Partition) -> bool:
        return partition in self._assigned

    def finished_counts(self) -> dict[Partition, int]:
        counts = ((partition, self._offsets.finished(partition)) for partition in self._assigned)
        return {partition: count for partition, count in counts if count is not None}

    def finished_ahead(self, tp: Any) -> int:
        """Return the number of finished records behind one in flight."""
        return self._offsets.finished_ahead((self._sources[tp.topic].name, tp.partition))

    def heartbeats(self) -> set[int]:
        """Return the assigned partitions of the heartbeats."""
        return {number for topic, number in self._assigned if topic == HEARTBEATS.name}

    async def positions(self) -> dict[Partition, Position]:
        """Return the offsets of each partition; one request to the cluster."""
        positions: dict[Partition, Position] = {}
        for tp, end in (await end_offsets(self._app, self._sources)).items():
            partition = (self._sources[tp.topic].name, tp.partition)
            positions[partition] = Position(
                end=end,
                committed=committed_offset(self._app, tp),
                delivered=self._offsets.delivered(partition),
                in_flight=self._offsets.in_flight(partition),
            )
        return positions

    def progress(self, *, is_ready: bool) -> tuple[SourceProgress, ...]:
        """Return the progress in each source; heartbeats have an age metric of their own."""
        return tuple(
            self._source_progress(kafka_name, partition, is_ready=is_ready)
            for kafka_name, topic in self._sources.items()
            if topic is not HEARTBEATS
            for partition in sorted(self._assigned)
            if partition[0] == topic.name
        )

    def _source_progress(
        self, kafka_name: str, partition: Partition, *, is_ready: bool
    ) -> SourceProgress:
        topic, number = partition
        tp = TopicPartition(kafka_name, number)
        # Faust fetches committed offsets at the end of a rebalance; before, they are stale.
        committed = self._app.consumer.committed_or_start(tp) if is_ready else None
        timestamp = None if committed is None else self._offsets.timestamp(partition, committed)
        return SourceProgress(topic, tp, committed, timestamp)
