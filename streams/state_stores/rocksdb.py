"""Rows on disk in RocksDB, for tables of millions of rows.

The changelog is the write-ahead log: RocksDB's own is off, so a killed process loses the rows that
were not flushed, and the recovery reads them again from the checkpoint. Rows, index and checkpoints
are in one column family, so what is flushed is a prefix of the writes. (With three of them a flush
of one, even an "atomic" one, leaves the others behind.)

With 10,000,000 requests (1.1 GB on disk, 171 MiB of memory) a lookup takes 15 us, 6 for an unknown
key; 100,000 rows a second are restored, without Kafka (`benchmarks/tables.py`).
"""

import heapq
import logging
import struct
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from math import ceil
from pathlib import Path

from rocksdict import WriteBatch

from streams.state_stores import Checkpoint, RowFields
from streams.state_stores.rocksdb_files import RocksDbFiles, StateStoreError

log = logging.getLogger(__name__)

FORMAT = b"1"
"""Version of the layout; a store of another version is restored from its changelog."""

CHECKPOINT_AGE_SECONDS_MAX = 12 * 3600.0
"""Maximum age of a checkpoint. Older deletions may be gone from the changelog: Kafka keeps
tombstones for 24 hours (`streams.cluster.topic_admin.DELETE_RETENTION_SECONDS`)."""

CLOCK_STEP_SECONDS = 60.0
"""Tolerated step back of the clock; after a larger one the age of a checkpoint is unknown."""

BUFFERED_ROWS = 256
"""Rows that are written together, in 1 to 2 ms. One by one a row costs twice as much."""

SLICE_ROWS = 500
"""Rows of a slice, 5 to 10 ms with their deletion; the event loop does other work in between."""

_ROW = b"r"
"""Before the key of a row."""

_EXPIRY = b"x"
"""Before the key of an index entry: partition, expiry in seconds, and key. Its value is `_SIZE`."""

_STATE_OF = b"s"
"""Before the partition of a state."""

_HEADER = struct.Struct(">HQ?")
"""Before each row: its partition, expiry in seconds, and whether it is counted."""

_EXPIRY_KEY = struct.Struct(">cHQ")
_SIZE = struct.Struct(">I")
_PARTITION = struct.Struct(">cH")

_STATE = struct.Struct(">qIdQQQ")
"""Of a partition: offset and digest of the checkpoint, when it was saved, and the totals."""

_SECONDS_MAX = 2**63


@dataclass(slots=True)
class _Totals:
    """Totals of a partition: rows, bytes of keys and rows, and counted rows."""

    rows: int = 0
    size_bytes: int = 0
    counted: int = 0

    def add(self, sign: int, key: bytes, size: int, *, is_counted: bool) -> None:
        self.rows += sign
        self.size_bytes += sign * (len(key) + size)
        self.counted += sign * is_counted


class _AtomicWrite:
    """An atomic write: entries, and the totals of the partitions after it."""

    def __init__(self, totals: Mapping[int, _Totals]) -> None:
        self.writes = WriteBatch(raw_mode=True)
        self.totals = {partition: replace(each) for partition, each in totals.items()}

    def add(self, key: bytes, row: bytes, header: tuple[int, int, bool]) -> None:
        partition, second, is_counted = header
        self.writes.put(_ROW + key, _HEADER.pack(*header) + row)
        index_key = _EXPIRY_KEY.pack(_EXPIRY, partition, second) + key
        self.writes.put(index_key, _SIZE.pack(len(row)))
        totals = self.totals.setdefault(partition, _Totals())
        totals.add(1, key, len(row), is_counted=is_counted)

    def remove(self, key: bytes, stored: bytes) -> None:
        """Remove a row; raises `KeyError` when its partition has no totals."""
        partition, second, is_counted = _HEADER.unpack_from(stored)
        self.writes.delete(_ROW + key)
        self.writes.delete(_EXPIRY_KEY.pack(_EXPIRY, partition, second) + key)
        size = len(stored) - _HEADER.size
        self.totals[partition].add(-1, key, size, is_counted=is_counted)


class RocksDbStore:
    """Rows of one table on disk; one process opens a directory at a time.

    Args:
        path: directory of the store, made when missing.
        index: reads expiry and count of a row.
        clock: epoch seconds.
    """

    def __init__(
        self, path: Path, index: RowFields, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._index = index
        self._clock = clock
        self._files = RocksDbFiles(path, FORMAT)
        self._pending: dict[bytes, tuple[int, bytes | None]] = {}
        self._assigned: frozenset[int] = frozenset()
        self._assignments = 0
        self._totals: dict[int, _Totals] = {}
        self._checkpoints: dict[int, Checkpoint] = {}
        self._saved_at: dict[int, float] = {}
        self._confirmed: set[int] = set()

    # Lifecycle

    def open(self) -> None:
        """Open the directory, see `RocksDbFiles.open`. Without a valid checkpoint it is emptied."""
        self._files.open()
        try:
            states = list(self._files.scan(_STATE_OF, _STATE_OF))
        except StateStoreError as error:
            self._files.clear(str(error))
            return
        self._load(states)
        if states and not any(map(self.checkpoint, self._totals)):
            self._files.clear("no checkpoint is recent enough")
            self._totals.clear()
            self._checkpoints.clear()

    def _load(self, states: Sequence[tuple[bytes, bytes]]) -> None:
        for key, state in states:
            _, partition = _PARTITION.unpack(key)
            offset, digest, saved_at, *totals = _STATE.unpack(state)
            self._totals[partition] = _Totals(*totals)
            self._saved_at[partition] = saved_at
            if offset >= 0:
                self._checkpoints[partition] = Checkpoint(offset, digest)

    def close(self) -> None:
        """Flush everything to disk, 0.1 s, and release the directory."""
        if not self._files.is_open:
            return
        try:
            self.start_flush()
            self._files.flush(wait=True)
        except StateStoreError as error:
            log.warning("it is not flushed, and its changelog is read instead: %s", error)
        finally:
            self._files.close()

    def start_flush(self) -> None:
        """Write what is buffered, and start the flush of it to disk."""
        self._write_pending()
        self._write(_AtomicWrite(self._totals))
        self._files.flush(wait=False)

    # Rows

    def __len__(self) -> int:
        return sum(each.rows for each in self._visible_totals())

    @property
    def size_bytes(self) -> int:
        """Bytes of all keys and rows, uncompressed."""
        return sum(each.size_bytes for each in self._visible_totals())

    @property
    def counted(self) -> int:
        """Number of rows that `RowFields.is_counted` counts."""
        return sum(each.counted for each in self._visible_totals())

    def _visible_totals(self) -> Iterator[_Totals]:
        self._write_pending()
        return (each for number, each in self._totals.items() if number in self._assigned)

    def assign(self, partitions: Collection[int]) -> None:
        """Make the rows of these partitions visible; those of others are kept, and hidden."""
        self._write_pending()
        self._assigned = frozenset(partitions)
        self._assignments += 1
        self._confirmed &= self._assigned

    def get(self, key: bytes) -> bytes | None:
        pending = self._pending.get(key)
        if pending is not None and pending[1] is not None:
            return pending[1] if pending[0] in self._assigned else None
        stored = self._files.get(_ROW + key)
        if stored is None:
            return None
        partition = _partition_of(stored)
        if partition not in self._assigned or (pending is not None and pending[0] == partition):
            return None
        return stored[_HEADER.size :]

    def put(self, key: bytes, row: bytes | None, partition: int) -> None:
        if row is None and self._pending.get(key, (partition, b""))[0] != partition:
            # A deletion by another partition than that of the buffered row, or deletion.
            self._write_pending()
        self._pending[key] = (partition, row)
        if len(self._pending) >= BUFFERED_ROWS:
            self._write_pending()

    def slices(self, rows: int) -> Iterator[list[tuple[bytes, bytes]]]:
        following = _ROW
        while True:
            self._write_pending()
            found = list(islice(self._files.scan(following, _ROW), rows))
            if not found:
                return
            yield [
                (key[len(_ROW) :], stored[_HEADER.size :])
                for key, stored in found
                if _partition_of(stored) in self._assigned
            ]
            following = found[-1][0] + b"\0"

    # Writes

    def _write_pending(self) -> None:
        """Write the buffered rows with their index, and the states of the partitions."""
        if self._pending:
            batch = _AtomicWrite(self._totals)
            stored = self._files.get_many([_ROW + key for key in self._pending])
            for (key, (partition, row)), before in zip(self._pending.items(), stored, strict=True):
                if before is not None and (row is not None or _partition_of(before) == partition):
                    self._remove(batch, key, before)
                if row is not None:
                    second = _second(self._index.expires_at(row))
                    batch.add(key, row, (partition, second, self._index.is_counted(row)))
            self._write(batch)
            self._pending.clear()

    def _remove(self, batch: _AtomicWrite, key: bytes, stored: bytes) -> None:
        try:
            batch.remove(key, stored)
        except KeyError:
            self._files.raise_damaged(f"the state of partition {_partition_of(stored)} is missing")

    def _write(self, batch: _AtomicWrite) -> None:
        now = self._clock()
        saved_at = self._saved_at | dict.fromkeys(self._confirmed, now)
        for partition, totals in batch.totals.items():
            checkpoint = self._checkpoints.get(partition, Checkpoint(-1, 0))
            state = _STATE.pack(
                checkpoint.offset, checkpoint.digest, saved_at.get(partition, 0.0),
                totals.rows, totals.size_bytes, totals.counted,
            )  # fmt: skip
            batch.writes.put(_PARTITION.pack(_STATE_OF, partition), state)
        self._files.write(batch.writes)
        self._totals, self._saved_at = batch.totals, saved_at

    # Expiry

    def expired(self, now: float) -> Iterator[list[bytes]]:
        """Yield the keys of the expired rows, a slice at a time, until the next assignment.

        Hidden rows are deleted here; the visible ones are for the caller to delete.
        """
        self._write_pending()
        assignment = self._assignments
        for partition in list(self._totals):
            end = _EXPIRY_KEY.pack(_EXPIRY, partition, max(int(now) + 1, 0))
            for keys in self._index_slices(partition, end):
                if assignment != self._assignments:
                    return
                if partition in self._assigned:
                    yield keys
                else:
                    self._delete(keys)
                    yield []

    def first_to_expire(self, size_bytes: int) -> Iterator[list[bytes]]:
        """Yield the keys of the visible rows that expire first and have so many bytes.

        It ends at the next assignment. Rows that were renewed meanwhile are omitted.
        """
        self._write_pending()
        assignment = self._assignments
        prefixes = [_PARTITION.pack(_EXPIRY, partition) for partition in sorted(self._assigned)]
        expiring = heapq.merge(
            *(self._files.scan(prefix, prefix) for prefix in prefixes),
            key=lambda entry: entry[0][_PARTITION.size :],
        )
        while size_bytes > 0 and (found := list(islice(expiring, SLICE_ROWS))):
            self._write_pending()
            if assignment != self._assignments:
                return
            keys = []
            current = self._files.get_many([entry for entry, _ in found])
            for (entry, _), size in zip(found, current, strict=True):
                if size is not None and size_bytes > 0:
                    keys.append(entry[_EXPIRY_KEY.size :])
                    size_bytes -= len(keys[-1]) + _SIZE.unpack(size)[0]
            yield keys

    def _index_slices(self, partition: int, end: bytes | None = None) -> Iterator[list[bytes]]:
        """Yield the keys in the index of a partition, a slice at a time, as they are then."""
        prefix = following = _PARTITION.pack(_EXPIRY, partition)
        while True:
            self._write_pending()
            entries = self._files.scan(following, prefix)
            if end is not None:
                entries = takewhile(lambda entry: entry[0] < end, entries)
            found = [key for key, _ in islice(entries, SLICE_ROWS)]
            if not found:
                return
            yield [key[_EXPIRY_KEY.size :] for key in found]
            following = found[-1] + b"\0"

    def _delete(self, keys: Sequence[bytes]) -> None:
        batch = _AtomicWrite(self._totals)
        found = self._files.get_many([_ROW + key for key in keys])
        for key, stored in zip(keys, found, strict=True):
            if stored is not None:
                self._remove(batch, key, stored)
        self._write(batch)

    # Checkpoints

    def checkpoint(self, partition: int) -> Checkpoint | None:
        """Return where the recovery may resume; None without one, or when it is too old."""
        age = self._clock() - self._saved_at.get(partition, 0.0)
        if not -CLOCK_STEP_SECONDS <= age <= CHECKPOINT_AGE_SECONDS_MAX:
            return None
        return self._checkpoints.get(partition)

    def set_checkpoint(self, partition: int, checkpoint: Checkpoint) -> None:
        self._checkpoints[partition] = checkpoint
        self._totals.setdefault(partition, _Totals())
        self._confirmed.add(partition)

    def drop(self, partition: int) -> Iterator[None]:
        self._checkpoints.pop(partition, None)
        self._confirmed.discard(partition)
        for keys in self._index_slices(partition):
            self._delete(keys)
            yield


def _partition_of(stored: bytes) -> int:
    partition: int = _HEADER.unpack_from(stored)[0]
    return partition


def _second(expires_at: float) -> int:
    """Return the first whole second at which a row is expired; NaN and infinity are never."""
    return ceil(max(expires_at, 0.0)) if expires_at < _SECONDS_MAX else _SECONDS_MAX
