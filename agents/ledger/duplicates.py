"""Duplicate request ids: a request under an id in use gets no result, and the ledger reports it.

Copies of at-least-once delivery are no duplicates: they have the trace and the content of the
original request.
"""

import logging
from collections import Counter
from typing import Literal, get_args

import msgspec

from agents.ledger.events import NAME, LedgerEvent, ResultHeader
from agents.ledger.request_state import (
    UNREADABLE,
    Decided,
    Open,
    RequestSnapshot,
    RequestState,
    snapshot_of,
)
from schemas.audit import AuditRecord
from schemas.codec import encode
from schemas.job import Job
from streams.envelope import seal
from streams.observability.metrics import OUTCOMES_DROPPED, REPEATED_REQUESTS, start_at_zero
from streams.records import Effect, Outgoing
from streams.topics import AUDIT
from streams.tracing.scope import request_span
from streams.tracing.spans import Span

log = logging.getLogger(__name__)

ContentComparison = Literal["same", "other"]
"""Content of a request under an id in use, compared with the first request."""

DropReason = Literal["copy", "late", "repeated", "unreadable_row"]

_LINES = {
    "same": (
        logging.INFO,
        "%s was requested again by %s: the outcome is that of the first request",
    ),
    "other": (
        logging.WARNING,
        "the id %s belongs to an earlier request: that of %s is dropped; send it with a new id",
    ),
    "late": (logging.INFO, "%s is decided: the later outcome of %s is dropped"),
}
"""Level and format of each log line; arguments: request id, id of the dropped event or record."""


def repeated_content(
    state: RequestState | None, trace_id: str, requested: RequestSnapshot | None
) -> ContentComparison | None:
    """Compare a request with the one known under its id; None when they are the same request.

    Traces made by clients may span several requests, so equal traces alone are not enough. The
    time of receipt is ignored: it is the time of reading when the producer's clock is ahead.
    """
    if not isinstance(state, Open | Decided):
        return None
    first, first_trace = state.job, _trace_id_of(state)
    is_same = first is None or requested is None or _has_same_content(requested, first)
    if is_same and first_trace == trace_id:
        return None
    return "same" if is_same and first is not None and requested is not None else "other"


def _trace_id_of(state: Open | Decided) -> str:
    own = state.trace_id if isinstance(state, Decided) else ""
    return own or (state.job.trace_id if state.job is not None else "")


def _has_same_content(one: RequestSnapshot, other: RequestSnapshot) -> bool:
    origin = {
        "trace_id": other.trace_id,
        "received_at": other.received_at,
        "trace": other.trace,
    }
    return msgspec.structs.replace(one, **origin) == other


def belongs_to_other_request(state: Open, header: ResultHeader, job: Job | None) -> bool:
    """Return whether a result with another trace id belongs to another request than the open one.

    ``job`` is the job of a request that validation ended. A request with the same content may end
    the open one: its client published it twice. A result without URL stems from a record that
    could not be decoded, and must end the request that it names.
    """
    if job is not None:
        return repeated_content(state, job.trace_id, snapshot_of(job)) == "other"
    return header.url not in ("", state.job.url)


def drop_reason(state: RequestState | None, header: ResultHeader) -> DropReason:
    """Return why a result is dropped, given the state of its request."""
    if state is UNREADABLE:
        return "unreadable_row"
    if not isinstance(state, Decided):
        return "repeated"
    if repeated_content(state, header.trace_id, None) is not None:
        return "repeated"
    return "copy" if state.status == header.status else "late"


class DuplicateReports:
    """Metrics, log lines and audit records about duplicate ids and dropped results.

    Log lines are sampled: one of each kind a minute, followed by the count of the others.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        start_at_zero(REPEATED_REQUESTS, get_args(ContentComparison))
        start_at_zero(OUTCOMES_DROPPED, get_args(DropReason))

    def report_duplicate(
        self, event: LedgerEvent, content: ContentComparison, trace_id: str
    ) -> list[Effect]:
        """Count and log a request under an id in use; return its audit record."""
        REPEATED_REQUESTS.labels(content).inc()
        by = event.record.header("ce_causationid") or event.record.record_id
        self._log(content, event.entry.request_id, by)
        record = _audit_record(event, content, trace_id, by)
        return [record.with_spans(_duplicate_span(event, trace_id))]

    def count_dropped(self, event: LedgerEvent, reason: DropReason) -> None:
        OUTCOMES_DROPPED.labels(reason).inc()
        if reason == "late":
            self._log(reason, event.entry.request_id, event.cause)

    def log_counts(self) -> None:
        """Log the number of suppressed lines since the last call; called once a minute."""
        for kind, count in self._counts.items():
            if count > 1:
                level, _ = _LINES[kind]
                log.log(
                    level, "%d further log lines of the kind %r were suppressed", count - 1, kind
                )
        self._counts.clear()

    def _log(self, kind: str, request_id: str, by: str) -> None:
        self._counts[kind] += 1
        if self._counts[kind] == 1:
            level, text = _LINES[kind]
            log.log(level, text, request_id, by)


def _duplicate_span(event: LedgerEvent, trace_id: str) -> tuple[Span, ...]:
    """Return the span of a request without a result: the parent of other spans in its trace."""
    if isinstance(event.state, Open | Decided) and _trace_id_of(event.state) == trace_id:
        return ()
    entry = event.entry
    return request_span(
        entry.request_id,
        trace_id,
        start=entry.job.received_at if entry.job else entry.at,
        end=entry.at,
        attributes={"clipmill.status": "repeated"},
    )


def _audit_record(
    event: LedgerEvent, content: ContentComparison, trace_id: str, by: str
) -> Outgoing:
    request_id, kind = event.entry.request_id, "request.repeated.v1"
    record = AuditRecord(
        request_id=request_id,
        step=NAME,
        transition="repeated",
        at=event.entry.at,
        detail={"content": content, "by": by},
    )
    return seal(
        AUDIT,
        request_id,
        encode(record),
        kind=kind,
        step=NAME,
        event_id=f"{request_id}:{kind}:{by}",
        request_id=request_id,
        trace_id=trace_id,
        cause_id=event.cause,
    )
