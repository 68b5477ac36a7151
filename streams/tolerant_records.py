"""Reading of record batches in which the name of a header is no text.

aiokafka reads header names strictly: one that is not UTF-8, which clients in other languages can
write, would stop its partition for ever.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy


class _TolerantBytes(bytearray):
    """Bytes whose parts are read as text whatever they are."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _TolerantBytes(part) if isinstance(index, slice) else part

    def decode(self, *_: str) -> str:
        return super().decode("utf-8", "backslashreplace")


class _TolerantBatch:
    """A batch of records, read fast, and once more tolerantly where that fails."""

    def __init__(self, data: memoryview, batch: Any) -> None:
        self._data = data
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._batch))
        except UnicodeDecodeError:
            return iter(self._read_tolerantly())

    def _read_tolerantly(self) -> list[Any]:
        batch: Any = _DefaultRecordBatchPy(self._data)
        batch._maybe_uncompress()  # noqa: SLF001  (the decoder has no door for this)
        batch._buffer = _TolerantBytes(batch._buffer)  # noqa: SLF001
        return list(batch)


class TolerantRecords(_MemoryRecordsPy):
    """Takes the place of aiokafka's `MemoryRecords`."""

    def next_batch(self, *_: Any) -> Any:
        """Return the next batch, None behind the last one."""
        data = self._next_slice
        batch = super().next_batch()
        return _TolerantBatch(data, batch) if isinstance(batch, DefaultRecordBatch) else batch


def install() -> None:
    """Let all consumers of this process read tolerantly."""
    fetcher.MemoryRecords = TolerantRecords
