"""Events of the ledger: audit records with the state of their request, and what they cause.

That is the result of a request, and the records about its batch, which are keyed by batch id and so
belong to the partition whose ledger counts the members. Event ids are deterministic, so redelivered
records can be deduplicated.
"""

import re
from typing import Literal

import msgspec

from agents.ledger.batch_state import Batch
from agents.ledger.request_state import Decided, RequestState, known_reply
from agents.pipeline.events import publish_result
from schemas.audit import AuditRecord, MemberOutcome
from schemas.codec import Moment, encode
from schemas.errors import ErrorCode
from schemas.job import Job
from schemas.request import Action, Reply
from schemas.results import OutcomeStatus
from streams.envelope import seal
from streams.observability.metrics import END_TO_END, RESULTS, observe, series
from streams.records import Incoming, Outgoing, TableWrite
from streams.topics import AUDIT
from streams.tracing.scope import request_span

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
    """Return the result record, with the root span of its request; for a member also its report.

    When the deciding record is redelivered, both are published again.
    """
    result = publish_result(request_id, header.status, body, header.trace_id, cause, reply=reply)
    result = result.with_spans(
        request_span(
            request_id,
            header.trace_id,
            start=header.received_at,
            end=header.finished_at,
            attributes={"clipmill.status": header.status},
            error=header.error.error_type if header.error else "",
        )
    )
    place = parse_member_id(request_id) if "/" in request_id else None
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


def is_about_batch(entry: AuditRecord) -> bool:
    """Return whether a record concerns a batch as a whole, not one request."""
    batch = None if entry.job is None else entry.job.batch
    introduces = batch is not None and batch.id == entry.request_id
    return introduces or entry.member is not None or entry.transition == "batch_expired"


_MEMBER = re.compile(r"(?P<batch>.+)/(?P<index>[0-9]{1,3})")
"""Ids of members, with an index below 1,000. The replay of a member, ``<batch>/3/replay-1``, is a
request of its own and does not count again."""


def parse_member_id(request_id: str) -> tuple[str, int] | None:
    """Return batch id and index of a member's id; None for other ids: client ids have no slash."""
    found = _MEMBER.fullmatch(request_id)
    return (found["batch"], int(found["index"])) if found else None


def introduce_batch(first: Job, step: str, cause: str | None) -> Outgoing:
    """Return the record that registers a batch under its own id, from its first member."""
    assert first.batch is not None
    record = AuditRecord(
        request_id=first.batch.id,
        step=step,
        transition="accepted",
        at=first.received_at,
        detail={"members": str(first.batch.size)},
        job=first,
    )
    return batch_record(record, step, cause, first.trace_id)


def report_member(batch_id: str, member: MemberOutcome, step: str, cause: str) -> Outgoing:
    """Return the record that reports a member's result to the ledger of its batch."""
    record = AuditRecord(
        request_id=batch_id,
        step=step,
        transition="member_decided",
        at=member.finished_at,
        detail={"member": str(member.index), "status": member.status},
        member=member,
    )
    return batch_record(record, step, cause, member.trace_id, part=f":{member.index}")


def batch_record(
    record: AuditRecord, step: str, cause: str | None, trace_id: str, *, part: str = ""
) -> Outgoing:
    """Return a record about a batch, keyed by the batch's id."""
    kind = f"request.{record.transition}.v1"
    return seal(
        AUDIT,
        record.request_id,
        encode(record),
        kind=kind,
        step=step,
        event_id=f"{record.request_id}:{kind}:{part or '1'}",
        request_id=record.request_id,
        trace_id=trace_id,
        cause_id=cause,
    )
