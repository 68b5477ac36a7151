"""Recovery: restores the tables of an assignment from their changelogs, then resumes its streams.

One task per assignment, which the next rebalance cancels. Faust's own recovery continues beside the
next rebalance: it resumed streams before their tables were restored, or waited without end for rows
that a poll of the assignment before had taken (1 of 32 killed workers).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from faust.types import TP
from mode.services import Service

from streams.cluster.record_batches import UndecodableBatch
from streams.state_stores import Checkpoint, StateStore, digest_of

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_SECONDS = 30
"""Timeout of a request, and of polls without rows; then the recovery starts again. A broker
restarts in less."""

RETRY_SECONDS = 1

POLL_MILLISECONDS = 1_000

POLL_ROWS = 500
"""Rows of one poll. 500 take 0.3 ms; 2,000 are no faster."""


class TableRecovery(Service):
    """Restores the tables of an app after each rebalance, and resumes its streams.

    While it runs no other task reads the changelogs; afterwards they are paused.

    Attributes:
        read_offsets: last read offset of each assigned changelog partition that was restored
            before; -1 when it has no record.
        assigned: the changelog partitions of the assignment.
        completed: set after the first recovery.
        on_undecodable: called with partition and batch that cannot be decoded.
    """

    abstract = False
    on_undecodable: Callable[[TP, UndecodableBatch], object]

    def __init__(self, app: Any, tables: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.app = app
        self.tables = tables
        self.read_offsets: dict[TP, int] = {}
        self.completed = asyncio.Event()
        self.assigned: set[TP] = set()
        self._changelogs: list[TopicPartition] = []
        self._ends: dict[TP, int] = {}
        self._unverified: dict[TP, Checkpoint] = {}
        self._task: asyncio.Task[None] | None = None

    # Rebalances

    def on_partitions_revoked(self, _revoked: set[TP]) -> None:
        """Cancel the recovery: its partitions may have another owner."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._ends = {}

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], _newly: set[TP], _generation: int = 0
    ) -> None:
        """Start the recovery of a new assignment."""
        self.on_partitions_revoked(revoked)
        changelogs = {tp for tp in assigned if tp.topic in self.tables.changelog_topics}
        for topic, store in self.tables.stores.items():
            store.assign({tp.partition for tp in changelogs if tp.topic == topic})
        self.assigned = changelogs
        self._changelogs = [TopicPartition(*tp) for tp in changelogs]
        self.read_offsets = {tp: at for tp, at in self.read_offsets.items() if tp in changelogs}
        self._unverified = {tp: at for tp, at in self._unverified.items() if tp in changelogs}
        self._task = asyncio.create_task(self._run(assigned - changelogs), name="recovery")

    async def on_stop(self) -> None:
        """Cancel the recovery."""
        self.on_partitions_revoked(set())

    async def _run(self, streams: set[TP]) -> None:
        try:
            while not await self._restore_and_seek():  # noqa: ASYNC110  (a backoff)
                await asyncio.sleep(RETRY_SECONDS)
            await self.app._fetcher.maybe_start()  # noqa: SLF001
            self._check_current()
            self._resume(streams)
            await self.app.on_rebalance_complete.send()
        except Exception as error:  # noqa: BLE001  (the stage restarts)
            if not self.should_stop:
                await self.crash(error)

    def _check_current(self) -> None:
        """End a cancelled recovery: libraries may drop the cancellation.

        `asyncio.wait_for` of Python 3.11 does so when its future ends at the same time.
        """
        if self._task is not asyncio.current_task():
            raise asyncio.CancelledError

    async def _restore_and_seek(self) -> bool:
        """Restore the tables and seek the streams; return whether no passing error occurred."""
        try:
            await self._restore_tables()
            async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                await self.app.consumer.perform_seek()
        except (KafkaError, TimeoutError) as error:
            # No assignment: the next rebalance has begun.
            is_transient = not isinstance(error, KafkaError) or error.retriable
            if not is_transient and not isinstance(error, IllegalStateError):
                raise
            log.warning("%s: the recovery of the tables is restarted: %r", self.app.conf.id, error)
            return False
        return True

    def _resume(self, streams: set[TP]) -> None:
        """Resume the streams. One step: Faust's queues are cleared when their flow resumes."""
        consumer = self.app.consumer
        consumer.kafka_consumer.pause(*self._changelogs)
        consumer.resume_partitions(streams)
        self.app.flow_control.resume()
        consumer.resume_flow()
        self.tables.on_actives_ready()
        self.tables.on_standbys_ready()
        self.app.on_rebalance_end()
        self.completed.set()

    # Changelogs

    def extend(self, tp: TP, offset: int) -> None:
        """Extend a running recovery to a row that this worker has written and applied meanwhile.

        The rows before it are applied after it, so it must be read again.
        """
        if tp in self._ends:
            self._ends[tp] = max(self._ends[tp], offset + 1)

    async def _restore_tables(self) -> None:
        started = read_at = time.monotonic()
        await self._seek_changelogs()
        count = 0
        while pending := await self._pending():
            rows = await self._poll(pending)
            self._check_current()
            for tp, found in rows.items():
                count += await self._restore(TP(*tp), found)
            if rows:
                read_at = time.monotonic()
            elif time.monotonic() - read_at > REQUEST_TIMEOUT_SECONDS:
                raise TimeoutError(f"no row in {REQUEST_TIMEOUT_SECONDS} s of {pending}")
        self._check_current()
        if self._unverified:
            await self._drop_unverified()
            return await self._restore_tables()
        for tp, end in self._ends.items():
            self.read_offsets[tp] = max(end - 1, self.read_offsets[tp])
        self._ends = {}
        log.info("%s: %d rows in %.2f s", self.app.conf.id, count, time.monotonic() - started)
        return None

    async def _seek_changelogs(self) -> None:
        """Seek to the first unread row of each changelog, and get the ends of all."""
        if not self._changelogs:
            return
        consumer = self.app.consumer.kafka_consumer
        # From here on rows that are written meanwhile extend the recovery.
        self._ends = {TP(*each): self._ends.get(TP(*each), 0) for each in self._changelogs}
        async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
            starts, ends = await asyncio.gather(
                consumer.beginning_offsets(self._changelogs), consumer.end_offsets(self._changelogs)
            )
        self._ends = {tp: max(end, ends[TopicPartition(*tp)]) for tp, end in self._ends.items()}
        for partition in self._changelogs:
            tp = TP(*partition)
            first = await self._first_unread(tp, starts[partition], ends[partition])
            self.read_offsets[tp] = first - 1
            consumer.seek(partition, first)
        consumer.resume(*self._changelogs)

    async def _pending(self) -> list[TopicPartition]:
        """Return the changelogs whose position is before their end.

        The position, not the last row: the last offsets of a log may have no records.
        """
        consumer = self.app.consumer.kafka_consumer
        async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
            return [
                partition
                for partition in self._changelogs
                if await consumer.position(partition) < self._ends[TP(*partition)]
            ]

    async def _poll(self, pending: Collection[TopicPartition]) -> Mapping[TopicPartition, Any]:
        # A poll with buffered rows never suspends; heartbeats share the loop.
        await asyncio.sleep(0)
        consumer = self.app.consumer.kafka_consumer
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                rows: Mapping[TopicPartition, Any] = await consumer.getmany(
                    *pending, timeout_ms=POLL_MILLISECONDS, max_records=POLL_ROWS
                )
                return rows
        except NoOffsetForPartitionError:
            return {}  # from before the seek: changelogs have no commits
        except OffsetOutOfRangeError as error:
            log.warning("%s: %r; these changelogs are read again", self.app.conf.id, error)
            for partition in error.args[0]:
                del self.read_offsets[TP(*partition)]
            await self._seek_changelogs()
            return {}

    async def _first_unread(self, tp: TP, start: int, end: int) -> int:
        """Return the offset from which to read a changelog.

        A partition that was not restored by this process is read from its checkpoint, the record of
        which is read again: it must be the same.
        """
        if tp in self.read_offsets:
            return max(start, self.read_offsets[tp] + 1)
        store: StateStore = self.tables.stores[tp.topic]
        checkpoint = store.checkpoint(tp.partition)
        if checkpoint is not None and start <= checkpoint.offset < end:
            self._unverified[tp] = checkpoint
            return checkpoint.offset
        await self._drop(tp)
        return start

    async def _drop(self, tp: TP) -> None:
        for _ in self.tables.stores[tp.topic].drop(tp.partition):
            await asyncio.sleep(0)

    async def _verify(self, tp: TP, row: Any) -> bool:
        """Return whether the first record is that of the checkpoint, else drop the local rows.

        Another one was compacted away, or belongs to a topic that was created again.
        """
        if self._unverified[tp] != Checkpoint(row.offset, _digest(row)):
            await self._drop_unverified(tp)
            await self._seek_changelogs()
            return False
        del self._unverified[tp]
        return True

    async def _drop_unverified(self, *partitions: TP) -> None:
        """Drop the local rows of these partitions, or of all that are not verified."""
        for tp in partitions or list(self._unverified):
            log.info("%s: local rows of %s-%d are outdated", self.app.conf.id, *tp)
            await self._drop(tp)
            self._check_current()
            del self._unverified[tp], self.read_offsets[tp]

    async def _restore(self, tp: TP, rows: Sequence[Any]) -> int:
        """Apply rows of a changelog to their table; return their number."""
        if tp in self._unverified and not await self._verify(tp, rows[0]):
            return 0
        store = self.tables.stores[tp.topic]
        for row in rows:
            if isinstance(row.value, UndecodableBatch):
                self.on_undecodable(tp, row.value)
            else:
                store.put(row.key, row.value, tp.partition)
        store.set_checkpoint(tp.partition, Checkpoint(rows[-1].offset, _digest(rows[-1])))
        self.read_offsets[tp] = max(rows[-1].offset, self.read_offsets[tp])
        return len(rows)


def _digest(row: Any) -> int:
    return 0 if isinstance(row.value, UndecodableBatch) else digest_of(row.key, row.value)
