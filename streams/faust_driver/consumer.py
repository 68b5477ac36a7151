"""Faust's consumer without its shortcuts: nothing read is dropped, nothing unfinished committed."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import iscoroutine
from typing import Any, Literal

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers.aiokafka import Consumer, Transport
from faust.types import TP

from streams.cluster.commit_metadata import commit_metadata
from streams.cluster.record_batches import OBSERVER, BatchObserver, UndecodableBatch
from streams.faust_driver.static_member import MemberThread, StaticMember
from streams.observability.loop_delay import measure_loop_delay

log = logging.getLogger(__name__)

DELIVERY_AND_SUSPENSION = 2
"""What Faust waits for with each record: its delivery, or that a rebalance suspends the flow."""

STREAM_WAIT_MILLISECONDS = 1500
"""Longest wait of a fetch for records, as in Faust: an idle worker asks that often."""

RECOVERY_WAIT_MILLISECONDS = 50
"""The same until the tables are recovered. Whatever follows waits behind the last fetch of the
changelogs, which finds nothing: at 1500 ms a stage was 1.4 s later ready after its assignment."""


@dataclass(frozen=True, slots=True)
class OffsetReset:
    """The reset of a partition whose log does not have the next offset (OFFSET_OUT_OF_RANGE).

    Attributes:
        expected: the next offset.
        start: first offset of the log, from which the consumer reads on.
        end: offset behind its last record.
        reason: ``truncated``, the log ends before that offset; ``expired``, it begins behind it.
    """

    tp: Any
    expected: int
    start: int
    end: int
    reason: Literal["truncated", "expired"]

    @property
    def problem(self) -> str:
        """What happened and what follows from it, for people."""
        name = f"{self.tp.topic}-{self.tp.partition}"
        if self.reason == "expired":
            return (
                f"{name}: records at offsets {self.expected} to {self.start - 1} expired before "
                f"they were read; reading goes on at {self.start}. Raise retention.ms of the topic"
            )
        return (
            f"{name}: the log ends at {self.end}, before the committed offset {self.expected}: it "
            f"was truncated, or the topic was created again; all of it is read, from {self.start}"
        )


class _FetchObserver(BatchObserver):
    """Collects what the fetcher sees in its thread, for the loop of the stage.

    Attributes:
        gaps: partition, start and end of offsets without records; appended and popped atomically.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gaps: deque[tuple[TopicPartition, int, int]] = deque()

    def undecodable(self, partition: TopicPartition, batch: UndecodableBatch) -> bool:
        log.error("%s-%s: %s", partition.topic, partition.partition, batch.problem)
        return True

    def no_records(self, partition: TopicPartition, start: int, end: int) -> None:
        self.gaps.append((partition, start, end))


class _ConsumerThread(MemberThread):
    """Faust's thread; its consumer reads committed records only, its commits carry metadata."""

    async def on_start(self) -> None:
        """Connect, and measure the event loop of the thread for as long as it runs."""
        await super().on_start()
        self.add_future(measure_loop_delay(f"consumer-{self.consumer.transport.stage}"))

    def _create_worker_consumer(self, transport: Any) -> Any:
        OBSERVER.set(self.consumer.observer)
        consumer = super()._create_worker_consumer(transport)
        # Faust sets it for its own transactions only.
        consumer._isolation_level = "read_committed"  # noqa: SLF001
        return consumer

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


class DirectConsumer(Consumer):
    """Hands each record straight to its stream; commits what the offset tracker let through.

    Faust makes two tasks for every record, so that a full queue cannot hold up a rebalance; that
    is a third of the cost of a record. With buffers that hold more than one poll can bring, no
    queue is ever full: partitions are paused at 80 % of it.

    Faust lets streams flow while it is still looking for the committed offsets, and then empties
    their queues: what was read meanwhile is lost. Here they flow when all of that is over.
    """

    logger = logging.getLogger("faust.direct_consumer")

    on_gap: Callable[[Any, int, int], object]
    """Called with partition, start and end of offsets at which the log has no record."""

    on_offset_reset: Callable[[OffsetReset], object]
    """Called before the consumer reads a partition from the beginning of its log."""

    on_undecodable: Callable[[Any, UndecodableBatch], object]
    """Called with partition and batch of a changelog that cannot be decoded."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.observer = _FetchObserver()
        super().__init__(*args, **kwargs)
        self._waiting: set[Any] = set()
        self._starts: dict[Any, int] = {}
        self._metadata: dict[Any, str] = {}
        self.finished_ahead: Callable[[Any], int] = lambda _: 0

    def _new_consumer_thread(self) -> MemberThread:
        thread = _ConsumerThread(self, loop=self.loop, beacon=self.beacon)
        thread.member = self.transport.member
        return thread

    def start_of(self, tp: Any) -> int | None:
        """Return the offset where reading a partition goes on after the latest rebalance."""
        return self._starts.get(tp)

    def committed_or_start(self, tp: Any) -> int | None:
        """Return the committed offset; where nothing is committed, the one where reading began."""
        committed: int | None = self._committed_offset.get(tp)
        return self.start_of(tp) if committed is None else committed

    async def wait_first(self, *coros: Any, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        """Await the delivery; everything else is waited for as Faust does."""
        if len(coros) != DELIVERY_AND_SUSPENSION or not iscoroutine(coros[1]):
            return await super().wait_first(*coros, timeout=timeout)
        delivery, suspension = coros
        suspension.close()
        return await delivery

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Leave it to `streams.runtime.stall_detector` to see whether a partition stands still.

        Faust logs that it is slow, and ends the consumer (`AssertionError`) for one whose position
        is not known yet: a broker that takes a minute for it is slow, not a reason to crash.
        """

    # Which partitions flow

    def pause_partitions(self, tps: Iterable[Any]) -> None:
        """Stop the flow of partitions, also of those that a full buffer has stopped already."""
        paused = set(tps)
        self._waiting -= paused
        self._buffered_partitions -= paused
        super().pause_partitions(paused)

    def resume_partitions(self, tps: Iterable[Any]) -> None:
        """Let changelogs flow at once, streams together with the flow as a whole."""
        resumed = set(tps)
        streams = {tp for tp in resumed if not self._is_changelog_tp(tp)}
        self._waiting |= streams
        super().resume_partitions(resumed - streams)

    def stop_flow(self) -> None:
        """Stop the flow for a rebalance."""
        super().stop_flow()
        self._thread.limit_fetch_wait(RECOVERY_WAIT_MILLISECONDS)

    def resume_flow(self) -> None:
        """Let everything flow; Faust has emptied the queues by now."""
        if not self.app.in_recovery:
            self._thread.limit_fetch_wait(STREAM_WAIT_MILLISECONDS)
        waiting, self._waiting = self._waiting, set()
        super().resume_partitions(waiting)
        super().resume_flow()

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109
        try:
            # Faust's set changes under the hands of the thread that reads; empty, it means all.
            records = await super()._getmany(frozenset(active_partitions), timeout)
        except NoOffsetForPartitionError as error:
            await self._thread.call_thread(self._find_position, error.args[0])
            return {}
        except OffsetOutOfRangeError as error:
            for partition, offset in error.args[0].items():
                await self._reset_offset(TP(*partition), offset)
            return {}
        # Reported before the records behind them are delivered.
        while self.observer.gaps:
            partition, start, end = self.observer.gaps.popleft()
            if not self._is_changelog_tp(partition):
                self.on_gap(TP(*partition), start, end)
        return {tp: self._changelog_rows(tp, found) for tp, found in records.items()}

    def _changelog_rows(self, tp: Any, records: list[Any]) -> list[Any]:
        """Put a tombstone in the place of a batch of a changelog that cannot be decoded.

        Recovery ends when the last offset is delivered, so the tombstone has the batch's last one.
        """
        if self._is_changelog_tp(tp):
            for record in records:
                if isinstance(batch := record.value, UndecodableBatch):
                    self.on_undecodable(tp, batch)
                    record.key, record.value, record.offset = b"", None, batch.next_offset - 1
        return records

    # Where reading goes on

    async def _find_position(self, partition: TopicPartition) -> None:
        """Read a partition without a committed offset from its beginning, if nothing else seeks.

        Runs in the thread of the consumer.
        """
        consumer = self._thread._ensure_consumer()  # noqa: SLF001
        assignment = consumer._subscription.subscription.assignment  # noqa: SLF001
        if partition in assignment.tps and not assignment.state_value(partition).has_valid_position:
            await consumer.seek_to_beginning(partition)

    async def _reset_offset(self, tp: Any, expected: int) -> None:
        """Reset a partition to the beginning of a log that does not have the next offset.

        A truncated log may hold records that were written since, at offsets that were committed
        before; nothing tells them from old ones, so all are read.
        """
        start = (await self.earliest_offsets(tp))[tp]
        end = (await self.highwaters(tp))[tp]
        await self._thread.seek_wait({tp: start})
        if self._is_changelog_tp(tp):
            return
        reason: Literal["truncated", "expired"] = "expired" if expected < start else "truncated"
        self._acked[tp].clear()
        self._committed_offset[tp] = self._starts[tp] = start
        self._read_offset[tp] = start or None
        self.on_offset_reset(OffsetReset(tp, expected, start, end, reason))
        await self._commit({tp: start})

    async def perform_seek(self) -> None:
        """Go back to what is committed; where nothing is, to the beginning, as Faust forgets."""
        await super().perform_seek()
        streams = {tp for tp in self.assignment() if not self._is_changelog_tp(tp)}
        fresh = {tp for tp in streams if self._committed_offset[tp] is None}
        if fresh:
            await self._thread.seek_to_beginning(*(TopicPartition(*tp) for tp in fresh))
        self._metadata.clear()
        self._starts = {
            tp: await self.position(tp) if tp in fresh else self._committed_offset[tp]
            for tp in streams
        }

    # What is committed

    def acknowledge(self, tp: Any, offset: int) -> None:
        """Let an offset be committed, by its number: Faust's own way keeps the whole record."""
        committed = self._committed_offset[tp]
        if committed is None or offset >= committed:
            self._acked[tp].append(offset)
            self._n_acked += 1

    def commit_metadata_of(self, tp: Any) -> str:
        """Return what the commit of a partition says beside its offset."""
        return self._metadata.get(tp, "")

    def _filter_committable_offsets(self, tps: Iterable[Any]) -> dict[Any, int]:
        """Return what is to be committed: also where only the number of finished ahead changed."""
        offsets: dict[Any, int] = super()._filter_committable_offsets(tps)
        for tp, start in self._starts.items():
            metadata = commit_metadata(self.finished_ahead(tp))
            if metadata != self._metadata.get(tp, ""):
                self._metadata[tp] = metadata
                offsets.setdefault(tp, self._committed_offset[tp] or start)
        return offsets

    async def commit_and_end_transactions(self) -> None:
        """Commit at the end, but not after a crash: its thread may never answer.

        That happens when an ACL is taken away. What is not committed is read again.
        """
        if not self.app.crashed:
            await super().commit_and_end_transactions()

    async def _add_gap(self, *_: Any) -> None:
        """Believe in no gap: the acknowledgements have passed over those that are real."""

    def _new_offset(self, tp: Any) -> int | None:
        """Return the offset to commit: what is acknowledged is acknowledged in order."""
        acknowledged = self._acked[tp]
        if not acknowledged:
            return None
        newest: int = max(acknowledged)
        acknowledged.clear()
        self._acked_index[tp].clear()
        return newest + 1


class DirectTransport(Transport):
    """Faust's transport with `DirectConsumer`."""

    Consumer = DirectConsumer
    member: StaticMember
    stage: str
