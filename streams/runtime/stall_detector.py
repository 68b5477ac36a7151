"""The stall detector: a partition with unread records, none in flight, and no progress.

Faust can lose its position around a rebalance: a partition that is not fetched any more
(faust-streaming issue 629), or commits that stop for good behind a gap (issue 596). Both look
healthy from inside. The remedy is a restart of the stage, which `StageRunner` requests.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from streams.runtime.offset_tracker import Partition


class StalledError(Exception):
    """A partition made no progress although there are records to read."""


@dataclass(frozen=True, slots=True)
class Position:
    """The offsets of a partition.

    Attributes:
        end: end offset of the log.
        committed: committed offset, from which a restart reads.
        delivered: offset of the last record delivered to the stage, None before the first.
        in_flight: records in progress, or finished behind one that is.
    """

    end: int
    committed: int
    delivered: int | None
    in_flight: int


class StallDetector:
    """Compares the positions of partitions over time.

    Args:
        stall_seconds: time without progress after which a partition counts as stalled.
    """

    def __init__(self, stall_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._since: dict[Partition, tuple[Position, float]] = {}

    def observe(self, positions: Mapping[Partition, Position]) -> None:
        """Record the current positions of all partitions of the stage.

        Raises:
            StalledError: a partition made no progress for too long.
        """
        now = self._clock()
        self._since = {
            partition: self._update(partition, position, now)
            for partition, position in positions.items()
            if position.end > position.committed and not position.in_flight
        }
        for (topic, number), (position, since) in self._since.items():
            if now - since >= self._stall_seconds:
                raise StalledError(
                    f"{topic}-{number} has been stalled for {now - since:.0f} s: committed "
                    f"{position.committed}, delivered {position.delivered}, end {position.end}"
                )

    def _update(
        self, partition: Partition, position: Position, now: float
    ) -> tuple[Position, float]:
        before, since = self._since.get(partition, (position, now))
        moved = (before.committed, before.delivered) != (position.committed, position.delivered)
        return position, now if moved else since
