"""The files of a RocksDB database: opened, read and written, with errors that say what to do."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from rocksdict import (
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Env,
    Options,
    Rdict,
    WriteBatch,
    WriteOptions,
)

from streams.errors import OperatorError, StageFailedError

log = logging.getLogger(__name__)

CACHE_BYTES = 64 * 2**20
"""Block cache of all databases of a process, of rows, indexes and Bloom filters."""

WRITE_BUFFER_BYTES = 16 * 2**20
"""Size of a memtable. Up to three of them are lost by a kill, and read again."""

UNCACHE_AGGRESSIVENESS = 300
"""How far RocksDB looks for blocks of deleted files, to remove them from the block cache; it plans
300 as its default (``advanced_options.h``). With the present one, 0, a table of 2 MiB that is
rewritten fills the cache; with 50, 200 and 300 it takes up to 8, 7 and 4 MiB."""

_VERSION = b"version"

_DAMAGED_FILE = "damaged"
"""File that marks a database whose reads have failed."""

_DAMAGE = ("Corruption", "Invalid argument", "No such file")
"""In errors of damaged or missing files; those of a full or failing disk must not delete rows."""

_NO_SPACE = "No space left"


class StateStoreError(StageFailedError):
    """The store cannot read or write its files."""


class StateDirectoryLockedError(OperatorError):
    """Another process has the store's directory open."""


class RocksDbFiles:
    """One database: sorted keys and values, without a write-ahead log.

    ``rocksdict`` raises `Exception` for everything; here it is `StateStoreError`.

    Args:
        path: directory of the database, made when missing.
        version: of the layout of its keys and values.
    """

    def __init__(self, path: Path, version: bytes) -> None:
        self._path = path
        self._version = version
        self._db: Any = None

    def open(self) -> None:
        """Open the directory; one that is damaged or of another version is emptied.

        Raises:
            StateDirectoryLockedError: another process uses the directory.
            StateStoreError: the disk is full, or not writable.
        """
        try:
            self._open()
        except StateDirectoryLockedError:
            raise
        except Exception as error:  # noqa: BLE001
            if not any(sign in str(error) for sign in _DAMAGE):
                self._raise(error)
            self.clear(str(error))

    def clear(self, reason: str) -> None:
        """Delete everything, and open an empty database."""
        log.warning("%s is dropped, and restored from its changelog: %s", self._path, reason)
        self.close()
        shutil.rmtree(self._path, ignore_errors=True)
        try:
            self._open()
        except Exception as error:  # noqa: BLE001
            self._raise(error)

    def _open(self) -> None:
        if (self._path / _DAMAGED_FILE).exists():
            raise StateStoreError("Corruption: an earlier read has failed")
        self._path.mkdir(parents=True, exist_ok=True)
        try:
            self._db = Rdict(str(self._path), _options())
        except Exception as error:
            if "lock hold by" in str(error) or "While lock file" in str(error):
                raise StateDirectoryLockedError(
                    f"{self._path} is open in another process: give each worker its own data_dir"
                ) from error
            raise
        try:
            self._prepare()
        except BaseException:
            # Otherwise the error's traceback keeps the database open, and its directory locked.
            self.close()
            raise

    def _prepare(self) -> None:
        options = WriteOptions()
        options.disable_wal = True  # type: ignore[assignment, method-assign]
        self._db.set_write_options(options)
        # `Options` of rocksdict has no method for it.
        self._db.set_options({"uncache_aggressiveness": str(UNCACHE_AGGRESSIVENESS)})
        version = self._db.get(_VERSION)
        if version not in {None, self._version}:
            raise StateStoreError(f"Corruption: format {version!r}, not {self._version!r}")
        self._db.put(_VERSION, self._version)

    @property
    def is_open(self) -> bool:
        return self._db is not None

    def close(self) -> None:
        """Release the directory; what was not flushed is lost."""
        database, self._db = self._db, None
        if database is not None:
            with suppress(Exception):
                database.close()

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._db.get(key)
        except Exception as error:  # noqa: BLE001
            self._raise(error)
        return value

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        try:
            values: list[bytes | None] = self._db.get(keys)
        except Exception as error:  # noqa: BLE001
            self._raise(error)
        return values

    def scan(self, start: bytes, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over a snapshot of the entries from a key on, as long as they have a prefix."""
        entries = self._db.iter()
        try:
            entries.seek(start)
            while entries.valid():
                key: bytes = entries.key()
                if not key.startswith(prefix):
                    return
                yield key, entries.value()
                entries.next()
            # `Rdict.items` ends at a damaged block like at the last entry.
            entries.status()
        except Exception as error:  # noqa: BLE001
            self._raise(error)
        finally:
            # A traceback that holds it would keep the directory locked.
            del entries

    def write(self, batch: WriteBatch) -> None:
        """Write a batch atomically, to memory."""
        try:
            self._db.write(batch)
        except Exception as error:  # noqa: BLE001
            self._raise(error)

    def flush(self, *, wait: bool) -> None:
        """Write to disk what was written to memory."""
        try:
            self._db.flush(wait=wait)
        except Exception as error:  # noqa: BLE001
            self._raise(error)

    def raise_damaged(self, reason: str) -> NoReturn:
        """Raise an inconsistency of the stored values, which the next `open` drops."""
        self._raise(StateStoreError(f"Corruption: {reason}"))

    def _raise(self, error: Exception) -> NoReturn:
        """Raise a failed read or write; damaged files are dropped by the next `open`."""
        if "Corruption" in str(error):
            with suppress(OSError):
                (self._path / _DAMAGED_FILE).touch()
        remedy = ""
        if _NO_SPACE in str(error):
            remedy = "; free space on the disk of data_dir"
        elif isinstance(error, OSError) or "IO error" in str(error):
            remedy = "; data_dir has to be a directory that can be read and written"
        raise StateStoreError(f"{self._path}: {error}{remedy}") from error


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(_table_options())
    options.set_compression_type(DBCompressionType.lz4())
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    options.set_max_write_buffer_number(3)
    options.set_level_compaction_dynamic_level_bytes(True)
    # A sweep reads the index from its beginning, over the entries deleted before.
    options.add_compact_on_deletion_collector_factory(10_000, 5_000, 0.5)
    options.set_max_open_files(256)
    options.set_max_background_jobs(2)
    options.set_max_log_file_size(2**20)
    options.set_keep_log_file_num(2)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    environment = Env()
    environment.lower_thread_pool_cpu_priority()
    environment.lower_high_priority_thread_pool_cpu_priority()
    options.set_env(environment)
    return options


@cache
def block_cache() -> Cache:
    """Return the block cache that all databases of this process share."""
    return Cache(CACHE_BYTES)


@cache
def _table_options() -> BlockBasedOptions:
    options = BlockBasedOptions()
    options.set_block_cache(block_cache())
    options.set_bloom_filter(10, block_based=False)
    # In partitions of 4 KiB, of which the block cache keeps those in use. As blocks of megabytes
    # they evict each other: 10,000,000 rows, 159 us for a lookup instead of 15.
    options.set_index_type(BlockBasedIndexType.two_level_index_search())
    options.set_partition_filters(True)
    options.set_metadata_block_size(4_096)
    options.set_cache_index_and_filter_blocks(True)
    options.set_pin_top_level_index_and_filter(True)
    options.set_pin_l0_filter_and_index_blocks_in_cache(True)
    options.set_block_size(8_192)
    return options
