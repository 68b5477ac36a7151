import multiprocessing
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from streams.sqlite_file import SqliteFile


class ExplainedError(Exception):
    """The error that the tests' files raise."""


def create_table(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE IF NOT EXISTS number (value INTEGER PRIMARY KEY)")


def sqlite_file(path: Path) -> SqliteFile:
    return SqliteFile(path, create_table, lambda error: ExplainedError(f"explained: {error}"))


def insert(file: SqliteFile, *numbers: int) -> None:
    with file.transaction() as db:
        db.executemany("INSERT INTO number VALUES (?)", [(each,) for each in numbers])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "numbers.db"


@pytest.fixture
def file(path: Path) -> Iterator[SqliteFile]:
    with sqlite_file(path) as file:
        yield file


def test_rows_survive_the_connection(path: Path) -> None:
    for number in range(2):
        with sqlite_file(path) as file:
            insert(file, number)
            assert file.rows("SELECT value FROM number WHERE value >= ?", (number,)) == [(number,)]


def test_failed_transaction_leaves_nothing(file: SqliteFile) -> None:
    with pytest.raises(ExplainedError, match="explained: UNIQUE"):
        insert(file, 1, 1)
    insert(file, 2)
    assert file.rows("SELECT value FROM number") == [(2,)]


@pytest.mark.parametrize("is_directory", [True, False])
def test_path_that_cannot_be_opened_is_explained(path: Path, *, is_directory: bool) -> None:
    if is_directory:
        path.mkdir(parents=True)
    else:
        path.parent.write_bytes(b"")
    with pytest.raises(ExplainedError), sqlite_file(path):
        pass


def test_lock_of_another_process_is_explained(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.sqlite_file.BUSY_SECONDS", 0.01)
    with sqlite_file(path) as file:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(ExplainedError, match="database is locked"):
                insert(file, 1)
        insert(file, 1)


class BusyConnection(sqlite3.Connection):
    """Rejects two changes of the journal mode, as SQLite does when processes open a file at once.

    Attributes:
        rejections: number of changes that are still rejected.
    """

    rejections = 2

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if "journal_mode" in sql and self.rejections:
            self.rejections -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY
            raise error
        return super().execute(sql, parameters)


def test_journal_mode_is_set_when_other_processes_have_opened_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=BusyConnection))
    with sqlite_file(path), closing(sqlite3.Connection(path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_read_waits_for_no_transaction_and_sees_the_last_one(file: SqliteFile) -> None:
    insert(file, 1)
    with file.transaction() as db:
        db.execute("INSERT INTO number VALUES (2)")
        with ThreadPoolExecutor() as threads:
            reading = threads.submit(file.rows, "SELECT value FROM number")
            assert reading.result(timeout=5) == [(1,)]
    assert file.rows("SELECT value FROM number") == [(1,), (2,)]


def test_file_that_stays_busy_is_explained(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=BusyConnection))
    monkeypatch.setattr("streams.sqlite_file.BUSY_SECONDS", -1.0)
    with pytest.raises(ExplainedError, match="database is locked"), sqlite_file(path):
        pass


def test_thread_that_reads_a_closed_file_gets_an_error(path: Path) -> None:
    def read_forever(file: SqliteFile) -> None:
        while True:
            file.rows("SELECT value FROM number")

    with ThreadPoolExecutor() as threads:
        with sqlite_file(path) as file:
            insert(file, *range(1_000))
            readers = [threads.submit(read_forever, file) for _ in range(4)]
            time.sleep(0.05)
        for each in readers:
            with pytest.raises(ExplainedError, match="closed database"):
                each.result()


def open_and_insert(path: Path, number: int) -> None:
    with sqlite_file(path) as file:
        insert(file, number)


def test_processes_that_create_the_file_at_once_share_it(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=open_and_insert, args=(path, each)) for each in range(4)]
    for each in processes:
        each.start()
    for each in processes:
        each.join()
    with sqlite_file(path) as file:
        assert file.rows("SELECT value FROM number") == [(0,), (1,), (2,), (3,)]
