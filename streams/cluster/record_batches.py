"""Decoding of fetched record batches: one that cannot be decoded costs itself and nothing else.

aiokafka raises for an unknown codec, a wrong CRC or a broken structure, and fetches the same batch
again for ever; it decompresses without a bound, and reads the names of headers strictly. Here a
batch that cannot be decoded is reported with its raw bytes, and the fetch position moves past it.

Offsets at which the log has no record (transaction markers, aborted transactions, compaction) are
reported too: only the fetcher can tell them from records that were lost behind it.
"""

import logging
import struct
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import _MemoryRecordsPy

from streams.cluster.batch_decoding import (
    LENGTH_END,
    MAGIC_BYTE,
    BatchDecodeError,
    checked_batch,
    decoded_records,
)
from streams.observability.metrics import UNDECODABLE_BATCHES

log = logging.getLogger(__name__)


class UndecodableBatch(bytes):
    """The raw bytes of a batch, as the value of the record that takes its place.

    Attributes:
        reason: why it cannot be decoded.
        first_offset: the first offset that is lost with it.
        next_offset: where reading goes on.
    """

    reason: str
    first_offset: int
    next_offset: int

    @property
    def problem(self) -> str:
        """Offsets and reason, for people."""
        offsets = f"offset {self.first_offset}"
        if self.next_offset > self.first_offset + 1:
            offsets = f"offsets {self.first_offset} to {self.next_offset - 1}"
        return f"record batch at {offsets} cannot be decoded: {self.reason}"


Handler = Callable[[TopicPartition, UndecodableBatch], object]


class BatchObserver:
    """Learns of batches that a consumer cannot decode. Called in the consumer's fetch loop.

    This one skips them.

    Args:
        handler: called with each of them.

    Attributes:
        reported: base offset of the latest of them in each partition, and where reading was then.
    """

    def __init__(self, handler: Handler = lambda _partition, _batch: None) -> None:
        self.reported: dict[TopicPartition, tuple[int, int]] = {}
        self._handler = handler

    def undecodable(self, partition: TopicPartition, batch: UndecodableBatch) -> bool:
        """Handle a batch; return whether it is to be delivered as a record in its place."""
        log.error("%s-%s: %s; skipped", partition.topic, partition.partition, batch.problem)
        self._handler(partition, batch)
        return False

    def no_records(self, partition: TopicPartition, start: int, end: int) -> None:
        """Note that the log has no record from ``start`` up to ``end``, exclusive."""


OBSERVER: ContextVar[BatchObserver] = ContextVar("batch_observer", default=BatchObserver())  # noqa: B039
"""Set before a consumer starts, it is inherited by the consumer's fetch tasks."""


class _Placeholder:
    """The record that takes the place of a batch."""

    key = None
    checksum = None
    timestamp_type = 0
    headers = ()

    def __init__(self, batch: UndecodableBatch, timestamp: int) -> None:
        self.offset = batch.first_offset
        self.value = batch
        self.timestamp = timestamp


class CheckedBatch:
    """A batch as the fetcher sees it; one that cannot be decoded has at most a placeholder.

    Args:
        data: its bytes.
        position: gives the offset that is to be read next.
        following: base offset of the batch behind it, None when it is the last one.
        report: handles what cannot be decoded; returns whether a placeholder record is delivered.
    """

    # Of a header that cannot be trusted: an ordinary batch.
    producer_id: int | None = None
    is_transactional = False
    is_control_batch = False

    def __init__(
        self,
        data: memoryview,
        *,
        position: Callable[[], int],
        following: int | None,
        report: Callable[[UndecodableBatch], bool],
    ) -> None:
        self._data = data
        self._position = position
        self._following = following
        self._report = report
        self._batch: Any = None
        self._broken: str | None = None
        self.base_offset = 0
        self.next_offset = 0
        try:
            batch = checked_batch(data)
            self._take(batch)
        except BatchDecodeError as error:
            self._broken = str(error)
            if len(data) >= LENGTH_END:
                self.base_offset = struct.unpack_from(">q", data)[0]

    def validate_crc(self) -> bool:
        """Return True: a wrong CRC has been found before."""
        return True

    def _take(self, batch: Any) -> None:
        """Take over a batch, unless its offsets cannot be: no CRC covers the base offset."""
        end, limit = batch.next_offset, self._following
        if end <= self._position() or (limit is not None and end > limit):
            raise BatchDecodeError(f"impossible offsets: {batch.base_offset} to {end - 1}")
        self._batch = batch
        self.base_offset, self.next_offset = batch.base_offset, end
        self.producer_id = batch.producer_id
        self.is_transactional = batch.is_transactional
        self.is_control_batch = batch.is_control_batch

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        if self._broken is None:
            try:
                return iter(self._read())
            except BatchDecodeError as error:
                self._broken = str(error)
        batch = UndecodableBatch(self._data)
        batch.reason = self._broken
        batch.first_offset = max(self.base_offset, self._position())
        batch.next_offset = self.next_offset = self._behind(batch.first_offset)
        return iter([_Placeholder(batch, self._timestamp())] if self._report(batch) else [])

    def _behind(self, first_offset: int) -> int:
        """Return where reading goes on behind a batch that cannot be decoded.

        The last offset in a header whose CRC is wrong may be anything. Then it is the batch
        behind, else the next offset only: a step too far would skip good records, a step into the
        same batch again costs one fetch.
        """
        known = self._following if self._batch is None else int(self._batch.next_offset)
        return first_offset + 1 if known is None else max(known, first_offset + 1)

    def _read(self) -> list[Any]:
        if isinstance(self._batch, DefaultRecordBatch):
            return decoded_records(self._data, self._batch)
        try:
            return list(self._batch)
        except Exception as error:
            raise BatchDecodeError(f"damaged records: {error}") from error

    def _timestamp(self) -> int:
        return 0 if self._batch is None else max(0, int(self._batch.max_timestamp or 0))


class CheckedRecords(_MemoryRecordsPy):
    """Takes the place of aiokafka's `MemoryRecords`: what is truncated counts as a batch too."""

    position: Callable[[], int]
    report: Callable[[UndecodableBatch], bool]

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        if self._next_slice is None and data:
            self._take_rest(0)

    def _take_rest(self, start: int) -> None:
        self._next_slice = memoryview(self._buffer)[start:]
        self._pos = len(self._buffer)

    def _cache_next(self, *args: int) -> None:
        start = self._pos
        super()._cache_next(*args)
        if self._next_slice is not None and self._pos <= start + MAGIC_BYTE:
            self._take_rest(start)  # a length that leads nowhere, or backwards

    def next_batch(self, *_: Any) -> Any:
        """Return the next batch, None behind the last one."""
        data = self._next_slice
        if data is None:
            return None
        self._cache_next()
        following = self._next_slice
        return CheckedBatch(
            data,
            position=self.position,
            following=None if following is None else struct.unpack_from(">q", following)[0],
            report=self.report,
        )


class CheckedPartitionRecords(fetcher.PartitionRecords):
    """Takes the place of aiokafka's `PartitionRecords`: accounts for every offset it passes."""

    def __init__(self, tp: TopicPartition, records: CheckedRecords, *args: Any) -> None:
        self._observer = OBSERVER.get()
        records.position = lambda: self.next_fetch_offset
        records.report = self._report
        super().__init__(tp, records, *args)

    def _report(self, batch: UndecodableBatch) -> bool:
        base = int.from_bytes(batch[:8], "big", signed=True)
        reported, since = self._observer.reported.get(self._tp, (-1, 0))
        if reported == base and batch.first_offset > since:
            return False  # a step into a batch that was reported at its beginning
        self._observer.reported[self._tp] = base, batch.first_offset
        UNDECODABLE_BATCHES.labels(self._tp.topic).inc()
        return self._observer.undecodable(self._tp, batch)

    def _unpack_records(self) -> Iterator[Any]:
        end = self.next_fetch_offset
        for record in super()._unpack_records():
            if record.offset > end:
                self._observer.no_records(self._tp, end, record.offset)
            end = record.offset + 1
            yield record
        if self.next_fetch_offset > end:
            self._observer.no_records(self._tp, end, self.next_fetch_offset)


def install() -> None:
    """Let all consumers of this process decode so."""
    fetcher.MemoryRecords = CheckedRecords
    fetcher.PartitionRecords = CheckedPartitionRecords
