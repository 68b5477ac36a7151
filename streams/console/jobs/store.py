"""The jobs in SQLite, the single source of truth: any process that has it open may stop a job."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from schemas.codec import decode, encode
from streams.console.jobs.job import BulkJob
from streams.errors import OperatorError
from streams.file_lock import FileLock
from streams.sqlite_file import SqliteFile

FILE_NAME = "console.db"
"""Name of the file in `data_dir`."""

SCHEMA_VERSION = 1

LATEST_MAX = 100
"""Jobs in a list."""

JOBS_MAX = 1_000
"""Jobs that are kept; an ended one takes some 500 bytes."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS job (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, state TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS job_by_state ON job (state, number);
"""

_PRUNE = """
DELETE FROM job WHERE state <> 'running' AND number <= (SELECT max(number) FROM job) - ?
"""


class JobStoreError(OperatorError):
    """The file of the jobs cannot be used; the text says why."""


class JobStore:
    """The jobs of the consoles of one data directory. Methods may be called from any thread.

    Attributes:
        runner_lock: its holder runs the jobs.

    Raises:
        JobStoreError: by all methods, when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # A crash of the machine may set a cursor back: commands are idempotent.
        self._file = SqliteFile(path, self._create_tables, self._explain)
        self.runner_lock = FileLock(path.with_suffix(".lock"))

    def __enter__(self) -> Self:
        self._file.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.__exit__(*exc)

    def _create_tables(self, db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise JobStoreError(f"{self._path}: of another version of clipmill; move it away")
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _explain(self, error: sqlite3.DatabaseError | OSError) -> JobStoreError:
        if isinstance(error, OSError):
            return JobStoreError(f"{error}; data_dir has to be a directory of this user")
        return JobStoreError(
            f"{self._path}: {error}; free space on the disk, give data_dir to this user, or "
            "move the file away, and its jobs with it"
        )

    def add(self, job: BulkJob) -> None:
        """Add a job; forget the oldest ended ones beyond `JOBS_MAX`."""
        with self._file.transaction() as db:
            values = (job.id, job.state, encode(job))
            db.execute("INSERT INTO job (id, state, body) VALUES (?, ?, ?)", values)
            db.execute(_PRUNE, (JOBS_MAX,))

    def update(self, job: BulkJob) -> None:
        """Store the progress of a job; one that was stopped meanwhile stays so."""
        with self._file.transaction() as db:
            stored = _find(db, job.id)
            if stored is not None and stored.state != "running":
                job = job.ended(stored.state, stored.updated_at)
            _write(db, job)

    def stop(self, job_id: str, now: float) -> BulkJob | None:
        """Stop a job, unless it has ended; return it, None if there is none of this id."""
        with self._file.transaction() as db:
            job = _find(db, job_id)
            if job is not None and job.state == "running":
                job = job.ended("stopped", now)
                _write(db, job)
        return job

    def job(self, job_id: str) -> BulkJob | None:
        return next(iter(self._jobs("WHERE id = ?", (job_id,))), None)

    def first_running(self) -> BulkJob | None:
        """Return the oldest job that is running."""
        return next(iter(self._jobs("WHERE state = 'running' ORDER BY number LIMIT 1")), None)

    def latest(self, limit: int) -> list[BulkJob]:
        """Return the latest jobs, newest first."""
        return self._jobs("ORDER BY number DESC LIMIT ?", (limit,))

    def _jobs(self, clause: str, values: Sequence[Any] = ()) -> list[BulkJob]:
        rows = self._file.rows(f"SELECT body FROM job {clause}", values)  # noqa: S608  (constants)
        return [decode(body, BulkJob) for (body,) in rows]


def _find(db: sqlite3.Connection, job_id: str) -> BulkJob | None:
    row = db.execute("SELECT body FROM job WHERE id = ?", (job_id,)).fetchone()
    return None if row is None else decode(row[0], BulkJob)


def _write(db: sqlite3.Connection, job: BulkJob) -> None:
    db.execute("UPDATE job SET state = ?, body = ? WHERE id = ?", (job.state, encode(job), job.id))
