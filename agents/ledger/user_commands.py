"""User commands in the ledger: ``cancel`` decides an open request, ``retry`` submits a new one."""

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
    restore_job,
    trace_context,
    with_changes,
)
from agents.pipeline.events import correlation_headers, propose_result, user_command
from agents.pipeline.failures import placeholder_job
from agents.pipeline.results import error_result
from schemas import ErrorCode, ErrorContext, Request, Result, decode, encode
from schemas.commands import Cancel, Retry
from schemas.error_catalog import explain
from streams import REQUESTS, Effect, Incoming, Outgoing
from streams.envelope import seal, trace_id_of
from streams.tracing.scope import request_scope


def command_result_id(command: Cancel | Retry, record: Incoming) -> str | None:
    """Return the id under which a rejection is published; None when no client expects one.

    That is the id of the new request of a retry, or of the command. A command that was fanned out
    from a batch to its members has none.
    """
    if isinstance(command, Retry):
        return command.new_id or command.id or record.record_id
    return command.id


def apply_command(
    event: LedgerEvent, command: Cancel | Retry, remembered_until: float
) -> Sequence[Effect]:
    """Apply a command; ``remembered_until`` is the expiry of a cancelled request's row."""
    if isinstance(command, Cancel):
        return _cancel(event, command, remembered_until)
    new_id = command_result_id(command, event.record)
    assert new_id is not None
    if isinstance(event.state, Decided) and event.state.job is not None:
        snapshot = event.state.job
        with request_scope(trace_context(snapshot.trace_id, snapshot.trace)):
            return [retry_request(command, new_id, snapshot, event.cause)]
    reason = retry_rejection(command.request_id, event.state, event.batch)
    return [reject(new_id, command, reason, event.record)]


def _cancel(event: LedgerEvent, command: Cancel, remembered_until: float) -> Sequence[Effect]:
    """Cancel an open request or the members of a batch; idempotent for a redelivered record."""
    match event.state:
        case Open(job=snapshot):
            row = Decided(
                record_id=event.record.record_id,
                expires_at=remembered_until,
                job=snapshot,
                status="cancelled",
            )
            return [event.write_row(row), *_publish_cancelled(event, snapshot, command)]
        case Decided(job=RequestSnapshot() as snapshot) if event.is_redelivery:
            return _publish_cancelled(event, snapshot, command)
        case Decided(members=size) if size:
            return cancel_members(command, size, event)
        case None if event.batch is not None and event.batch.size:
            return cancel_members(command, event.batch.size, event)
    name = command_result_id(command, event.record)
    reason = cancel_rejection(command.request_id, event.state)
    return [reject(name, command, reason, event.record)] if name else []


def _publish_cancelled(
    event: LedgerEvent, snapshot: RequestSnapshot, command: Cancel
) -> list[Outgoing]:
    request_id = event.entry.request_id
    body = encode(cancelled_result(request_id, snapshot, command, event.entry.at))
    header = decode(body, ResultHeader)
    if not event.is_redelivery:
        measure(header, snapshot.action)
    with request_scope(trace_context(snapshot.trace_id, snapshot.trace)):
        return publish_outcome(request_id, header, body, event.cause, snapshot.reply)


def cancelled_result(
    request_id: str, snapshot: RequestSnapshot, command: Cancel, at: datetime
) -> Result:
    job = restore_job(request_id, snapshot)
    context = explain(
        ErrorCode.REQUEST_CANCELLED,
        operation=NAME,
        url=job.url,
        details={"by": command.by},
        request_id=request_id,
    )
    return msgspec.structs.replace(error_result(job, context), finished_at=at)


def cancel_members(command: Cancel, size: int, event: LedgerEvent) -> list[Effect]:
    """Fan a command for a batch out to its members, without an id and so without rejections."""
    trace_id = trace_id_of(event.record)
    ids = (f"{command.request_id}/{index}" for index in range(size))
    parts = (msgspec.structs.replace(command, id=None, request_id=each) for each in ids)
    return [
        user_command(part, NAME, at=event.entry.at, cause=event.cause, trace_id=trace_id)
        for part in parts
    ]


def retry_request(command: Retry, new_id: str, snapshot: RequestSnapshot, cause: str) -> Outgoing:
    """Return the new request: the old one with the command's changes, without deadline."""
    old = restore_job(command.request_id, snapshot)
    request = Request(
        id=new_id,
        url=old.url,
        action=old.action,
        options=with_changes(old.options, command.options),
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


def cancel_rejection(request_id: str, state: RequestState | None) -> str:
    if isinstance(state, Decided):
        return f"{request_id} already has its outcome: {state.status}"
    return (
        f"no record of {request_id}: it was decided long ago, or has not arrived; "
        "if it arrives, it is cancelled"
    )


def retry_rejection(request_id: str, state: RequestState | None, batch: Batch | None) -> str:
    if isinstance(state, Decided):
        return f"{request_id} was rejected, or its details are not stored; submit it again"
    if state is None and batch is not None and batch.size:
        last = f"{request_id}/{batch.size - 1}"
        return f"{request_id} is a batch; retry its members, {request_id}/0 to {last}"
    if state is None:
        return f"no record of {request_id}: it never arrived, or was decided long ago"
    return f"{request_id} is in progress; cancel it first"


def reject(name: str, command: Cancel | Retry, reason: str, record: Incoming) -> Outgoing:
    """Return the result of a command that cannot be applied.

    It is proposed on the audit topic like every result: a copy of the command that arrives once it
    could be applied must not produce a second result.
    """
    kind = str(command.__struct_config__.tag)
    details = {
        "field": "$.request_id",
        "reason": reason,
        "command": kind,
        "request_id": command.request_id,
    }
    context = explain(ErrorCode.REQUEST_INVALID, operation=NAME, url="", details=details)
    return command_result(name, command, context, record)


def command_result(
    name: str, command: Cancel | Retry, context: ErrorContext, record: Incoming
) -> Outgoing:
    """Propose an error as the result of a command."""
    retry_of = command.request_id if isinstance(command, Retry) else None
    job = msgspec.structs.replace(placeholder_job(name, record), retry_of=retry_of)
    return propose_result(job, NAME, error_result(job, context), None)
