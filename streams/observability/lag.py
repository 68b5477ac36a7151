"""Consumer lag of the partitions that this process reads, as metrics.

The lag in records is what ``kafka-consumer-groups.sh`` says: the end of the log less the committed
offset, so records in work and parked records count. Where nothing is committed yet it is counted
from the offset where the stage began to read; the tool prints ``-`` then. The committed offset is
the one that the stage has committed itself, so that one request for the ends is all that a
measurement costs.

The age is that of the oldest record that is not committed. A stage knows the timestamps of the
records that it holds. One that takes no records (a paused intake, a consumer that stands still)
does not have the next one; its timestamp is read from the log, once for each offset.
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
"""Pause between measurements: three for each scrape of Prometheus at its usual 15 s."""


READ_AGAIN_SECONDS = 60.0
"""Pause before a timestamp that could not be read is read again. That takes 5 s where there is no
record behind the offset, only the marker of a transaction."""


@dataclass(frozen=True, slots=True)
class SourceProgress:
    """How far a stage is in one partition of a source topic.

    Attributes:
        topic: logical name.
        committed: offset from which the group reads on; None while that is not known.
        timestamp: of the record there, epoch seconds; None when the stage has not received it.
    """

    topic: str
    place: TopicPartition
    committed: int | None
    timestamp: float | None


@dataclass(frozen=True, slots=True)
class TableProgress:
    """How far a table is in one partition of its changelog; ``next`` is the next offset."""

    table: str
    place: TopicPartition
    next: int


@dataclass(frozen=True, slots=True)
class StageProgress:
    """How far a stage of this process is; ``tables`` is empty when all tables are recovered."""

    sources: tuple[SourceProgress, ...] = ()
    tables: tuple[TableProgress, ...] = ()

    @property
    def places(self) -> list[TopicPartition]:
        """All partitions whose ends are needed."""
        return [each.place for each in self.sources] + [each.place for each in self.tables]


@dataclass(slots=True)
class _Reading:
    """The timestamp of a record that its stage has not received, and when to read it next."""

    offset: int
    due: float
    timestamp: float | None = None


class LogOffsets(Protocol):
    """What is asked of the cluster; see `streams.runtime.group_offsets.GroupOffsets`."""

    def ends(self, places: list[TopicPartition], /) -> Awaitable[Mapping[TopicPartition, int]]: ...
    def timestamp(self, place: TopicPartition, offset: int, /) -> Awaitable[float | None]: ...


Series = tuple[str, str, str]
"""Stage, topic and partition: the labels of a lag."""


class LagMonitor:
    """Measures the lag of all stages of a process.

    Args:
        clock: epoch seconds, as the timestamps of records.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._stages: dict[str, Callable[[], StageProgress]] = {}
        self._tables: dict[str, tuple[str, ...]] = {}
        self._ends: Mapping[TopicPartition, int] = {}
        self._read: dict[TopicPartition, _Reading] = {}
        self._shown: set[Series] = set()

    @contextmanager
    def watching(
        self, stage: str, tables: Iterable[str], progress: Callable[[], StageProgress]
    ) -> Iterator[None]:
        """Measure a stage for the block; its series are gone afterwards."""
        self._stages[stage], self._tables[stage] = progress, tuple(tables)
        try:
            yield
        finally:
            del self._stages[stage]
            self._remove({series for series in self._shown if series[0] == stage})
            for table in self._tables.pop(stage):
                CHANGELOG_LAG.remove(stage, table)

    async def run(self, offsets: LogOffsets) -> None:
        """Measure for ever."""
        while True:
            await self.measure_once(offsets)
            await asyncio.sleep(MEASURE_EVERY_SECONDS)

    async def measure_once(self, offsets: LogOffsets) -> None:
        """Measure and show the lag of every stage."""
        stages = {stage: progress() for stage, progress in self._stages.items()}
        places = [place for progress in stages.values() for place in progress.places]
        try:
            self._ends = await offsets.ends(places)
        except Exception as error:  # noqa: BLE001  (the cluster may be away; ask again later)
            # Ages grow on, from the ends that were known.
            log.warning("the lag cannot be measured, asking again: %r", error)
        for stage, progress in stages.items():
            self._show_tables(stage, progress.tables)
            await self._show_sources(stage, progress.sources, offsets)
        self._read = {place: self._read[place] for place in places if place in self._read}

    async def _show_sources(
        self, stage: str, sources: Iterable[SourceProgress], offsets: LogOffsets
    ) -> None:
        assigned = {(stage, each.topic, str(each.place.partition)): each for each in sources}
        self._remove({each for each in self._shown if each[0] == stage} - assigned.keys())
        for series, each in assigned.items():
            end = self._ends.get(each.place)
            if end is None or each.committed is None:
                continue
            lag, written = max(0, end - each.committed), each.timestamp
            if lag and written is None:
                written = await self._read_timestamp(each.place, each.committed, offsets)
            # The stage may have ended meanwhile.
            if stage in self._stages:
                self._show(series, lag, written)

    async def _read_timestamp(
        self, place: TopicPartition, offset: int, offsets: LogOffsets
    ) -> float | None:
        """Return the timestamp of a record that the stage has not received, None if unknown.

        An offset that is seen for the first time counts as new: usually its fetch is under way.
        """
        now, known = self._clock(), self._read.get(place)
        if known is None or known.offset != offset:
            self._read[place] = _Reading(offset, due=now)
            return now
        if known.timestamp is None and known.due <= now:
            known.due = now + READ_AGAIN_SECONDS
            try:
                known.timestamp = await offsets.timestamp(place, offset)
            except Exception as error:  # noqa: BLE001  (the cluster may be away; ask again later)
                log.warning("the age of %s-%s cannot be read: %r", *place, error)
        return known.timestamp

    def _show(self, series: Series, lag: int, written: float | None) -> None:
        LAG_RECORDS.labels(*series).set(lag)
        self._shown.add(series)
        if not lag:
            LAG_SECONDS.labels(*series).set(0)
        elif written is None:
            LAG_SECONDS.remove(*series)
        else:
            # A client's clock may be ahead.
            LAG_SECONDS.labels(*series).set(max(0.0, self._clock() - written))

    def _show_tables(self, stage: str, progress: Iterable[TableProgress]) -> None:
        missing = dict.fromkeys(self._tables.get(stage, ()), 0)
        for each in progress:
            if each.table in missing:
                end = self._ends.get(each.place, each.next)
                missing[each.table] += max(0, end - each.next)
        for table, count in missing.items():
            CHANGELOG_LAG.labels(stage, table).set(count)

    def _remove(self, gone: Iterable[Series]) -> None:
        for series in gone:
            self._shown.discard(series)
            LAG_RECORDS.remove(*series)
            LAG_SECONDS.remove(*series)
