"""The worker's share of a stage: its assigned partitions as a part of all partitions.

Cluster-wide limits (rates, back-pressure capacity) are divided by these shares without
coordination.
"""

from collections.abc import Collection, Sequence

from streams.runtime.offset_tracker import Partition
from streams.topics import Topic


class PartitionShare:
    """The share of one worker in a stage, 0 to 1.

    It stays as it is from one assignment to the next, on all workers alike, so the shares add up to
    1.

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
