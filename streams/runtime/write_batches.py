"""Batches of records whose effects are written together: those of one event-loop iteration."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextvars import Context
from itertools import compress
from typing import Generic, TypeVar

T = TypeVar("T")

BATCH_RECORDS = 64
"""Maximum number of records in a batch, as in a poll: 2 to 10 ms of processing, 20 with chained
stages."""


class WriteBatches(Generic[T]):
    """The open batch, until the next iteration of the event loop, and those that are written.

    Args:
        write: writes the effects of the records of a batch.
        on_done: called with the records and the task of a batch that was written, or cancelled.
        on_close: called when a batch takes no further record.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], Awaitable[None]],
        on_done: Callable[[Sequence[T], asyncio.Task[None]], None],
        on_close: Callable[[], object] = lambda: None,
    ) -> None:
        self._write = write
        self._on_done = on_done
        self._on_close = on_close
        self._records: dict[asyncio.Task[None], list[T]] = {}
        self._open: asyncio.Task[None] | None = None
        self._keys: set[bytes] = set()

    def add(self, record: T, key: bytes | None = None) -> asyncio.Task[None]:
        """Add a record to the open batch; return the task that writes it.

        ``key`` is that of a record of an ordered stage.
        """
        task = self._open or self._open_batch()
        records = self._records[task]
        records.append(record)
        if key is not None:
            self._keys.add(key)
        if len(records) == BATCH_RECORDS:
            self.close()
        return task

    def may_join(self, key: bytes) -> bool:
        """Return whether the next record of a key may be added to a batch that has one of it.

        Its effects are written behind those of the other, also when these are written again.
        """
        return key in self._keys

    def close(self) -> None:
        """Add no further record to the open batch."""
        self._open = None
        self._keys.clear()
        self._on_close()

    def withdraw(
        self, is_withdrawn: Callable[[T, asyncio.Task[None]], bool]
    ) -> Iterator[tuple[T, asyncio.Task[None]]]:
        """Cancel the batches that have withdrawn records; yield their other records.

        These have to be added again, to batches of their own; each comes with its former task.
        """
        self.close()
        for task, records in list(self._records.items()):
            withdrawn = [is_withdrawn(each, task) for each in records]
            if any(withdrawn) and task.cancel():
                others = [each for each, lost in zip(records, withdrawn, strict=True) if not lost]
                records[:] = compress(records, withdrawn)
                yield from ((each, task) for each in others)
                self.close()

    def _open_batch(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self._run(), context=Context())
        task.add_done_callback(self._end)
        self._records[task], self._open = [], task
        return task

    async def _run(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._open is task:
            self.close()
        await self._write(self._records[task])

    def _end(self, task: asyncio.Task[None]) -> None:
        self._on_done(self._records.pop(task), task)
