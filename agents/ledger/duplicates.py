"""Duplicate request ids: the ledger gives a request under a taken id no outcome, and reports it.

Copies of at-least-once delivery are no duplicates: they have the trace and the content of the
request that they are copies of.
"""

import logging
from collections import Counter
from dataclasses import replace
from typing import Literal, get_args

import msgspec

from agents.ledger.events import NAME, LedgerEvent, ResultHeader, epoch_nanoseconds
from agents.ledger.request_state import (
    UNREADABLE,
    Decided,
    Open,
    RequestSnapshot,
    RequestState,
    essence_of,
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

Content = Literal["same", "other"]
"""Whether a request under a taken id asks for the same as the first one."""

DropReason = Literal["copy", "late", "repeated", "unreadable_row"]

_LINES = {
    "same": (logging.INFO, "%s was requested again by %s: the first request has the one outcome"),
    "other": (
        logging.WARNING,
        "%s is the id of an earlier request: that of %s needs an id of its own, it gets no outcome",
    ),
    "late": (logging.INFO, "%s is decided: the later outcome of %s is dropped"),
}
"""Level and text of each log line: request id, and the event or record that is dropped."""


def repeated_content(
    known: RequestState | None, trace_id: str, asked: RequestSnapshot | None
) -> Content | None:
    """Return what a request under a known id asks for, None when it is the known request.

    Traces made by clients may span several requests, so equal traces alone are not enough. The
    time of receipt does not count: it is the time of reading when the producer's clock is ahead.
    """
    if not isinstance(known, Open | Decided):
        return None
    first, first_trace = known.job, _trace_of(known)
    is_same = first is None or asked is None or _has_content_of(asked, first)
    if is_same and first_trace == trace_id:
        return None
    return "same" if is_same and first is not None and asked is not None else "other"


def _trace_of(known: Open | Decided) -> str:
    own = known.trace_id if isinstance(known, Decided) else ""
    return own or (known.job.trace_id if known.job is not None else "")


def _has_content_of(one: RequestSnapshot, other: RequestSnapshot) -> bool:
    origin = {
        "trace_id": other.trace_id,
        "received_at": other.received_at,
        "trace": other.trace,
    }
    return msgspec.structs.replace(one, **origin) == other


def is_of_another(known: RequestState | None, head: ResultHeader, job: Job | None) -> bool:
    """Return whether an outcome is that of another request than the open one of its id.

    ``job`` is that of a request which validation has ended. A request of the same content may end
    the open one: its client has published it twice. An outcome without URL is that of a record
    which could not be read, and must end the request that it names.
    """
    if not isinstance(known, Open) or head.trace_id == known.job.trace_id:
        return False
    if job is not None:
        return repeated_content(known, job.trace_id, essence_of(job)) == "other"
    return head.url not in ("", known.job.url)


def drop_reason(known: RequestState | None, head: ResultHeader) -> DropReason:
    """Return why an outcome is dropped, for a request that is known."""
    if known is UNREADABLE:
        return "unreadable_row"
    if not isinstance(known, Decided):
        return "repeated"
    if repeated_content(known, head.trace_id, None) is not None:
        return "repeated"
    return "copy" if known.status == head.status else "late"


class DuplicateReports:
    """Metrics, log lines and audit records about duplicate ids and dropped outcomes.

    Of each kind of log line one is written a minute, and then the count of the others.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        start_at_zero(REPEATED_REQUESTS, get_args(Content))
        start_at_zero(OUTCOMES_DROPPED, get_args(DropReason))

    def repeated(self, news: LedgerEvent, content: Content, trace_id: str) -> list[Effect]:
        """Return the audit record of a request under a taken id."""
        REPEATED_REQUESTS.labels(content).inc()
        by = news.record.header("ce_causationid") or news.record.record_id
        self._log(content, news.entry.request_id, by)
        record = _audit_record(news, content, trace_id, by)
        return [replace(record, spans=(*record.spans, *_repeated_span(news, trace_id)))]

    def dropped(self, news: LedgerEvent, reason: DropReason) -> None:
        """Count an outcome that is dropped."""
        OUTCOMES_DROPPED.labels(reason).inc()
        if reason == "late":
            self._log(reason, news.entry.request_id, news.cause)

    def log_counts(self) -> None:
        """Log how many lines were held back since the last call; to be called once a minute."""
        for kind, count in self._counts.items():
            if count > 1:
                level, _ = _LINES[kind]
                log.log(
                    level, "%d more log lines of this kind (%s) were held back", count - 1, kind
                )
        self._counts.clear()

    def _log(self, kind: str, request_id: str, by: str) -> None:
        self._counts[kind] += 1
        if self._counts[kind] == 1:
            level, text = _LINES[kind]
            log.log(level, text, request_id, by)


def _repeated_span(news: LedgerEvent, trace_id: str) -> tuple[Span, ...]:
    """Return the span of a request that gets no outcome, which others in its trace hang below."""
    if isinstance(news.known, Open | Decided) and _trace_of(news.known) == trace_id:
        return ()
    entry = news.entry
    return request_span(
        entry.request_id,
        trace_id,
        start=epoch_nanoseconds(entry.job.received_at if entry.job else entry.at),
        end=epoch_nanoseconds(entry.at),
        attributes={"clipmill.status": "repeated"},
    )


def _audit_record(news: LedgerEvent, content: Content, trace_id: str, by: str) -> Outgoing:
    request_id, kind = news.entry.request_id, "request.repeated.v1"
    record = AuditRecord(
        request_id=request_id,
        step=NAME,
        transition="repeated",
        at=news.entry.at,
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
        cause_id=news.cause,
    )
