"""Events of the ledger: an audit record together with the state of its request; and its results."""

from datetime import datetime
from typing import Literal

import msgspec

from agents.ledger.batch_records import parse_member_id, report_member
from agents.ledger.batch_state import Batch
from agents.ledger.request_state import Decided, RequestState, known_reply
from agents.pipeline.events import publish_result
from schemas.audit import AuditRecord, MemberOutcome
from schemas.codec import Moment, encode
from schemas.errors import ErrorCode
from schemas.request import Action, Reply
from schemas.results import OutcomeStatus
from streams.observability.metrics import END_TO_END, RESULTS, observe, series
from streams.records import Incoming, Outgoing, TableWrite
from streams.tracing.scope import request_span
from streams.tracing.spans import Span

NAME = "ledger"
TABLE = "outcomes"


class ResultHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a result that the ledger reads; it forwards the body undecoded."""

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
    error: "ErrorHeader | None" = None


class ErrorHeader(msgspec.Struct, frozen=True):
    """The error code of a result."""

    error_type: ErrorCode


class LedgerEvent(msgspec.Struct, frozen=True):
    """An audit record and the state of its request.

    ``cause`` is the record's event id, ``batch`` the state of a batch with the request's id.
    """

    record: Incoming
    entry: AuditRecord
    cause: str
    state: RequestState | None
    batch: Batch | None = None

    @property
    def is_redelivery(self) -> bool:
        """Whether this record already decided the request, before a crash."""
        return isinstance(self.state, Decided) and self.state.record_id == self.record.record_id

    @property
    def reply(self) -> Reply | None:
        """Reply routing of the result; stable when the record is redelivered.

        The state takes precedence: a step that could not decode its event proposes a result
        without a reply.
        """
        return self.entry.reply if self.state is None else known_reply(self.state)

    @property
    def action(self) -> Action | None:
        """The action of the request, None when neither its row nor this record has it."""
        snapshot = self.state.job if self.state is not None else None
        job = snapshot or self.entry.job
        return None if job is None else job.action

    def write_row(self, row: RequestState) -> TableWrite:
        return TableWrite(TABLE, self.entry.request_id, encode(row))


def measure(header: ResultHeader, action: Action | None) -> None:
    """Record the metrics of a result, once, when it is decided."""
    series(RESULTS, header.status, header.error.error_type if header.error else "").inc()
    seconds = (header.finished_at - header.received_at).total_seconds()
    duration = series(END_TO_END, header.status, action or "", header.cache)
    # Negative when the clocks of two workers, or of a client, differ.
    observe(duration, max(0.0, seconds), header.trace_id)


def publish_outcome(
    request_id: str, header: ResultHeader, body: bytes, cause: str, reply: Reply | None
) -> list[Outgoing]:
    """Return the result record and, for a member, the report to its batch.

    When the deciding record is redelivered, both are published again.
    """
    result = publish_result(request_id, header.status, body, header.trace_id, cause, reply=reply)
    result = result.with_spans(_request_span(request_id, header))
    place = parse_member_id(request_id)
    if place is None:
        return [result]
    batch_id, index = place
    member = MemberOutcome(
        index=index,
        status=header.status,
        finished_at=header.finished_at,
        size=header.batch_size or 0,
        received_at=header.received_at,
        trace_id=header.trace_id,
        attributes=header.attributes,
        retry_of=header.retry_of,
        reply=reply,
    )
    return [result, report_member(batch_id, member, NAME, cause)]


def _request_span(request_id: str, header: ResultHeader) -> tuple[Span, ...]:
    """Return the root span of a request, recorded when its result is acknowledged."""
    return request_span(
        request_id,
        header.trace_id,
        start=epoch_nanoseconds(header.received_at),
        end=epoch_nanoseconds(header.finished_at),
        attributes={"clipmill.status": header.status},
        error=header.error.error_type if header.error else "",
    )


def epoch_nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6) * 1_000
