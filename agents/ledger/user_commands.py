"""What the ledger does about orders: end a request that was taken back, ask for one again."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from agents.ledger.batch_state import Batch
from agents.ledger.events import NAME, LedgerEvent, ResultHeader, measure, publish_outcome
from agents.ledger.request_state import (
    Decided,
    Open,
    RequestSnapshot,
    RequestState,
    changed,
    job_of,
    trace_context,
)
from agents.pipeline.events import correlation_headers, propose_result, user_command
from agents.pipeline.ownership import placeholder_job
from agents.pipeline.results import ended
from schemas.codec import decode, encode
from schemas.commands import Cancel, Retry
from schemas.error_catalog import explain
from schemas.errors import ErrorCode, ErrorContext
from schemas.request import Request
from schemas.results import Result
from streams.envelope import seal, trace_id_of
from streams.records import Effect, Incoming, Outgoing
from streams.topics import REQUESTS
from streams.tracing.scope import continuing


def answer_id(command: Cancel | Retry, record: Incoming) -> str | None:
    """Return the id of the result that tells of a refusal; None when nobody waits for one.

    That is the id of the new request, or of the command. A member's part of an order for its
    whole batch has none.
    """
    if isinstance(command, Retry):
        return command.new_id or command.id or record.record_id
    return command.id


def apply_command(
    news: LedgerEvent, command: Cancel | Retry, remembered_until: float
) -> Sequence[Effect]:
    """Return what follows from an order; ``remembered_until`` is the end of a request's row."""
    if isinstance(command, Cancel):
        return _cancel(news, command, remembered_until)
    new_id = answer_id(command, news.record)
    assert new_id is not None
    if isinstance(news.known, Decided) and news.known.job is not None:
        kept = news.known.job
        with continuing(trace_context(kept.trace_id, kept.trace)):
            return [ask_again(command, new_id, kept, news.cause)]
    reason = why_not_again(command.request_id, news.known, news.batch)
    return [refuse(new_id, command, reason, news.record)]


def _cancel(news: LedgerEvent, command: Cancel, remembered_until: float) -> Sequence[Effect]:
    """Return the end of a request that is not wanted any more, the same for the same record."""
    match news.known:
        case Open(job=kept):
            row = Decided(
                record_id=news.record.record_id,
                expires_at=remembered_until,
                job=kept,
                status="cancelled",
            )
            return [news.row(row), *_taken_back(news, kept, command)]
        case Decided(job=RequestSnapshot() as kept) if news.decided:
            return _taken_back(news, kept, command)
        case Decided(members=size) if size:
            return to_members(command, size, news)
        case None if news.batch is not None and news.batch.size:
            return to_members(command, news.batch.size, news)
        case None if (name := answer_id(command, news.record)) is not None:
            return [refuse(name, command, why_not_cancelled(command.request_id), news.record)]
    return []


def _taken_back(news: LedgerEvent, kept: RequestSnapshot, command: Cancel) -> list[Outgoing]:
    request_id = news.entry.request_id
    body = encode(cancelled(request_id, kept, command, news.entry.at))
    head = decode(body, ResultHeader)
    if not news.decided:
        measure(head, kept.action)
    with continuing(trace_context(kept.trace_id, kept.trace)):
        return publish_outcome(request_id, head, body, news.cause, kept.reply)


def cancelled(request_id: str, kept: RequestSnapshot, command: Cancel, at: datetime) -> Result:
    """Return the outcome of a request that was taken back at a time."""
    job = job_of(request_id, kept)
    context = explain(
        ErrorCode.REQUEST_CANCELLED,
        operation=NAME,
        url=job.url,
        details={"by": command.by},
        request_id=request_id,
    )
    return msgspec.structs.replace(ended(job, context), finished_at=at)


def to_members(command: Cancel, size: int, news: LedgerEvent) -> list[Effect]:
    """Return the order for a batch as one for each member, which nobody answers."""
    trace_id = trace_id_of(news.record)
    ids = (f"{command.request_id}/{index}" for index in range(size))
    parts = (msgspec.structs.replace(command, id=None, request_id=each) for each in ids)
    return [
        user_command(part, NAME, at=news.entry.at, cause=news.cause, trace_id=trace_id)
        for part in parts
    ]


def ask_again(command: Retry, new_id: str, kept: RequestSnapshot, cause: str) -> Outgoing:
    """Return the new request: the old one with the changes that were ordered, without deadline."""
    old = job_of(command.request_id, kept)
    request = Request(
        id=new_id,
        url=old.url,
        action=old.action,
        options=changed(old.options, command.options),
        priority=old.priority,
        attributes=old.attributes,
        retry_of=command.request_id,
        reply_to=old.reply.topic if old.reply else None,
    )
    return seal(
        REQUESTS,
        new_id,
        encode(request),
        kind="request.retried.v1",
        step=NAME,
        event_id=f"{new_id}:request.retried.v1",
        request_id=new_id,
        trace_id=old.trace_id,
        cause_id=cause,
        extra=correlation_headers(old.reply),
    )


def why_not_cancelled(request_id: str) -> str:
    """Return why a request of which nothing is known cannot be cancelled."""
    return (
        f"nothing is known of {request_id}: it ended long ago, or has not arrived; "
        "should it still come, it is cancelled"
    )


def why_not_again(request_id: str, known: RequestState | None, batch: Batch | None) -> str:
    """Return why a request cannot be asked for again."""
    if isinstance(known, Decided):
        return f"{request_id} was refused, or too little is known of it; submit it anew"
    if known is None and batch is not None and batch.size:
        last = f"{request_id}/{batch.size - 1}"
        return f"{request_id} is a batch; retry its members, {request_id}/0 to {last}"
    if known is None:
        return f"nothing is known of {request_id}: it never arrived, or ended long ago"
    return f"{request_id} is still under way; cancel it first"


def refuse(name: str, command: Cancel | Retry, reason: str, record: Incoming) -> Outgoing:
    """Return the outcome of an order that cannot be followed.

    It goes by way of the audit topic like every outcome: a copy of the order that comes when it
    could be followed must not lead to a second one.
    """
    details = {"field": "$.request_id", "reason": reason}
    context = explain(ErrorCode.REQUEST_INVALID, operation=NAME, url="", details=details)
    return answer(name, command, context, record)


def answer(name: str, command: Cancel | Retry, context: ErrorContext, record: Incoming) -> Outgoing:
    """Return an error as the outcome of an order."""
    retry_of = command.request_id if isinstance(command, Retry) else None
    job = msgspec.structs.replace(placeholder_job(name, record), retry_of=retry_of)
    return propose_result(job, NAME, ended(job, context), None)
