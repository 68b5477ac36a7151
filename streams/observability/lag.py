"""Consumer lag of the partitions assigned to this process, as metrics.

Lag in records is defined as by ``kafka-consumer-groups.sh``: log end offset less committed offset,
so records in flight and parked records count. Without a committed offset it counts from the start
offset of the stage, where the tool prints ``-``. The committed offset is the stage's own record of
its commits, so that a measurement costs a single request for the end offsets.

Lag in seconds is the age of the oldest uncommitted record. A stage knows the timestamps of the
records that it holds. A stage that consumes nothing (paused intake, stalled consumer) does not hold
the next record; its timestamp is then read from the log, once per offset.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from aiokafka import TopicPartition

from streams.observability.metrics import CHANGELOG_LAG, LAG_RECORDS, LAG_SECONDS

log = logging.getLogger(__name__)

MEASURE_EVERY_SECONDS = 5.0
"""Interval of measurements: three per Prometheus scrape at the usual 15 s."""


TIMESTAMP_RETRY_SECONDS = 60.0
"""Delay before a failed timestamp read is retried. A read takes 5 s where only a transaction marker
and no record follows the offset."""


@dataclass(frozen=True, slots=True)
class SourceProgress:
    """Progress of a stage in one partition of a source topic.

    Attributes:
        topic: logical name.
        partition: partition with the Kafka name of the topic.
        committed: committed offset of the group; None while unknown.
        timestamp: epoch seconds of the record at that offset; None when not received yet.
    """

    topic: str
    partition: TopicPartition
    committed: int | None
    timestamp: float | None


@dataclass(frozen=True, slots=True)
class TableProgress:
    """Recovery of a table in one partition of its changelog; ``next`` is the next offset."""

    table: str
    partition: TopicPartition
    next: int


@dataclass(frozen=True, slots=True)
class StageProgress:
    """Progress of a stage in this process; ``tables`` is empty when all tables are recovered."""

    sources: tuple[SourceProgress, ...] = ()
    tables: tuple[TableProgress, ...] = ()

    @property
    def partitions(self) -> list[TopicPartition]:
        """All partitions whose end offsets are needed."""
        return [each.partition for each in self.sources] + [each.partition for each in self.tables]


@dataclass(slots=True)
class _TimestampRead:
    """Timestamp of a record that its stage has not received, and the time of the next read."""

    offset: int
    due: float
    timestamp: float | None = None


class LogOffsets(Protocol):
    """Queries to the cluster; see `streams.runtime.group_offsets.GroupOffsets`."""

    def ends(
        self, partitions: list[TopicPartition], /
    ) -> Awaitable[Mapping[TopicPartition, int]]: ...
    def timestamp(self, partition: TopicPartition, offset: int, /) -> Awaitable[float | None]: ...


Series = tuple[str, str, str]
"""Stage, topic and partition: the labels of a lag."""


class LagMonitor:
    """Measures and exports the lag of all stages of a process.

    Args:
        clock: epoch seconds, comparable to record timestamps.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._stages: dict[str, Callable[[], StageProgress]] = {}
        self._tables: dict[str, tuple[str, ...]] = {}
        self._ends: Mapping[TopicPartition, int] = {}
        self._reads: dict[TopicPartition, _TimestampRead] = {}
        self._exported: set[Series] = set()

    @contextmanager
    def tracking(
        self, stage: str, tables: Iterable[str], progress: Callable[[], StageProgress]
    ) -> Iterator[None]:
        """Measure a stage within the block; its series are removed afterwards."""
        self._stages[stage], self._tables[stage] = progress, tuple(tables)
        try:
            yield
        finally:
            del self._stages[stage]
            self._remove({series for series in self._exported if series[0] == stage})
            for table in self._tables.pop(stage):
                CHANGELOG_LAG.remove(stage, table)

    async def run(self, offsets: LogOffsets) -> None:
        while True:
            await self.measure_once(offsets)
            await asyncio.sleep(MEASURE_EVERY_SECONDS)

    async def measure_once(self, offsets: LogOffsets) -> None:
        """Measure and export the lag of every stage."""
        stages = {stage: progress() for stage, progress in self._stages.items()}
        partitions = [each for progress in stages.values() for each in progress.partitions]
        try:
            self._ends = await offsets.ends(partitions)
        except Exception as error:  # noqa: BLE001  (the cluster may be away; ask again later)
            # The last known end offsets are kept, so that ages go on growing.
            log.warning("the lag cannot be measured, retrying: %r", error)
        for stage, progress in stages.items():
            self._export_tables(stage, progress.tables)
            await self._export_sources(stage, progress.sources, offsets)
        self._reads = {each: self._reads[each] for each in partitions if each in self._reads}

    async def _export_sources(
        self, stage: str, sources: Iterable[SourceProgress], offsets: LogOffsets
    ) -> None:
        assigned = {(stage, each.topic, str(each.partition.partition)): each for each in sources}
        self._remove({each for each in self._exported if each[0] == stage} - assigned.keys())
        for series, each in assigned.items():
            end = self._ends.get(each.partition)
            if end is None or each.committed is None:
                continue
            lag, written = max(0, end - each.committed), each.timestamp
            if lag and written is None:
                written = await self._read_timestamp(each.partition, each.committed, offsets)
            # The stage may have closed during the await.
            if stage in self._stages:
                self._export(series, lag, written)

    async def _read_timestamp(
        self, partition: TopicPartition, offset: int, offsets: LogOffsets
    ) -> float | None:
        """Return the timestamp of a record that the stage has not received, None if unknown.

        A new offset counts as written now: usually its fetch is in flight.
        """
        now, known = self._clock(), self._reads.get(partition)
        if known is None or known.offset != offset:
            self._reads[partition] = _TimestampRead(offset, due=now)
            return now
        if known.timestamp is None and known.due <= now:
            known.due = now + TIMESTAMP_RETRY_SECONDS
            try:
                known.timestamp = await offsets.timestamp(partition, offset)
            except Exception as error:  # noqa: BLE001  (the cluster may be away; ask again later)
                log.warning("the age of %s-%s cannot be read: %r", *partition, error)
        return known.timestamp

    def _export(self, series: Series, lag: int, written: float | None) -> None:
        LAG_RECORDS.labels(*series).set(lag)
        self._exported.add(series)
        if not lag:
            LAG_SECONDS.labels(*series).set(0)
        elif written is None:
            LAG_SECONDS.remove(*series)
        else:
            # The clock of the producing client may be ahead.
            LAG_SECONDS.labels(*series).set(max(0.0, self._clock() - written))

    def _export_tables(self, stage: str, progress: Iterable[TableProgress]) -> None:
        missing = dict.fromkeys(self._tables.get(stage, ()), 0)
        for each in progress:
            if each.table in missing:
                end = self._ends.get(each.partition, each.next)
                missing[each.table] += max(0, end - each.next)
        for table, count in missing.items():
            CHANGELOG_LAG.labels(stage, table).set(count)

    def _remove(self, removed: Iterable[Series]) -> None:
        for series in removed:
            self._exported.discard(series)
            LAG_RECORDS.remove(*series)
            LAG_SECONDS.remove(*series)
