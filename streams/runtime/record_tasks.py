"""The tasks of a stage's records in progress: one per record, or one per batch of records."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextvars import Context
from functools import partial
from typing import Any, Protocol

from streams.records import Incoming, TableWrite
from streams.runtime.chaining import Processed
from streams.runtime.concurrency import RESERVED, Reservation
from streams.runtime.offset_tracker import Partition
from streams.runtime.schedule import Scheduled
from streams.runtime.write_batches import WriteBatches


class PendingRows(Protocol):
    """The rows of the records in the open batch."""

    def add_pending(self, rows: Sequence[TableWrite]) -> None:
        """Let the records that are written together with these rows read them."""

    def clear_pending(self) -> None: ...


class Processor(Protocol):
    """Processes records; an error that it raises ends the stage."""

    @property
    def writer(self) -> PendingRows: ...

    async def run(self, record: Incoming) -> None:
        """Process one record."""

    def run_sync(self, record: Incoming) -> Processed | None:
        """Process a record without waiting; None when it needs `run`."""

    async def write_batch(self, batch: Sequence[Processed]) -> None:
        """Write the effects of records that were processed without waiting."""


_Batched = tuple[Processed, Scheduled[Any]]

RecordId = tuple[Partition, int]
"""Partition and offset of a record."""


class RecordTasks:
    """The records in progress.

    Args:
        on_ended: called with each record that ended, finished or cancelled, and its entry in the
            schedule.
        on_task_done: called after the records of a task.
        on_failure: called with an error that ends the stage.

    Attributes:
        processor: processes the records; set before the first one.
    """

    processor: Processor

    def __init__(
        self,
        *,
        on_ended: Callable[[RecordId, Scheduled[Any] | None], object],
        on_task_done: Callable[[], object],
        on_failure: Callable[[BaseException], object],
    ) -> None:
        self._on_ended = on_ended
        self._on_task_done = on_task_done
        self._on_failure = on_failure
        self._tasks: dict[RecordId, asyncio.Task[None]] = {}
        self._orphans: set[asyncio.Task[None]] = set()
        self._batches = WriteBatches(self._write, self._on_batch_done, on_close=self._clear_pending)

    def __len__(self) -> int:
        """The number of records in progress, without orphans."""
        return len(self._tasks)

    @property
    def running(self) -> set[asyncio.Task[None]]:
        """The tasks of all records, orphans included."""
        return {*self._tasks.values(), *self._orphans}

    def owned_by_current(self, records: Iterable[Incoming]) -> list[RecordId]:
        """Return the ids of the records whose task is the current one, which may finish them."""
        current, tasks = asyncio.current_task(), self._tasks
        return [each for each in map(record_id_of, records) if tasks.get(each) is current]

    def start(
        self,
        record: Incoming,
        slot: Reservation | None = None,
        entry: Scheduled[Any] | None = None,
    ) -> asyncio.Task[None]:
        """Start the task of a record.

        Args:
            record: the record.
            slot: a slot that is reserved for it.
            entry: its entry in the schedule.
        """
        # A fresh context: Faust's own keeps the event, and with it the record.
        context = Context()
        context.run(RESERVED.set, slot)
        task = asyncio.create_task(self.processor.run(record), context=context)
        record_id = record_id_of(record)
        self._tasks[record_id] = task
        task.add_done_callback(partial(self._on_record_done, record_id, slot, entry))
        return task

    def write(self, processed: Processed, entry: Scheduled[Any]) -> None:
        """Write the effects of a record in the open batch."""
        self._tasks[record_id_of(processed.record)] = self._add(processed, entry)

    def may_join(self, key: bytes | None) -> bool:
        """Return whether a record may be written in the batch of the one before it of its key."""
        return key is not None and self._batches.may_join(key)

    def orphan(self, partition: Partition) -> None:
        """Turn the tasks of a partition into orphans: they go on, but acknowledge nothing."""
        self._batches.close()
        for record_id in [each for each in self._tasks if each[0] == partition]:
            self._orphans.add(self._tasks.pop(record_id))

    def retain(self, partitions: Collection[Partition]) -> None:
        """Cancel the tasks of all other partitions.

        Other records in the batches of these tasks are added to new batches and written again.
        """

        def is_revoked(batched: _Batched, task: asyncio.Task[None]) -> bool:
            record = batched[0].record
            is_orphan = self._tasks.get(record_id_of(record)) is not task
            return not is_orphan and partition_of(record) not in partitions

        for (processed, entry), task in self._batches.withdraw(is_revoked):
            record_id = record_id_of(processed.record)
            renewed = self._add(processed, entry)
            if self._tasks.get(record_id) is task:
                self._tasks[record_id] = renewed
            else:
                self._orphans.add(renewed)
        for (partition, _), task in list(self._tasks.items()):
            if partition not in partitions:
                task.cancel()

    def _add(self, processed: Processed, entry: Scheduled[Any]) -> asyncio.Task[None]:
        # Before the record is added: a batch that is full then is closed.
        self.processor.writer.add_pending(processed.rows)
        return self._batches.add((processed, entry), entry.key)

    async def drain(self, grace: float) -> None:
        """Wait for all tasks up to a grace period, and cancel the rest."""
        try:
            if self.running and grace:
                await asyncio.wait(self.running, timeout=grace)
        finally:
            await cancel(*self.running)

    def record_failure(self, task: asyncio.Task[None]) -> None:
        """Report the error of a task that ended, if any."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)

    async def _write(self, batch: Sequence[_Batched]) -> None:
        await self.processor.write_batch([processed for processed, _ in batch])

    def _clear_pending(self) -> None:
        # The processor is set after this object is made.
        self.processor.writer.clear_pending()

    def _on_batch_done(self, batch: Sequence[_Batched], task: asyncio.Task[None]) -> None:
        for processed, entry in batch:
            self._forget(record_id_of(processed.record), entry, task)
        self._end(task)

    def _on_record_done(
        self,
        record_id: RecordId,
        slot: Reservation | None,
        entry: Scheduled[Any] | None,
        task: asyncio.Task[None],
    ) -> None:
        self._forget(record_id, entry, task)
        if slot is not None:
            # A task that was cancelled before it began has not claimed its slot.
            slot.release()
        self._end(task)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._orphans.discard(task)
        self.record_failure(task)
        self._on_task_done()

    def _forget(
        self, record_id: RecordId, entry: Scheduled[Any] | None, task: asyncio.Task[None]
    ) -> None:
        # A reassigned partition may have started the same record again meanwhile.
        if self._tasks.get(record_id) is task:
            del self._tasks[record_id]
        self._on_ended(record_id, entry)


def partition_of(record: Incoming) -> Partition:
    return record.topic, record.partition


def record_id_of(record: Incoming) -> RecordId:
    return (record.topic, record.partition), record.offset


async def cancel(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
