"""The end of batches: the ledger counts decided members and publishes one summary per batch.

The instance that decides a member reports its outcome under the batch's id
(`agents.ledger.batch_records`). The owner of that id's partition counts it in the row of the
batch; the report that completes the count closes the batch and publishes the summary. A crash
between row and summary repeats the summary, because the row names the record that closed it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from agents.caching.row_expiry import end_of, sweep
from agents.ledger.batch_records import EXPIRES_AT, expire_batch, publish_summary
from agents.ledger.batch_state import (
    Batch,
    batch_of_job,
    batch_of_member,
    read_batch,
    summary_of,
)
from agents.ledger.events import NAME, epoch_nanoseconds
from agents.ledger.request_state import trace_context
from schemas.audit import AuditRecord
from schemas.codec import encode
from streams.observability.metrics import BATCHES
from streams.records import Effect, Incoming, Outgoing, TableWrite
from streams.tracing.scope import continuing, request_span
from streams.tracing.spans import Span

TABLE = "batches"

ROWS_BYTES_MAX = 48 * 2**20
"""Memory of the rows of one process: 80,000 batches of 1,000, or 120,000 of a few members, of the
last day. Beyond that those are closed and forgotten that would be next."""


def is_about_batch(entry: AuditRecord) -> bool:
    """Return whether a record is about a batch as a whole, not about one request."""
    introduces = entry.job is not None and entry.job.batch is not None
    return (
        entry.member is not None
        or entry.transition == "batch_expired"
        or (introduces and entry.job.batch.id == entry.request_id)  # type: ignore[union-attr]
    )


class Batches:
    """The ledger's part in the end of batches.

    Args:
        read_row: reads a row of the table `TABLE`.
        is_request: whether an id is also that of a request, a listing, with a span of its own.
        open_seconds: how long the outcome of the next member is waited for.
        remember_seconds: how long a closed batch is known, so that copies close it only once.
        clock: epoch seconds.
    """

    def __init__(
        self,
        read_row: Callable[[str], bytes | None],
        *,
        is_request: Callable[[str], bool] = lambda _request_id: False,
        open_seconds: float,
        remember_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._read_row = read_row
        self._is_request = is_request
        self._open_seconds = open_seconds
        self._remember_seconds = remember_seconds
        self._clock = clock

    def known(self, batch_id: str) -> Batch | None:
        """Return what is known of a batch."""
        return read_batch(self._read_row(batch_id))

    def handle(self, entry: AuditRecord, record: Incoming, cause: str) -> Sequence[Effect]:
        """Return what follows from a record about a batch: its row, and its end."""
        batch_id, before = entry.request_id, self.known(entry.request_id)
        if before is not None and before.closed_by:
            repeats = before.closed_by == record.record_id
            return [self._summary(batch_id, before, cause)] if repeats else []
        after = _after(before, entry, record.record_id)
        if after is None or after == before:
            return []
        if not after.closed_by:
            return [_row(batch_id, after.expires(self._clock() + self._open_seconds))]
        BATCHES.inc()
        row = _row(batch_id, after.expires(self._clock() + self._remember_seconds))
        return [row, self._summary(batch_id, after, cause)]

    def _summary(self, batch_id: str, batch: Batch, cause: str) -> Outgoing:
        """Return the summary, and with it the span of the batch."""
        with continuing(trace_context(batch.trace_id, batch.trace)):
            record = publish_summary(summary_of(batch_id, batch), NAME, cause, batch.reply)
            if self._is_request(batch_id):
                return record
            return replace(record, spans=(*record.spans, *_batch_span(batch_id, batch)))

    def sweep(self, rows: Mapping[str, bytes]) -> list[Effect]:
        """Return the end of rows that are over, or too many.

        A closed batch is forgotten. An open one is closed by a record on its own partition: only
        the record's turn makes sure that no report is counted at the same time.
        """
        now = self._clock()
        swept = sweep(rows.items(), now, ROWS_BYTES_MAX, end_of)
        at = datetime.fromtimestamp(now, UTC)
        return [_end(key, rows[key], at) for key in (*swept.over, *swept.surplus)]


def _after(before: Batch | None, entry: AuditRecord, record_id: str) -> Batch | None:
    """Return an open batch as it is after a record; None when the record changes nothing."""
    if entry.transition == "batch_expired":
        if before is None or entry.detail.get(EXPIRES_AT) != repr(before.expires_at):
            return None
        return before.given_up(entry.at, record_id)
    if entry.member is not None:
        head = batch_of_member(entry.member)
        after = (before or head).introduced(head).counted(entry.member)
    else:
        assert entry.job is not None
        head = batch_of_job(entry.job)
        after = (before or head).introduced(head)
    return after.closed(record_id) if after.is_complete else after


def _batch_span(batch_id: str, batch: Batch) -> tuple[Span, ...]:
    received = epoch_nanoseconds(batch.received_at)
    finished = received if batch.finished_at is None else epoch_nanoseconds(batch.finished_at)
    return request_span(
        batch_id,
        batch.trace_id,
        start=received,
        end=finished,
        attributes={"clipmill.batch.size": batch.size},
    )


def _row(batch_id: str, batch: Batch) -> TableWrite:
    return TableWrite(TABLE, batch_id, encode(batch))


def _end(batch_id: str, row: bytes, at: datetime) -> Effect:
    batch = read_batch(row)
    if batch is None or batch.closed_by or not batch.size:
        return TableWrite(TABLE, batch_id, None)
    with continuing(trace_context(batch.trace_id, batch.trace)):
        return expire_batch(batch_id, batch.expires_at, batch.trace_id, NAME, at)
