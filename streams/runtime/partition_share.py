"""Which part of its stage's work a worker has: its partitions of all partitions."""

from collections.abc import Collection, Sequence

from streams.runtime.offset_tracker import Partition
from streams.topics import Topic


class PartitionShare:
    """The share of one worker in a stage, from one rebalance to the next.

    Until the partitions are assigned anew it stays as it was: so do those of the others.

    Args:
        topics: what the stage reads.
        partitions: of each topic that says no number itself.
    """

    def __init__(self, topics: Sequence[Topic], partitions: int) -> None:
        self._names = {topic.name for topic in topics}
        self._all = sum(topic.partitions or partitions for topic in topics)
        self._mine = 0

    def assign(self, partitions: Collection[Partition]) -> None:
        """Take note of the partitions that this worker has now."""
        self._mine = sum(topic in self._names for topic, _ in set(partitions))

    def __call__(self) -> float:
        """Return the share, 0 to 1."""
        return self._mine / self._all
