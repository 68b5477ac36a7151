"""State stores: the rows of the tables, in memory or on disk.

What a table asks of its store, what a store on disk asks of a table, and the store in memory.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Protocol
from zlib import crc32


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The changelog record up to which a store has all rows of a partition.

    Attributes:
        offset: of that record.
        digest: of its key and value: a changelog that was created again has another record there.
    """

    offset: int
    digest: int


def digest_of(key: bytes, value: bytes | None) -> int:
    """Return the digest of a changelog record, 32 bits; costs 0.3 µs."""
    return crc32(b"" if value is None else value, crc32(key))


@dataclass(frozen=True, slots=True)
class RowFields:
    """The fields of a row that a store on disk indexes; sweeps would have to read all rows.

    Attributes:
        expires_at: reads the expiry of a row, epoch seconds.
        is_counted: whether `IndexedTable.counted` counts a row.
    """

    expires_at: Callable[[bytes], float]
    is_counted: Callable[[bytes], bool] = lambda _: False


class StateStore(Protocol):
    """The rows of a table, each with the partition of its changelog record.

    Rows of partitions that are not assigned are not visible.
    """

    def open(self) -> None:
        """Open, before any other call."""

    def start_flush(self) -> None:
        """Start to persist what is not persisted yet."""

    def close(self) -> None:
        """Persist what is not persisted yet, and release the files."""

    def __len__(self) -> int: ...

    @property
    def size_bytes(self) -> int:
        """Bytes of all keys and rows."""

    def assign(self, partitions: Collection[int]) -> None:
        """Make the rows of these partitions visible, and no others."""

    def get(self, key: bytes) -> bytes | None: ...

    def put(self, key: bytes, row: bytes | None, partition: int) -> None:
        """Store a row; None deletes that of the partition."""

    def slices(self, rows: int) -> Iterator[list[tuple[bytes, bytes]]]:
        """Iterate over slices of so many rows; each has the rows as they are when it is read."""

    def checkpoint(self, partition: int) -> Checkpoint | None:
        """Return where the recovery of a partition may resume, None when it may not."""

    def set_checkpoint(self, partition: int, checkpoint: Checkpoint) -> None:
        """State that all rows up to a record were put."""

    def drop(self, partition: int) -> Iterator[None]:
        """Drop the rows and the checkpoint of a partition, a slice for each item."""


class IndexedStore(StateStore, Protocol):
    """A store that indexes its rows by their `RowFields`."""

    @property
    def counted(self) -> int:
        """Number of visible rows that `RowFields.is_counted` counts."""

    def expired(self, now: float) -> Iterator[list[bytes]]:
        """Yield the keys of the expired visible rows, a slice at a time."""

    def first_to_expire(self, size_bytes: int) -> Iterator[list[bytes]]:
        """Yield the keys of the visible rows that expire first and have so many bytes."""


class InMemoryStore:
    """Rows of one table in dictionaries, for thousands; a recovery reads the whole changelog."""

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}
        self._partitions: dict[bytes, int] = {}

    def open(self) -> None:
        """Do nothing."""

    def start_flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing: the next start has a store of its own."""

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def size_bytes(self) -> int:
        """Bytes of all keys and rows; costs 40 ns a row."""
        return sum(map(len, self._rows)) + sum(map(len, self._rows.values()))

    def assign(self, partitions: Collection[int]) -> None:
        """Drop the rows of all other partitions; costs 0.1 µs for each row."""
        self._drop({number for number in self._partitions.values() if number not in partitions})

    def _drop(self, lost: Collection[int]) -> None:
        for key in [key for key, number in self._partitions.items() if number in lost]:
            del self._rows[key], self._partitions[key]

    def get(self, key: bytes) -> bytes | None:
        return self._rows.get(key)

    def put(self, key: bytes, row: bytes | None, partition: int) -> None:
        if row is not None:
            self._rows[key] = row
            self._partitions[key] = partition
        elif self._partitions.get(key) == partition:
            del self._rows[key], self._partitions[key]

    def slices(self, rows: int) -> Iterator[list[tuple[bytes, bytes]]]:
        keys = list(self._rows)
        for first in range(0, len(keys), rows):
            yield [
                (key, row)
                for key in keys[first : first + rows]
                if (row := self._rows.get(key)) is not None
            ]

    def checkpoint(self, partition: int) -> Checkpoint | None:
        """Return None: nothing survives the process."""

    def set_checkpoint(self, partition: int, checkpoint: Checkpoint) -> None:
        """Do nothing."""

    def drop(self, partition: int) -> Iterator[None]:
        self._drop({partition})
        yield
