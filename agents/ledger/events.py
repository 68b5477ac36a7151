"""A record of the audit topic as the ledger sees it: what it says, and what was known before."""

from dataclasses import replace
from datetime import datetime
from typing import Literal

import msgspec

from agents.ledger.batch_records import member_place, report_member
from agents.ledger.batch_state import Batch
from agents.ledger.request_state import Decided, RequestState, reply_known
from agents.pipeline.events import publish_result
from schemas.audit import AuditRecord, MemberOutcome
from schemas.codec import Moment, encode
from schemas.errors import ErrorCode
from schemas.request import Action, Reply
from schemas.results import OutcomeStatus
from streams.observability.metrics import END_TO_END, RESULTS, observe
from streams.records import Incoming, Outgoing, TableWrite
from streams.tracing.scope import request_span
from streams.tracing.spans import Span

NAME = "ledger"
TABLE = "outcomes"


class ResultHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger itself wants to know of an outcome."""

    status: OutcomeStatus
    trace_id: str
    url: str = ""
    received_at: Moment
    finished_at: Moment
    attributes: dict[str, str] = {}
    retry_of: str | None = None
    batch_size: int | None = None
    members: int = 0
    cache: Literal["", "hit", "miss", "stale"] = ""
    error: "HeadError | None" = None


class HeadError(msgspec.Struct, frozen=True):
    """The code of an outcome that is no success."""

    error_type: ErrorCode


class LedgerEvent(msgspec.Struct, frozen=True):
    """A record of the audit topic, and what is known of its request.

    ``cause`` is the id of its event, ``batch`` what is known of a batch of the same id.
    """

    record: Incoming
    entry: AuditRecord
    cause: str
    known: RequestState | None
    batch: Batch | None = None

    @property
    def decided(self) -> bool:
        """Whether this very record has decided the request, before a crash."""
        return isinstance(self.known, Decided) and self.known.record_id == self.record.record_id

    @property
    def reply(self) -> Reply | None:
        """Where the outcome goes: the same for every time that this record is read.

        What is known of the request comes first: a step that could not read its event proposes an
        outcome without knowing where it goes.
        """
        return self.entry.reply if self.known is None else reply_known(self.known)

    @property
    def action(self) -> Action | None:
        """What the request asks for, None when neither its row nor this record tells."""
        kept = self.known.job if self.known is not None else None
        job = kept or self.entry.job
        return None if job is None else job.action

    def row(self, row: RequestState) -> TableWrite:
        """Return the row of the request to be written."""
        return TableWrite(TABLE, self.entry.request_id, encode(row))


def measure(head: ResultHeader, action: Action | None) -> None:
    """Count an outcome that has just been decided."""
    RESULTS.labels(head.status, head.error.error_type if head.error else "").inc()
    seconds = (head.finished_at - head.received_at).total_seconds()
    duration = END_TO_END.labels(head.status, action or "", head.cache)
    # The clocks of two workers, or of a client.
    observe(duration, max(0.0, seconds), head.trace_id)


def publish_outcome(
    request_id: str, head: ResultHeader, body: bytes, cause: str, reply: Reply | None
) -> list[Outgoing]:
    """Return an outcome for the client and, when it is a member's, its report to the batch.

    Both are published whenever the outcome is: also again, when the record that decided is.
    """
    result = publish_result(request_id, head.status, body, head.trace_id, cause, reply=reply)
    result = replace(result, spans=(*result.spans, *_request_span(request_id, head)))
    place = member_place(request_id)
    if place is None:
        return [result]
    batch_id, index = place
    member = MemberOutcome(
        index=index,
        status=head.status,
        finished_at=head.finished_at,
        size=head.batch_size or 0,
        received_at=head.received_at,
        trace_id=head.trace_id,
        attributes=head.attributes,
        retry_of=head.retry_of,
        reply=reply,
    )
    return [result, report_member(batch_id, member, NAME, cause)]


def _request_span(request_id: str, head: ResultHeader) -> tuple[Span, ...]:
    """Return the span of the whole request, recorded when its result is acknowledged."""
    return request_span(
        request_id,
        head.trace_id,
        start=epoch_nanoseconds(head.received_at),
        end=epoch_nanoseconds(head.finished_at),
        attributes={"clipmill.status": head.status},
        error=head.error.error_type if head.error else "",
    )


def epoch_nanoseconds(moment: datetime) -> int:
    """Return a time as spans have it."""
    return round(moment.timestamp() * 1e6) * 1_000
