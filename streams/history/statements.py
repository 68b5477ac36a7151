"""The SQL of the history: its tables, and how a record changes them."""

import sqlite3
from typing import Any

import msgspec

from schemas.codec import encode
from streams.history.changes import RequestChange
from streams.history.orders import Order
from streams.history.rows import Cursor, RequestFilter

APPLICATION_ID = 0x636C6970
"""Marks the file as clipmill's: that of another program is not touched."""

SCHEMA_VERSION = 9
"""A file of another version is emptied and filled again."""

OPEN_BATCH = "state = 'accepted' AND url IS NULL"
"""Condition of an undecided batch; it is introduced by its first member, so it has no URL."""

FAILED = "state IN ('failed', 'rejected', 'expired') AND command IS NULL"
"""Condition of a request whose result is an error; nobody has cancelled it."""

PARKED = "state = 'parked' AND due IS NOT NULL"

_TABLES = ("source", "position", "request", "event", "user_order")

_SCHEMA = f"""
CREATE TABLE source (cluster TEXT, generation INTEGER, revision INTEGER);
INSERT INTO source VALUES (NULL, CAST(strftime('%s') AS INTEGER), 0);
CREATE TABLE position (
    topic TEXT, partition INTEGER, next_offset INTEGER, digest INTEGER,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE request (
    id TEXT PRIMARY KEY, batch TEXT, state TEXT NOT NULL, is_final INTEGER NOT NULL, step TEXT,
    action TEXT, url TEXT, platform TEXT, video TEXT, author TEXT, title TEXT, error TEXT,
    message TEXT, details BLOB, trace_id TEXT, retry_of TEXT, due REAL, attempts INTEGER,
    received_at REAL NOT NULL, updated_at REAL NOT NULL, files BLOB, command BLOB, bytes INTEGER,
    state_at REAL NOT NULL, state_partition INTEGER NOT NULL, state_offset INTEGER NOT NULL,
    revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX request_by_revision ON request (revision);
CREATE INDEX request_by_time ON request (received_at, id, state);
CREATE INDEX request_by_update ON request (updated_at, id);
CREATE INDEX request_by_state ON request (state, received_at, id);
CREATE INDEX request_by_error ON request (error, received_at, id, state)
    WHERE error IS NOT NULL;
CREATE INDEX request_by_platform ON request (platform, received_at, id, state)
    WHERE platform IS NOT NULL;
CREATE INDEX request_by_video ON request (video, received_at, id) WHERE video IS NOT NULL;
CREATE INDEX request_by_url ON request (url, received_at, id) WHERE url IS NOT NULL;
CREATE INDEX request_by_batch ON request (batch, received_at, id) WHERE batch IS NOT NULL;
CREATE INDEX request_by_origin ON request (retry_of, received_at, id, state)
    WHERE retry_of IS NOT NULL;
CREATE INDEX request_by_result ON request (state_at, state, received_at, is_final)
    WHERE is_final;
CREATE INDEX request_by_failure ON request (error, platform, state_at, state, command)
    WHERE {FAILED};
CREATE INDEX request_by_due ON request (due, state) WHERE {PARKED};
CREATE INDEX request_open_batch ON request (state, received_at, id) WHERE {OPEN_BATCH};
CREATE INDEX library_by_time ON request (received_at, id, bytes, platform, title)
    WHERE bytes IS NOT NULL;
CREATE INDEX library_by_author ON request (author, received_at, id, bytes)
    WHERE bytes IS NOT NULL;
CREATE TABLE event (
    request TEXT, partition INTEGER, position INTEGER, at REAL, step TEXT, transition TEXT,
    detail BLOB, PRIMARY KEY (request, partition, position)
) WITHOUT ROWID;
CREATE TABLE user_order (
    id TEXT PRIMARY KEY, at REAL NOT NULL, author TEXT NOT NULL, kind TEXT NOT NULL,
    subject TEXT NOT NULL, count INTEGER NOT NULL, note TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX order_by_time ON user_order (at, id);
"""  # noqa: S608  (constants)

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
    message = iif({_CHANGES_STATE}, :message, message),
    details = iif({_CHANGES_STATE}, :details, details),
    state_at = iif({_CHANGES_STATE}, :at, state_at),
    state_partition = iif({_CHANGES_STATE}, :partition, state_partition),
    state_offset = iif({_CHANGES_STATE}, :offset, state_offset),
    batch = coalesce(:batch, batch),
    attempts = coalesce(:attempts, attempts),
    action = coalesce(action, :action),
    url = iif({_IS_REUSED}, :url, coalesce(url, :url)),
    platform = coalesce(:platform, platform),
    video = coalesce(:video, video),
    author = iif({_IS_REUSED}, :author, coalesce(:author, author)),
    title = iif({_IS_REUSED}, :title, coalesce(:title, title)),
    trace_id = iif({_IS_REUSED}, :trace_id, coalesce(trace_id, :trace_id)),
    retry_of = iif({_IS_REUSED}, :retry_of, coalesce(retry_of, :retry_of)),
    received_at = iif({_IS_REUSED}, :received_at,
        min(received_at, coalesce(:received_at, received_at))),
    updated_at = max(updated_at, :at),
    files = iif({_IS_REUSED}, :files, coalesce(:files, files)),
    command = iif({_IS_REUSED}, :command, coalesce(:command, command)),
    bytes = iif({_IS_REUSED}, :bytes, coalesce(:bytes, bytes)),
    is_final = is_final OR :is_final,
    revision = :revision
"""

_UPSERT = f"""
INSERT INTO request VALUES (
    :id, :batch, coalesce(:state, 'accepted'), :is_final, :step, :action, :url, :platform, :video,
    :author, :title, :error, :message, :details, :trace_id, :retry_of, :due, :attempts,
    coalesce(:received_at, :at), :at, :files, :command, :bytes, :at, :partition, :offset, :revision
) ON CONFLICT (id) DO UPDATE SET {_COLUMNS}
"""  # noqa: S608  (constants)

_UPDATE = f"UPDATE request SET {_COLUMNS} WHERE id = :id"  # noqa: S608  (constants)

_EVENT = """
INSERT OR IGNORE INTO event SELECT :id, :partition, :offset, :at, :step, :transition, :detail
WHERE EXISTS (SELECT 1 FROM request WHERE id = :id)
"""


_ORDER = """
INSERT INTO user_order VALUES (:id, :at, :by, :order, :subject, :count, :note)
ON CONFLICT (id) DO UPDATE SET
    at = min(at, excluded.at), count = count + iif(:is_part, excluded.count, 0)
"""

_OLD_ORDERS = "DELETE FROM user_order WHERE at < ?"

_MORE_ORDERS = """
DELETE FROM user_order WHERE id IN
    (SELECT id FROM user_order ORDER BY at DESC, id DESC LIMIT -1 OFFSET ?)
"""

ORDERS_MAX = 100_000
"""Orders that are kept, 0.2 KB each."""


class FoldedRecord(msgspec.Struct, frozen=True):
    """A record's change, with the position of the record."""

    partition: int
    offset: int
    change: RequestChange


class ForeignFileError(Exception):
    """The file is a database of another program."""


def create_tables(db: sqlite3.Connection) -> None:
    """Create the tables, in an empty file or in place of those of another version.

    Raises:
        ForeignFileError: the file is of another program.
    """
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (objects,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and objects:
        raise ForeignFileError
    if version == SCHEMA_VERSION:
        return
    for table in _TABLES:
        db.execute(f"DROP TABLE IF EXISTS {table}")
    for statement in _SCHEMA.split(";"):
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def delete_rows(db: sqlite3.Connection, cluster: str) -> int:
    """Delete all rows in favour of those of a cluster; return the new generation."""
    for table in ("position", "request", "event", "user_order"):
        db.execute(f"DELETE FROM {table}")  # noqa: S608  (a constant)
    db.execute("UPDATE source SET cluster = ?, generation = generation + 1", (cluster,))
    (generation,) = db.execute("SELECT generation FROM source").fetchone()
    return int(generation)


def apply_record(db: sqlite3.Connection, record: FoldedRecord, revision: int) -> None:
    """Change the request of a record, if the history has it or the record introduces it."""
    change, event = record.change, record.change.event
    fields = msgspec.structs.asdict(change) | {
        "id": change.request_id,
        "partition": record.partition,
        "offset": record.offset,
        "revision": revision,
        "platform": change.platform,
        "files": encode(change.files) if change.files else None,
        "details": None if change.details is None else encode(change.details),
        "command": None if change.command is None else encode(change.command),
        "bytes": sum(each.bytes for each in change.files) if change.files else None,
    }
    del fields["event"], fields["request_id"]
    # Other records are of requests that were pruned, or were never accepted.
    db.execute(_UPSERT if change.introduces else _UPDATE, fields)
    if event is not None:
        detail = {"transition": event.transition, "detail": encode(event.detail)}
        db.execute(_EVENT, fields | {"at": event.at, "step": event.step} | detail)


def add_order(db: sqlite3.Connection, order: Order) -> None:
    """Add an order, or a command to the order of its job."""
    db.execute(_ORDER, msgspec.structs.asdict(order))


def prune_orders(db: sqlite3.Connection, older_than: float, count: int) -> None:
    """Delete the orders from before a time, and the oldest ones beyond a number."""
    db.execute(_OLD_ORDERS, (older_than,))
    db.execute(_MORE_ORDERS, (count,))


def where_clause(
    wanted: RequestFilter, after: Cursor | None, *further: str
) -> tuple[str, list[Any]]:
    """Return the WHERE clause of the requests that match and are older than a cursor."""
    conditions = list(further)
    values: list[Any] = []
    for column in ("state", "error", "platform", "video", "url", "batch", "retry_of"):
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
