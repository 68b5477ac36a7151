"""The history of requests in SQLite: one row per request, one per transition, bounded.

It is a copy of what the topics say and can be dropped at any time. Positions in the topics are
stored in the transaction of the rows, so a process that was killed resumes where its rows end.
"""

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from schemas.codec import decode
from schemas.errors import CODE_FAMILIES, ErrorCode
from streams.errors import OperatorError
from streams.history.changes import RequestEvent
from streams.history.orders import Order
from streams.history.rows import (
    CriterionError,
    Cursor,
    RequestFilter,
    RequestRow,
    RetryState,
    Revision,
    RowChange,
    request_row,
)
from streams.history.statements import (
    OPEN_BATCH,
    ORDERS_MAX,
    FoldedRecord,
    ForeignFileError,
    add_order,
    apply_record,
    create_tables,
    delete_rows,
    prune_orders,
    where_clause,
)
from streams.sqlite_file import SqliteFile

log = logging.getLogger(__name__)

FILE_NAME = "history.db"
"""Name of the file in `data_dir`."""

PRUNED_REQUESTS = 500
"""Requests that one `HistoryStore.prune` deletes: 35 to 50 ms."""

RETRIES_MAX = 20
"""Retries of a request that are listed; the posts of a retried listing are among them."""

FIELDS = ", ".join(RequestRow.__struct_fields__)
"""Columns of `request_row`."""

_CODES = frozenset(ErrorCode)

DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""Error codes of a file that SQLite cannot read."""


class HistoryError(OperatorError):
    """The file of the history cannot be used; the text says why."""


class DamagedFileError(HistoryError):
    """SQLite cannot read the file."""


class StaleGenerationError(Exception):
    """Another process has emptied the history since this one read its positions."""


class ReadPosition(msgspec.Struct, frozen=True):
    """How far a partition was read.

    Attributes:
        next_offset: the next offset to read.
        digest: digest of the record before it, by which another log is recognised.
    """

    next_offset: int
    digest: int


class HistoryStore:
    """The history of one cluster, in a file.

    Methods may be called from any thread, and several processes may have the file open.

    Raises:
        HistoryError: by all methods, when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = SqliteFile(path, create_tables, self._explain)

    def __enter__(self) -> Self:
        try:
            self._file.__enter__()
        except DamagedFileError as error:
            damaged = self._path.with_name(f"{self._path.name}.damaged")
            cause = error.__cause__
            log.warning("%s: %s; moved to %s, and read again", self._path, cause, damaged)
            self._path.rename(damaged)
            self._file.__enter__()
        except ForeignFileError:
            raise HistoryError(
                f"{self._path}: a database of another program; move it away"
            ) from None
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.__exit__(*exc)

    def _explain(self, error: sqlite3.DatabaseError | OSError) -> HistoryError:
        if isinstance(error, OSError):
            return HistoryError(f"{error}; data_dir has to be a directory of this user")
        if isinstance(error, sqlite3.OperationalError):
            remedy = "free space on the disk, or give data_dir to this user"
            return HistoryError(f"{self._path}: {error}; {remedy}")
        kind = DamagedFileError if _is_damage(error) else HistoryError
        return kind(f"{self._path}: {error}; delete the file; it is read from Kafka again")

    # Writing

    def open_generation(self, cluster: str) -> int:
        """Return the generation of the rows, which are emptied if they are of another cluster."""
        with self._file.transaction() as db:
            known, generation = db.execute("SELECT cluster, generation FROM source").fetchone()
            if known != cluster:
                return delete_rows(db, cluster)
        return int(generation)

    def clear(self, cluster: str) -> int:
        """Delete everything: the rows are of another log. Return the new generation."""
        with self._file.transaction() as db:
            return delete_rows(db, cluster)

    def positions(self, topic: str) -> dict[int, ReadPosition]:
        """Return the positions of a topic by partition."""
        query = "SELECT partition, next_offset, digest FROM position WHERE topic = ?"
        return {partition: ReadPosition(*rest) for partition, *rest in self.select(query, (topic,))}

    def apply(
        self,
        topic: str,
        records: Sequence[FoldedRecord | Order],
        positions: Mapping[int, ReadPosition],
        generation: int,
    ) -> None:
        """Apply records of a topic, and store the positions behind them, in one transaction.

        Raises:
            StaleGenerationError: another process has called `clear`; nothing was written.
        """
        with self._file.transaction() as db:
            query = "SELECT generation, revision FROM source"
            present, revision = db.execute(query).fetchone()
            if present != generation:
                raise StaleGenerationError
            _apply_all(db, records, revision)
            db.executemany(
                "INSERT INTO position VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "next_offset = excluded.next_offset, digest = excluded.digest "
                "WHERE excluded.next_offset > next_offset",
                [
                    (topic, partition, each.next_offset, each.digest)
                    for partition, each in positions.items()
                ],
            )

    def prune_orders(self, *, older_than: float, count: int = ORDERS_MAX) -> None:
        """Delete the orders from before a time, and the oldest ones beyond a number."""
        with self._file.transaction() as db:
            prune_orders(db, older_than, count)

    def prune(self, *, older_than: float, count: int) -> int:
        """Delete requests not updated since a time, or beyond a number; return how many.

        At most `PRUNED_REQUESTS`, the least recently updated ones; call it again until it returns
        0.
        """
        with self._file.transaction() as db:
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

    def origin(self) -> str:
        """Return what the rows are a copy of; another text after they were emptied."""
        ((cluster, generation),) = self.select("SELECT cluster, generation FROM source", ())
        return f"{cluster}/{generation}"

    def request(self, request_id: str) -> RequestRow | None:
        query = f"SELECT {FIELDS} FROM request WHERE id = ?"  # noqa: S608  (constants)
        return next(map(request_row, self.select(query, (request_id,))), None)

    def known(self, request_ids: Sequence[str]) -> set[str]:
        """Return which of these requests the history has."""
        marks = ", ".join("?" * len(request_ids))
        query = f"SELECT id FROM request WHERE id IN ({marks})"  # noqa: S608  (of constants)
        return {name for (name,) in self.select(query, request_ids)}

    def events(self, request_id: str) -> list[RequestEvent]:
        """Return the transitions of a request, oldest first."""
        query = (
            "SELECT at, step, transition, detail FROM event WHERE request = ? "
            "ORDER BY partition, position"
        )
        return [
            RequestEvent(
                at=at, step=step, transition=transition, detail=decode(detail, dict[str, str])
            )
            for at, step, transition, detail in self.select(query, (request_id,))
        ]

    def requests(
        self, wanted: RequestFilter, limit: int, after: Cursor | None = None
    ) -> list[RequestRow]:
        """Return the requests that match, newest first, from behind a cursor."""
        where, values = where_clause(wanted, after)
        query = f"SELECT {FIELDS} FROM request{where} ORDER BY received_at DESC, id DESC LIMIT ?"  # noqa: S608  (constants)
        return list(map(request_row, self.select(query, (*values, limit))))

    def check_error(self, code: str | None) -> None:
        """Reject an error code that neither the catalogue nor a request has.

        Raises:
            CriterionError: it is such a code.
        """
        if code is None or code in _CODES or self.requests(RequestFilter(error=code), 1):
            return
        families = ", ".join(f"{each}.*" for each in CODE_FAMILIES)
        reason = f"an error code, such as content.not_found; the codes are of {families}"
        raise CriterionError("error", code, reason)

    def details(self, request_id: str) -> dict[str, str]:
        """Return the technical details of a request's error; lists do not read them."""
        rows = self.select("SELECT details FROM request WHERE id = ?", (request_id,))
        return next((decode(each, dict[str, str]) for (each,) in rows if each), {})

    def retries(self, request_id: str) -> list[RetryState]:
        """Return the requests that repeat a request, oldest first, at most `RETRIES_MAX`."""
        where = "WHERE retry_of = ? ORDER BY received_at, id LIMIT ?"
        query = f"SELECT id, state FROM request {where}"  # noqa: S608  (constants)
        return [RetryState(*each) for each in self.select(query, (request_id, RETRIES_MAX))]

    def counts(self, wanted: RequestFilter, after: Cursor | None = None) -> dict[str, int]:
        """Return the number of requests that match, by state, from behind a cursor."""
        where, values = where_clause(wanted, after)
        query = f"SELECT state, count(*) FROM request{where} GROUP BY state"  # noqa: S608  (constants)
        return dict(self.select(query, values))

    def open_batches(self, wanted: RequestFilter, after: Cursor | None = None) -> int:
        """Return the number of undecided batches that match."""
        where, values = where_clause(wanted, after, OPEN_BATCH)
        ((count,),) = self.select(f"SELECT count(*) FROM request{where}", values)  # noqa: S608  (constants)
        return int(count)

    def revision(self) -> Revision:
        """Return the present revision."""
        return Revision(*self.select("SELECT generation, revision FROM source", ())[0])

    def changes(self, after: int, limit: int) -> list[RowChange]:
        """Return the requests changed behind the number of a revision, earliest change first.

        Of several changes of a request the last one counts.
        """
        where = "WHERE revision > ? ORDER BY revision LIMIT ?"
        query = f"SELECT revision, {FIELDS} FROM request {where}"  # noqa: S608  (constants)
        return [
            RowChange(number, request_row(values))
            for number, *values in self.select(query, (after, limit))
        ]

    def select(
        self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a query of this package."""
        return self._file.rows(query, values)


def _apply_all(
    db: sqlite3.Connection, records: Sequence[FoldedRecord | Order], revision: int
) -> None:
    changes = [each for each in records if isinstance(each, FoldedRecord)]
    # The last of a request's records counts: an unchanged number costs the index little.
    numbers = {each.change.request_id: n for n, each in enumerate(changes, revision + 1)}
    for record in records:
        if isinstance(record, FoldedRecord):
            apply_record(db, record, numbers[record.change.request_id])
        else:
            add_order(db, record)
    if changes:
        db.execute("UPDATE source SET revision = revision + ?", (len(changes),))


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", None) in DAMAGED
