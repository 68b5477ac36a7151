"""The history of requests in SQLite: one row per request, one per transition, bounded.

It is a copy of what the topics say and can be dropped at any time. Positions in the topics are
stored in the transaction of the rows, so a process that was killed resumes where its rows end.
"""

import logging
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from schemas.codec import decode, encode
from streams.errors import OperatorError
from streams.history.changes import Event, RequestChange

log = logging.getLogger(__name__)

FILE_NAME = "history.db"
"""Name of the file in `data_dir`."""

APPLICATION_ID = 0x636C6970
"""Marks the file as clipmill's: that of another program is not touched."""

SCHEMA_VERSION = 1
"""A file of another version is emptied and filled again."""

BUSY_SECONDS = 30.0
"""Wait for the transaction of another process on the same file: 50 ms, `clear` 2 s."""

JOURNAL_BYTES = 16 * 2**20
"""Size to which the write-ahead log is cut."""

PRUNED_REQUESTS = 500
"""Requests that one `HistoryStore.prune` deletes: 35 to 50 ms."""

_TABLES = ("source", "position", "request", "event")

_SCHEMA = """
CREATE TABLE source (cluster TEXT, generation INTEGER);
INSERT INTO source VALUES (NULL, 0);
CREATE TABLE position (
    topic TEXT, partition INTEGER, next_offset INTEGER, digest INTEGER,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE request (
    id TEXT PRIMARY KEY, batch TEXT, state TEXT NOT NULL, is_final INTEGER NOT NULL, step TEXT,
    action TEXT, url TEXT, platform TEXT, video TEXT, error TEXT, due REAL, attempts INTEGER,
    received_at REAL NOT NULL, updated_at REAL NOT NULL,
    state_at REAL NOT NULL, state_partition INTEGER NOT NULL, state_offset INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX request_by_time ON request (received_at, id);
CREATE INDEX request_by_update ON request (updated_at, id);
CREATE INDEX request_by_state ON request (state, received_at, id);
CREATE INDEX request_by_error ON request (error, received_at, id) WHERE error IS NOT NULL;
CREATE INDEX request_by_platform ON request (platform, received_at, id) WHERE platform IS NOT NULL;
CREATE INDEX request_by_video ON request (video, received_at, id) WHERE video IS NOT NULL;
CREATE INDEX request_by_url ON request (url, received_at, id) WHERE url IS NOT NULL;
CREATE INDEX request_by_batch ON request (batch, received_at, id) WHERE batch IS NOT NULL;
CREATE TABLE event (
    request TEXT, partition INTEGER, position INTEGER, at REAL, step TEXT, transition TEXT,
    detail BLOB, PRIMARY KEY (request, partition, position)
) WITHOUT ROWID;
"""

# An id that is used again after the ledger has forgotten it: its new result replaces the old one.
_IS_REUSED = "(:is_final AND is_final AND :received_at > received_at)"

# Records of a request are in one partition, in order. They are in two after partitions were added.
_IS_LATE = """(is_final AND NOT :is_final OR NOT :is_final AND iif(
    :partition = state_partition, :offset < state_offset, :at < state_at))"""

_CHANGES_STATE = f"(:state IS NOT NULL AND NOT {_IS_LATE} AND (NOT is_final OR {_IS_REUSED}))"

_COLUMNS = f"""
    state = iif({_CHANGES_STATE}, :state, state),
    step = iif({_CHANGES_STATE}, :step, step),
    due = iif({_CHANGES_STATE}, :due, due),
    error = iif({_CHANGES_STATE}, iif(:is_final, :error, coalesce(:error, error)), error),
    state_at = iif({_CHANGES_STATE}, :at, state_at),
    state_partition = iif({_CHANGES_STATE}, :partition, state_partition),
    state_offset = iif({_CHANGES_STATE}, :offset, state_offset),
    batch = coalesce(:batch, batch),
    attempts = coalesce(:attempts, attempts),
    action = coalesce(action, :action),
    url = iif({_IS_REUSED}, :url, coalesce(url, :url)),
    platform = coalesce(:platform, platform),
    video = coalesce(:video, video),
    received_at = iif({_IS_REUSED}, :received_at,
        min(received_at, coalesce(:received_at, received_at))),
    updated_at = max(updated_at, :at),
    is_final = is_final OR :is_final
"""

_UPSERT = f"""
INSERT INTO request VALUES (
    :id, :batch, coalesce(:state, 'accepted'), :is_final, :step, :action, :url, :platform, :video,
    :error, :due, :attempts, coalesce(:received_at, :at), :at, :at, :partition, :offset
) ON CONFLICT (id) DO UPDATE SET {_COLUMNS}
"""  # noqa: S608  (constants)

_UPDATE = f"UPDATE request SET {_COLUMNS} WHERE id = :id"  # noqa: S608  (constants)

_EVENT = """
INSERT OR IGNORE INTO event SELECT :id, :partition, :offset, :at, :step, :transition, :detail
WHERE EXISTS (SELECT 1 FROM request WHERE id = :id)
"""


DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""Error codes of a file that SQLite cannot read."""


class HistoryError(OperatorError):
    """The file of the history cannot be used; the text says why."""


class StaleGenerationError(Exception):
    """Another process has emptied the history since this one read its positions."""


class Position(msgspec.Struct, frozen=True):
    """How far a partition was read.

    Attributes:
        next_offset: the next offset to read.
        digest: digest of the record before it, by which another log is recognised.
    """

    next_offset: int
    digest: int


class FoldedRecord(msgspec.Struct, frozen=True):
    """A record's change, with the position of the record."""

    partition: int
    offset: int
    change: RequestChange


class RequestRow(msgspec.Struct, frozen=True, kw_only=True):
    """One request. Times are epoch seconds; fields that no record has named are None.

    Attributes:
        state: ``accepted``, ``extracted``, ``selected``, ``retrying``, ``parked``, or the status of
            its result.
        is_final: it has its result.
        step: the stage that set the state, or whose failure did.
        due: time of its next attempt.
    """

    id: str
    batch: str | None
    state: str
    is_final: bool
    step: str | None
    action: str | None
    url: str | None
    platform: str | None
    video: str | None
    error: str | None
    due: float | None
    attempts: int | None
    received_at: float
    updated_at: float


_FIELDS = ", ".join(RequestRow.__struct_fields__)


class RequestFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests to return; None matches all.

    Attributes:
        platform: a request whose link is not resolved has none.
        since: received at this time or later, epoch seconds.
    """

    state: str | None = None
    error: str | None = None
    platform: str | None = None
    video: str | None = None
    url: str | None = None
    batch: str | None = None
    since: float | None = None


class Cursor(msgspec.Struct, frozen=True):
    """The last request of a page, behind which the next page begins."""

    received_at: float
    id: str


class HistoryStore:
    """The history of one cluster, in a file.

    Methods may be called from any thread, and several processes may have the file open.

    Raises:
        HistoryError: by all methods, when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection

    def __enter__(self) -> Self:
        with self._readable_errors():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._open()
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode not in DAMAGED:
                    raise
                damaged = self._path.with_name(f"{self._path.name}.damaged")
                log.warning("%s: %s; moved to %s, and read again", self._path, error, damaged)
                self._path.rename(damaged)
                self._open()
        return self

    def __exit__(self, *exc: object) -> None:
        self._db.close()

    def _open(self) -> None:
        self._db = sqlite3.connect(
            self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._db.execute("BEGIN IMMEDIATE")
            _create_tables(self._db, self._path)
            self._db.execute("COMMIT")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
        except BaseException:
            self._db.close()
            raise

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            remedy = "free space on the disk, or give data_dir to this user"
            if not isinstance(error, sqlite3.OperationalError):
                remedy = "delete the file; it is read from Kafka again"
            raise HistoryError(f"{self._path}: {error}; {remedy}") from error
        except OSError as error:
            raise HistoryError(f"{error}; data_dir has to be a directory of this user") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._readable_errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    # Writing

    def open_generation(self, cluster: str) -> int:
        """Return the generation of the rows, which are emptied if they are of another cluster."""
        with self._transaction() as db:
            known, generation = db.execute("SELECT cluster, generation FROM source").fetchone()
            if known != cluster:
                return _empty(db, cluster)
        return int(generation)

    def clear(self, cluster: str) -> int:
        """Delete everything: the rows are of another log. Return the new generation."""
        with self._transaction() as db:
            return _empty(db, cluster)

    def positions(self, topic: str) -> dict[int, Position]:
        """Return the positions of a topic by partition."""
        query = "SELECT partition, next_offset, digest FROM position WHERE topic = ?"
        return {partition: Position(*rest) for partition, *rest in self._rows(query, (topic,))}

    def apply(
        self,
        topic: str,
        records: Sequence[FoldedRecord],
        positions: Mapping[int, Position],
        generation: int,
    ) -> None:
        """Apply records of a topic, and store the positions behind them, in one transaction.

        Raises:
            StaleGenerationError: another process has called `clear`; nothing was written.
        """
        with self._transaction() as db:
            (present,) = db.execute("SELECT generation FROM source").fetchone()
            if present != generation:
                raise StaleGenerationError
            for record in records:
                _apply(db, record)
            db.executemany(
                "INSERT INTO position VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "next_offset = excluded.next_offset, digest = excluded.digest "
                "WHERE excluded.next_offset > next_offset",
                [
                    (topic, partition, each.next_offset, each.digest)
                    for partition, each in positions.items()
                ],
            )

    def prune(self, *, older_than: float, count: int) -> int:
        """Delete requests not updated since a time, or beyond a number; return how many.

        At most `PRUNED_REQUESTS`, the least recently updated ones; call it again until it returns
        0.
        """
        with self._transaction() as db:
            (total,) = db.execute("SELECT count(*) FROM request").fetchone()
            query = "SELECT id, updated_at FROM request ORDER BY updated_at, id LIMIT ?"
            oldest = db.execute(query, (PRUNED_REQUESTS,)).fetchall()
            doomed = [
                (name,)
                for number, (name, at) in enumerate(oldest)
                if number < total - count or at < older_than
            ]
            db.executemany("DELETE FROM event WHERE request = ?", doomed)
            db.executemany("DELETE FROM request WHERE id = ?", doomed)
        return len(doomed)

    # Reading

    def request(self, request_id: str) -> RequestRow | None:
        query = f"SELECT {_FIELDS} FROM request WHERE id = ?"  # noqa: S608  (constants)
        return next(map(_request_row, self._rows(query, (request_id,))), None)

    def events(self, request_id: str) -> list[Event]:
        """Return the transitions of a request, oldest first."""
        query = (
            "SELECT at, step, transition, detail FROM event WHERE request = ? "
            "ORDER BY partition, position"
        )
        return [
            Event(at=at, step=step, transition=transition, detail=decode(detail, dict[str, str]))
            for at, step, transition, detail in self._rows(query, (request_id,))
        ]

    def requests(
        self, wanted: RequestFilter, limit: int, after: Cursor | None = None
    ) -> list[RequestRow]:
        """Return the requests that match, newest first, from behind a cursor."""
        where, values = _where(wanted, after)
        query = f"SELECT {_FIELDS} FROM request{where} ORDER BY received_at DESC, id DESC LIMIT ?"  # noqa: S608  (constants)
        return list(map(_request_row, self._rows(query, (*values, limit))))

    def counts(self, wanted: RequestFilter) -> dict[str, int]:
        """Return the number of requests that match, by state."""
        where, values = _where(wanted, None)
        query = f"SELECT state, count(*) FROM request{where} GROUP BY state"  # noqa: S608  (constants)
        return dict(self._rows(query, values))

    def _rows(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._lock, self._readable_errors():
            return self._db.execute(query, values).fetchall()


def _create_tables(db: sqlite3.Connection, path: Path) -> None:
    """Create the tables, in an empty file or in place of those of another version."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (objects,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and objects:
        raise HistoryError(f"{path}: a database of another program; move it away")
    if version == SCHEMA_VERSION:
        return
    for table in _TABLES:
        db.execute(f"DROP TABLE IF EXISTS {table}")
    for statement in _SCHEMA.split(";"):
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _empty(db: sqlite3.Connection, cluster: str) -> int:
    for table in ("position", "request", "event"):
        db.execute(f"DELETE FROM {table}")  # noqa: S608  (a constant)
    db.execute("UPDATE source SET cluster = ?, generation = generation + 1", (cluster,))
    (generation,) = db.execute("SELECT generation FROM source").fetchone()
    return int(generation)


def _apply(db: sqlite3.Connection, record: FoldedRecord) -> None:
    change, event = record.change, record.change.event
    fields = msgspec.structs.asdict(change) | {
        "id": change.request_id,
        "partition": record.partition,
        "offset": record.offset,
        "platform": change.platform,
    }
    del fields["event"], fields["request_id"]
    # Other records are of requests that were pruned, or were never accepted.
    db.execute(_UPSERT if change.introduces else _UPDATE, fields)
    if event is not None:
        detail = {"transition": event.transition, "detail": encode(event.detail)}
        db.execute(_EVENT, fields | {"at": event.at, "step": event.step} | detail)


def _request_row(values: tuple[Any, ...]) -> RequestRow:
    fields = dict(zip(RequestRow.__struct_fields__, values, strict=True))
    return RequestRow(**{**fields, "is_final": bool(fields["is_final"])})


def _where(wanted: RequestFilter, after: Cursor | None) -> tuple[str, list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    for column in ("state", "error", "platform", "video", "url", "batch"):
        if (value := getattr(wanted, column)) is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    if wanted.since is not None:
        conditions.append("received_at >= ?")
        values.append(wanted.since)
    if after is not None:
        conditions.append("(received_at, id) < (?, ?)")
        values += [after.received_at, after.id]
    return f" WHERE {' AND '.join(conditions)}" if conditions else "", values
