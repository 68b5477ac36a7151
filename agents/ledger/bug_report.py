"""Bugs of the ledger itself: their requests still get exactly one terminal result. Idempotent."""

import time
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from agents.ledger.events import NAME, TABLE, ResultHeader, is_about_batch, publish_outcome
from agents.ledger.request_state import Decided, RequestState, known_reply
from agents.ledger.user_commands import command_result, command_result_id
from agents.pipeline.failures import as_bug, recover_job
from agents.pipeline.results import details_of, error_result
from schemas import AuditRecord, Job, MalformedMessageError, decode, encode
from schemas.commands import Cancel, Retry
from schemas.error_catalog import explain
from schemas.request import Reply
from streams import Effect, Incoming, TableWrite, dead_letter, open_envelope

BUG_RESULT_TTL_SECONDS = 3_600.0
"""Lifetime of the row of a request that ended by a bug of the ledger."""


def on_bug(
    record: Incoming, error: Exception, state: RequestState | None = None
) -> Sequence[Effect]:
    """Return a dead letter and a result ``internal.bug``, so that no client waits forever.

    The result is published directly: proposed on the audit topic, it could fail here again. A
    redelivered record produces the same result, byte for byte. A command does not end its request,
    nor does a record about a batch. ``state`` is the state of the request, if it could be read.
    """
    dead_record = dead_letter(record, error, NAME)
    entry = _read_entry(record)
    if entry is not None and entry.command is not None:
        return [dead_record, *_command_bug_result(record, error, entry.command)]
    if entry is not None and is_about_batch(entry):
        return [dead_record]
    owner = recover_job(record)
    if owner is None:
        return [dead_record]
    reply = owner.reply or (entry.reply if entry else None)
    return [dead_record, *_end_with_bug(owner, record, error, known_reply(state) or reply)]


def _read_entry(record: Incoming) -> AuditRecord | None:
    with suppress(MalformedMessageError):
        return decode(open_envelope(record).data, AuditRecord)
    return None


def _command_bug_result(
    record: Incoming, error: Exception, command: Cancel | Retry
) -> Sequence[Effect]:
    name = command_result_id(command, record)
    bug = as_bug(error)
    context = explain(bug.code, operation=NAME, url="", details=details_of(bug))
    return [] if name is None else [command_result(name, command, context, record)]


def _end_with_bug(
    owner: Job, record: Incoming, error: Exception, reply: Reply | None
) -> Sequence[Effect]:
    bug = as_bug(error)
    context = explain(bug.code, operation=NAME, url=owner.url, details=details_of(bug))
    outcome = msgspec.structs.replace(error_result(owner, context), finished_at=owner.received_at)
    row = Decided(
        record_id=record.record_id,
        expires_at=time.time() + BUG_RESULT_TTL_SECONDS,
        status="failed",
        trace_id=outcome.trace_id,
        reply=reply,
    )
    body = encode(outcome)
    header = decode(body, ResultHeader)
    published = publish_outcome(owner.request_id, header, body, record.record_id, reply)
    return [TableWrite(TABLE, owner.request_id, encode(row)), *published]
