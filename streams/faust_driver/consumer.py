"""Faust's consumer without its data loss: it drops no record and commits no unfinished one."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from inspect import iscoroutine
from typing import Any, Literal

from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers.aiokafka import Consumer, Transport
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from streams.cluster.commit_metadata import commit_metadata
from streams.cluster.local_delivery import LocalReader
from streams.cluster.record_batches import OBSERVER, BatchObserver, UndecodableBatch
from streams.faust_driver.static_member import MemberConsumer, PollLimits, StaticMember

log = logging.getLogger(__name__)

POLL_RECORDS = 64
"""Records of one poll: 5 to 10 ms of work."""

DELIVERY_AND_SUSPENSION = 2
"""Number of awaitables of Faust per message: its delivery, and a suspension by a rebalance."""

IDLE = PollLimits(wait_milliseconds=1500, records=POLL_RECORDS)
"""Of an idle stage; the wait is Faust's."""

BUSY = PollLimits(wait_milliseconds=100, records=POLL_RECORDS)
"""While records arrive. aiokafka has one fetch per broker in flight: a partition whose records were
all delivered waits behind the fetch of the silent ones. At 1500 ms a stage paused for up to 1.2 s,
also when it was not backlogged."""

RECOVERY = PollLimits(wait_milliseconds=50, records=POLL_RECORDS)
"""During recovery of the tables, whose polls have a limit of their own. All else waits behind the
last, empty fetch of the changelogs: at 1500 ms a stage was ready 1.4 s later."""


@dataclass(frozen=True, slots=True)
class OffsetReset:
    """The reset of a partition whose next offset is not in its log (OFFSET_OUT_OF_RANGE).

    Attributes:
        expected: the next offset.
        start: first offset of the log, where the consumer continues.
        end: end offset of the log.
        reason: ``truncated``, the log ends before that offset; ``expired``, it starts behind it.
    """

    tp: Any
    expected: int
    start: int
    end: int
    reason: Literal["truncated", "expired"]

    @property
    def problem(self) -> str:
        """The incident and its consequence, human-readable."""
        name = f"{self.tp.topic}-{self.tp.partition}"
        if self.reason == "expired":
            return (
                f"{name}: records at offsets {self.expected} to {self.start - 1} expired before "
                f"they were read; consumption resumes at {self.start}. Raise retention.ms"
            )
        return (
            f"{name}: the log ends at {self.end}, before the committed offset {self.expected}: it "
            f"was truncated, or the topic was recreated; it is read from the start, {self.start}"
        )


class _FetchObserver(BatchObserver):
    """Queues the observations of the fetcher until its records are delivered.

    Args:
        is_changelog: whether a partition belongs to a changelog; its gaps mean nothing.

    Attributes:
        gaps: partition, start and end of offsets without records.
    """

    def __init__(self, is_changelog: Callable[[Any], bool]) -> None:
        super().__init__()
        self._is_changelog = is_changelog
        self.gaps: deque[tuple[TopicPartition, int, int]] = deque()

    def on_undecodable(self, partition: TopicPartition, batch: UndecodableBatch) -> bool:
        log.error("%s-%s: %s", partition.topic, partition.partition, batch.problem)
        return True

    def on_gap(self, partition: TopicPartition, start: int, end: int) -> None:
        if not self._is_changelog(partition):
            self.gaps.append((partition, start, end))


class _CommittedConsumer(MemberConsumer):
    """Reads committed records only; its commits carry metadata."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        OBSERVER.set(self.consumer.observer)
        consumer = super()._create_worker_consumer(transport)
        # Faust sets it for its own transactions only.
        consumer._isolation_level = "read_committed"  # noqa: SLF001
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        self.consumer.local.attach(self._ensure_consumer()._fetcher)  # noqa: SLF001

    async def _commit(self, offsets: Mapping[Any, int]) -> bool:
        consumer, assigned = self._ensure_consumer(), self.assignment()
        commits = {
            tp: OffsetAndMetadata(offset, self.consumer.commit_metadata_of(tp))
            for tp, offset in offsets.items()
            if tp in assigned
        }
        self.tp_last_committed_at.update(dict.fromkeys(commits, time.monotonic()))
        try:
            await consumer.commit({TopicPartition(*tp): commit for tp, commit in commits.items()})
        except Exception as error:
            if isinstance(error, CommitFailedError) and "already rebalanced" in str(error):
                return False
            self.log.exception("the commit failed")
            await self.crash(error)
            return False
        return True


class PolledRecords(ConsumerMessage):
    """The records of a topic in one poll, as one message of Faust.

    Faust delivers each message in an iteration of the event loop of its own.

    Attributes:
        partitions: aiokafka's records of each partition, in order.
    """

    partitions: Mapping[Any, Sequence[Any]]


class DirectConsumer(Consumer):
    """Delivers polls directly to their stream; commits the offset tracker's acknowledgements.

    Faust makes a message, an event, and two tasks for every record, so that a full queue cannot
    block a rebalance; the tasks alone are a third of the cost of a record. With buffers larger than
    one poll no queue is ever full: partitions are paused at 80 % of it.

    Faust drops the records of a poll that ends during a rebalance, and seeks to the committed
    offsets beside the recovery, which does the same. Here they are read again.
    """

    logger = logging.getLogger("faust.consumer")

    on_gap: Callable[[Any, int, int], object]
    """Called with partition, start and end of offsets at which the log has no record."""

    on_offset_reset: Callable[[OffsetReset], object]
    """Called before the consumer reads a partition from the beginning of its log."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.observer = _FetchObserver(self._is_changelog_tp)
        self.local = LocalReader()
        super().__init__(*args, **kwargs)
        self._start_offsets: dict[Any, int] = {}
        self._metadata: dict[Any, str] = {}
        self.finished_ahead: Callable[[Any], int] = lambda _: 0

    def _new_consumer_thread(self) -> MemberConsumer:
        thread = _CommittedConsumer(self, loop=self.loop, beacon=self.beacon)
        thread.member = self.transport.member
        return thread

    @property
    def kafka_consumer(self) -> Any:
        """The consumer of aiokafka, once it is connected."""
        return self._thread._ensure_consumer()  # noqa: SLF001

    def start_offset(self, tp: Any) -> int | None:
        """Return the offset where reading of a partition resumed after the latest rebalance."""
        return self._start_offsets.get(tp)

    def committed_or_start(self, tp: Any) -> int | None:
        """Return the committed offset; without one, the offset where reading started."""
        committed: int | None = self._committed_offset.get(tp)
        return self.start_offset(tp) if committed is None else committed

    async def wait_first(self, *coros: Any, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        """Await a record's delivery directly; handle all other waits as Faust does."""
        if len(coros) != DELIVERY_AND_SUSPENSION or not iscoroutine(coros[1]):
            return await super().wait_first(*coros, timeout=timeout)
        delivery, suspension = coros
        suspension.close()
        return await delivery

    async def sleep(self, n: float) -> None:
        """Sleep, or yield to the event loop: Faust does so at each poll.

        For each ``sleep(0)`` mode makes a task and a timer.
        """
        if n:
            await super().sleep(n)
        else:
            await asyncio.sleep(0)

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Do nothing: `streams.runtime.stall_detector` detects stalled partitions.

        Faust only logs a slow partition, and fails the consumer (`AssertionError`) for one without
        a position yet, though a slow broker can need a minute to return it.
        """

    # Flow control

    def pause_partitions(self, tps: Iterable[Any]) -> None:
        """Pause partitions; free space in a full buffer no longer resumes one of them."""
        paused = set(tps)
        self._buffered_partitions -= paused
        super().pause_partitions(paused)

    def stop_flow(self) -> None:
        """Stop the flow for a rebalance."""
        super().stop_flow()
        self._thread.limit_polls(RECOVERY)

    def resume_flow(self) -> None:
        """Resume the flow after the recovery."""
        self._thread.limit_polls(IDLE)
        super().resume_flow()

    async def threadsafe_partitions_revoked(self, _loop: Any, revoked: set[Any]) -> None:
        """Handle a revocation in the coordinator's task: both are in the same event loop.

        Faust's queue for it ends with a crash of the app. The coordinator then waited without end,
        and the stage did not stop.
        """
        await self.on_partitions_revoked(revoked)

    async def threadsafe_partitions_assigned(
        self, _loop: Any, assigned: set[Any], generation_id: int = 0
    ) -> None:
        """Handle an assignment in the coordinator's task."""
        await self.on_partitions_assigned(assigned, generation_id)

    async def on_partitions_assigned(self, assigned: set[Any], generation_id: int = 0) -> None:
        """Stop the flow until the recovery ends: of a worker without partitions it is active."""
        self.stop_flow()
        await super().on_partitions_assigned(assigned, generation_id)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[Any, PolledRecords]]:  # noqa: ASYNC109
        """Poll, and yield one message per topic, under the first of its partitions."""
        polled, _ = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        for partitions in () if self.should_stop else _by_topic(polled):
            # A rebalance began during the delivery; it seeks to the committed offsets.
            if not self.flow_active or generation != self.app.consumer_generation_id:
                return
            tp = next(iter(partitions))
            # Faust drops what is before it; a poll that a rebalance has ended may have left it.
            self._read_offset[tp] = None
            yield tp, self._to_polled(tp, partitions)

    def _to_polled(self, tp: Any, partitions: Mapping[Any, Sequence[Any]]) -> PolledRecords:
        last = partitions[tp][-1]
        polled = PolledRecords(
            *tp, last.offset, 0.0, 0, (), None, None, None, 0, 0, tp,
            generation_id=self.app.consumer_generation_id,
        )  # fmt: skip
        polled.partitions = partitions
        return polled

    async def _wait_next_records(self, timeout: float) -> tuple[Any, Any]:  # noqa: ASYNC109
        """Poll until the flow is active at the end of a poll; read other polls again."""
        while True:
            records, active = await super()._wait_next_records(timeout)
            if self.flow_active or self.should_stop:
                return records, active
            self._unread(records)

    def _unread(self, records: Mapping[Any, list[Any]]) -> None:
        """Seek back to the first record, or gap, of each partition, before any other task can."""
        starts = {TopicPartition(*tp): found[0].offset for tp, found in records.items()}
        while self.observer.gaps:
            partition, start, _ = self.observer.gaps.popleft()
            # The recovery may have sought since the gap was observed.
            start = max(start, self._committed_offset.get(TP(*partition)) or 0)
            starts[partition] = min(start, starts.get(partition, start))
        for partition, start in starts.items():
            with suppress(IllegalStateError):
                self.kafka_consumer.seek(partition, start)

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109
        try:
            # A copy: Faust changes the set during the wait, and an empty one means all.
            records = await super()._getmany(frozenset(active_partitions), timeout)
        except NoOffsetForPartitionError as error:
            await self._find_position(error.args[0])
            return {}
        except OffsetOutOfRangeError as error:
            # After a rebalance the first fetch of the new owner gets the same error.
            with suppress(IllegalStateError):
                for partition, offset in error.args[0].items():
                    await self._reset_offset(TP(*partition), offset)
            return {}
        if self.flow_active:
            is_busy = any(tp.topic not in self.transport.idle_topics for tp in records)
            self._thread.limit_polls(BUSY if is_busy else IDLE)
        # Reported before the records behind them are delivered.
        while self.flow_active and self.observer.gaps:
            partition, start, end = self.observer.gaps.popleft()
            self.on_gap(TP(*partition), start, end)
        return records

    # Positions

    async def _find_position(self, partition: TopicPartition) -> None:
        """Seek to the beginning of a partition that has neither a commit nor a position."""
        consumer = self.kafka_consumer
        assignment = consumer._subscription.subscription.assignment  # noqa: SLF001
        if partition in assignment.tps and not assignment.state_value(partition).has_valid_position:
            await consumer.seek_to_beginning(partition)

    async def _reset_offset(self, tp: Any, expected: int) -> None:
        """Reset a partition to the beginning of a log that does not have the next offset.

        A truncated log may hold records that were written since, at offsets that were committed
        before; they cannot be distinguished from old ones, so all are read.
        """
        self.local.on_log_replaced(TopicPartition(*tp))
        start = (await self.earliest_offsets(tp))[tp]
        end = (await self.highwaters(tp))[tp]
        await self._thread.seek_wait({tp: start})
        reason: Literal["truncated", "expired"] = "expired" if expected < start else "truncated"
        self._acked[tp].clear()
        self._committed_offset[tp] = self._start_offsets[tp] = start
        self._read_offset[tp] = start or None
        self.on_offset_reset(OffsetReset(tp, expected, start, end, reason))
        await self._commit({tp: start})

    async def perform_seek(self) -> None:
        """Seek streams to their committed offsets; without one, to the beginning of their log.

        Faust sends a request for each partition, and omits those without a commit.
        """
        streams = {tp for tp in self.assignment() if not self._is_changelog_tp(tp)}
        committed = await self._thread.committed(streams)
        fresh = [TopicPartition(*tp) for tp in streams if not committed[tp]]
        for tp in streams - set(fresh):
            self.kafka_consumer.seek(TopicPartition(*tp), committed[tp])
        if fresh:
            await self._thread.seek_to_beginning(*fresh)
        self._metadata.clear()
        self._committed_offset |= {tp: committed[tp] or None for tp in streams}
        self._read_offset.update(committed)
        self._start_offsets = {
            tp: committed[tp] or await self.kafka_consumer.position(TopicPartition(*tp))
            for tp in streams
        }

    # Commits

    def acknowledge(self, tp: Any, offset: int) -> None:
        """Acknowledge an offset by its number: Faust's own API keeps the whole record."""
        committed = self._committed_offset[tp]
        if committed is None or offset >= committed:
            self._acked[tp].append(offset)
            self._n_acked += 1

    def commit_metadata_of(self, tp: Any) -> str:
        """Return the metadata of a partition's commit."""
        return self._metadata.get(tp, "")

    def _filter_committable_offsets(self, tps: Iterable[Any]) -> dict[Any, int]:
        """Add partitions where only the number of records finished ahead has changed."""
        offsets: dict[Any, int] = super()._filter_committable_offsets(tps)
        if not self.flow_active:
            # A rebalance has dropped the committed offsets; the start offsets are older.
            return offsets
        for tp, start in self._start_offsets.items():
            metadata = commit_metadata(self.finished_ahead(tp))
            if metadata != self._metadata.get(tp, ""):
                self._metadata[tp] = metadata
                offsets.setdefault(tp, self._committed_offset[tp] or start)
        return offsets

    async def commit_and_end_transactions(self) -> None:
        """Commit on stop, but not after a crash: the coordinator may never respond.

        That happens when an ACL is removed. Uncommitted records are read again.
        """
        if not self.app.crashed:
            await super().commit_and_end_transactions()

    async def _add_gap(self, *_: Any) -> None:
        """Ignore Faust's gaps: the offset tracker skips the real ones."""

    def _new_offset(self, tp: Any) -> int | None:
        """Return the offset to commit: acknowledgements arrive in order."""
        acknowledged = self._acked[tp]
        if not acknowledged:
            return None
        newest: int = max(acknowledged)
        acknowledged.clear()
        self._acked_index[tp].clear()
        return newest + 1


def _by_topic(polled: Mapping[Any, Sequence[Any]]) -> Iterable[Mapping[Any, Sequence[Any]]]:
    """Return the records of each topic by partition."""
    topics: dict[str, dict[Any, Sequence[Any]]] = {}
    for (topic, number), records in polled.items():
        topics.setdefault(topic, {})[TP(topic, number)] = records
    return topics.values()


class DirectTransport(Transport):
    """Faust's transport with `DirectConsumer`."""

    Consumer = DirectConsumer
    member: StaticMember

    idle_topics: frozenset[str] = frozenset()
    """Names of topics whose records leave a stage idle."""
