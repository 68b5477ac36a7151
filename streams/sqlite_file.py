"""A SQLite file that threads and processes share."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

BUSY_SECONDS = 30.0
"""Wait for the transaction of another process on the same file. The longest one empties the
history: 2 s."""

BUSY_POLL_SECONDS = 0.01

_PRIMARY_CODE = 0xFF
"""Bits of an extended error code of SQLite that name its primary code."""

JOURNAL_BYTES = 16 * 2**20
"""Size to which the write-ahead log is cut."""


class SqliteFile:
    """Two connections with a write-ahead log. Methods may be called from any thread.

    Reads have a connection of their own: they see the last committed transaction, and wait for none
    in progress. A crash of the machine may undo the last transactions, that of a process does not.

    Args:
        path: of the file; its directory is created.
        create_tables: called in a transaction when the file is opened.
        explain: returns the error to raise in place of an `OSError`, or of one of SQLite.
    """

    def __init__(
        self,
        path: Path,
        create_tables: Callable[[sqlite3.Connection], None],
        explain: Callable[[sqlite3.DatabaseError | OSError], Exception],
    ) -> None:
        self.path = path
        self._create_tables = create_tables
        self._explain = explain
        self._lock = threading.Lock()
        self._db: sqlite3.Connection
        self._read_lock = threading.Lock()
        self._reader: sqlite3.Connection

    def __enter__(self) -> Self:
        with self._explained_errors():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._connect()
            try:
                self._prepare()
                self._reader = self._connect()
            except BaseException:
                self._db.close()
                raise
        return self

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )

    def __exit__(self, *exc: object) -> None:
        # SQLite crashes when another thread still reads.
        with self._read_lock, self._lock:
            self._reader.close()
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection in a transaction, which an exception rolls back."""
        with self._lock, self._explained_errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def rows(
        self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self._read_lock, self._explained_errors():
            return self._reader.execute(query, values).fetchall()

    def _prepare(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._create_tables(self._db)
        self._db.execute("COMMIT")
        self._use_write_ahead_log()
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")

    def _use_write_ahead_log(self) -> None:
        """Set the journal mode; SQLite's busy timeout does not cover it (2 of 1,440 opens)."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                is_busy = error.sqlite_errorcode & _PRIMARY_CODE == sqlite3.SQLITE_BUSY
                if not is_busy or time.monotonic() > deadline:
                    raise
                time.sleep(BUSY_POLL_SECONDS)
            else:
                return

    @contextmanager
    def _explained_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, OSError) as error:
            raise self._explain(error) from error
