"""Batches of records whose effects are written together: those of a partition in one iteration."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from streams.runtime.offset_tracker import Partition

T = TypeVar("T")

BATCH_RECORDS = 64
"""Maximum number of records in a batch, as in a poll: 2 to 10 ms of processing."""


@dataclass(slots=True)
class _Batch(Generic[T]):
    records: list[T]
    task: asyncio.Task[None]


class WriteBatches(Generic[T]):
    """Open batches, one per partition, each until the next iteration of the event loop.

    Args:
        write: writes the effects of the records of a batch.
        on_done: called with the records and the task of a batch that was written, or cancelled.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], Awaitable[None]],
        on_done: Callable[[Sequence[T], asyncio.Task[None]], None],
    ) -> None:
        self._write = write
        self._on_done = on_done
        self._open: dict[Partition, _Batch[T]] = {}

    def add(self, partition: Partition, record: T) -> asyncio.Task[None]:
        """Add a record to the batch of its partition; return the task that writes it."""
        batch = self._open.get(partition)
        if batch is None:
            records: list[T] = []
            task = asyncio.create_task(self._run(partition, records), context=Context())
            task.add_done_callback(partial(self._on_done, records))
            batch = self._open[partition] = _Batch(records, task)
        batch.records.append(record)
        if len(batch.records) == BATCH_RECORDS:
            self.close(partition)
        return batch.task

    def close(self, partition: Partition) -> None:
        """Add no further record to the batch of a partition."""
        self._open.pop(partition, None)

    def close_all(self) -> None:
        """Add no further record to any batch."""
        self._open.clear()

    async def _run(self, partition: Partition, records: list[T]) -> None:
        batch = self._open.get(partition)
        if batch is not None and batch.records is records:
            self.close(partition)
        await self._write(records)
