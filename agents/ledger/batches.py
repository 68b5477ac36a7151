"""Batch completion: the ledger counts decided members and publishes one summary per batch.

The instance that decides a member reports its result under the batch's id
(`agents.ledger.events.report_member`). The owner of that id's partition counts it in the row of the
batch, as its single writer; the report that completes the count closes the batch and publishes the
summary. After a crash between row and summary, the redelivered report publishes the summary again,
because the row names the record that closed it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from agents.caching.row_expiry import ReadSlices, keys_to_evict
from agents.ledger.batch_state import (
    Batch,
    batch_of_job,
    batch_of_member,
    read_batch,
    summary_of,
)
from agents.ledger.events import NAME, batch_record
from agents.ledger.request_state import trace_context
from agents.pipeline.events import correlation_headers
from schemas.audit import AuditRecord
from schemas.codec import encode
from schemas.request import Reply
from schemas.results import BatchFinished
from streams.envelope import seal
from streams.observability.metrics import BATCHES
from streams.records import Effect, Incoming, Outgoing, TableWrite
from streams.topics import RESULTS
from streams.tracing.scope import request_scope, request_span

TABLE = "batches"

ROWS_BYTES_MAX = 48 * 2**20
"""Bytes of the rows of one process: 80,000 batches of 1,000, or 120,000 of a few members, of the
last day. Beyond that the rows that expire next are closed or deleted."""

EXPIRES_AT = "expires_at"
"""Detail of ``batch_expired``: the expiry, in epoch seconds, at which the row was swept."""


class Batches:
    """Counts the members of batches and closes them.

    Args:
        read_row: reads a row of the table `TABLE`.
        is_request: whether an id is also that of a request, a listing, which has its own span.
        open_seconds: timeout for the result of the next member.
        remember_seconds: lifetime of a closed batch's row, which deduplicates its closing.
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

    def get(self, batch_id: str) -> Batch | None:
        return read_batch(self._read_row(batch_id))

    def handle(self, entry: AuditRecord, record: Incoming, cause: str) -> Sequence[Effect]:
        """Apply a record about a batch: return its row and, when it is complete, its summary."""
        batch_id, before = entry.request_id, self.get(entry.request_id)
        if before is not None and before.closed_by:
            repeats = before.closed_by == record.record_id
            return [self._summary(batch_id, before, cause)] if repeats else []
        after = _apply(before, entry, record.record_id)
        if after is None or after == before:
            return []
        if not after.closed_by:
            return [_row(batch_id, after.with_expiry(self._clock() + self._open_seconds))]
        BATCHES.inc()
        row = _row(batch_id, after.with_expiry(self._clock() + self._remember_seconds))
        return [row, self._summary(batch_id, after, cause)]

    def _summary(self, batch_id: str, batch: Batch, cause: str) -> Outgoing:
        """Return the summary record, which carries the span of the batch."""
        with request_scope(trace_context(batch.trace_id, batch.trace)):
            record = publish_summary(summary_of(batch_id, batch), NAME, cause, batch.reply)
            if self._is_request(batch_id):
                return record
            span = request_span(
                batch_id,
                batch.trace_id,
                start=batch.received_at,
                end=batch.finished_at or batch.received_at,
                attributes={"clipmill.batch.size": batch.size},
            )
            return record.with_spans(span)

    def sweep(self, slices: ReadSlices) -> Iterator[list[Effect]]:
        """Expire rows, and evict surplus ones, slice by slice.

        The row of a closed batch gets a tombstone. An open batch is closed by a record on its own
        partition: only the order of the partition excludes a race with the report of a member.
        """
        now = self._clock()
        at = datetime.fromtimestamp(now, UTC)
        for keys in keys_to_evict(slices, now, ROWS_BYTES_MAX):
            yield [_close_or_delete(key, self.get(key), at) for key in keys]


def _apply(before: Batch | None, entry: AuditRecord, record_id: str) -> Batch | None:
    """Return an open batch after applying a record; None when the record has no effect."""
    if entry.transition == "batch_expired":
        if before is None or entry.detail.get(EXPIRES_AT) != repr(before.expires_at):
            return None
        return before.after_expiry(entry.at, record_id)
    if entry.member is not None:
        initial = batch_of_member(entry.member)
        after = (before or initial).after_introduction(initial).after_member(entry.member)
    else:
        assert entry.job is not None
        initial = batch_of_job(entry.job)
        after = (before or initial).after_introduction(initial)
    return after.after_close(record_id) if after.is_complete else after


def _row(batch_id: str, batch: Batch) -> TableWrite:
    return TableWrite(TABLE, batch_id, encode(batch))


def _close_or_delete(batch_id: str, batch: Batch | None, at: datetime) -> Effect:
    if batch is None or batch.closed_by or not batch.size:
        return TableWrite(TABLE, batch_id, None)
    with request_scope(trace_context(batch.trace_id, batch.trace)):
        return expire_batch(batch_id, batch.expires_at, batch.trace_id, NAME, at)


def expire_batch(
    batch_id: str, expires_at: float, trace_id: str, step: str, at: datetime
) -> Outgoing:
    """Return the record that closes an expired batch with undecided members.

    It has no effect once the row has another ``expires_at``: a member was decided in between.
    """
    record = AuditRecord(
        request_id=batch_id,
        step=step,
        transition="batch_expired",
        at=at,
        detail={EXPIRES_AT: repr(expires_at)},
    )
    return batch_record(record, step, None, trace_id, part=f":{expires_at!r}")


def publish_summary(
    summary: BatchFinished, step: str, cause: str, reply: Reply | None = None
) -> Outgoing:
    kind = "batch.finished.v1"
    return seal(
        RESULTS,
        summary.request_id,
        encode(summary),
        kind=kind,
        step=step,
        event_id=f"{summary.request_id}:{kind}",
        request_id=summary.request_id,
        trace_id=summary.trace_id,
        cause_id=cause,
        extra=correlation_headers(reply),
        reply_to=reply.topic if reply else None,
    )
