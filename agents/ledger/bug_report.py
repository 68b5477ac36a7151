"""What the ledger does about a bug of its own: nobody waits for ever, nobody hears two stories."""

import time
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from agents.ledger.batches import is_about_batch
from agents.ledger.events import NAME, TABLE, ResultHeader, publish_outcome
from agents.ledger.request_state import Decided, RequestState, reply_known
from agents.ledger.user_commands import answer, answer_id
from agents.pipeline.failures import as_bug
from agents.pipeline.ownership import recover_job
from agents.pipeline.results import ended, facts_of
from schemas.audit import AuditRecord
from schemas.codec import MalformedMessageError, decode, encode
from schemas.commands import Cancel, Retry
from schemas.error_catalog import explain
from schemas.job import Job
from schemas.request import Reply
from streams.envelope import open_envelope
from streams.records import Effect, Incoming, TableWrite
from streams.runtime.processor import dead_letter

BUG_RESULT_TTL_SECONDS = 3_600.0
"""How long the outcome of a bug in the ledger itself is remembered."""


def on_bug(
    record: Incoming, error: Exception, known: RequestState | None = None
) -> Sequence[Effect]:
    """Return a dead letter and, so that nobody waits for ever, an outcome that says so.

    It goes straight to the results: a detour by the audit topic would come back here. Made anew
    of the same record it is the same, to the byte. An order is no reason to end its request, nor
    is a record about a batch. ``known`` is what is known of its request, if the caller could ask.
    """
    letter = dead_letter(record, error, NAME)
    entry = _entry_in(record)
    if entry is not None and entry.command is not None:
        return [letter, *_answer_bug(record, error, entry.command)]
    if entry is not None and is_about_batch(entry):
        return [letter]
    owner = recover_job(record)
    if owner is None:
        return [letter]
    told = owner.reply or (entry.reply if entry else None)
    return [letter, *_end_by_bug(owner, record, error, reply_known(known) or told)]


def _entry_in(record: Incoming) -> AuditRecord | None:
    with suppress(MalformedMessageError):
        return decode(open_envelope(record).data, AuditRecord)
    return None


def _answer_bug(record: Incoming, error: Exception, command: Cancel | Retry) -> Sequence[Effect]:
    name = answer_id(command, record)
    bug = as_bug(error)
    context = explain(bug.code, operation=NAME, url="", details=facts_of(bug))
    return [] if name is None else [answer(name, command, context, record)]


def _end_by_bug(
    owner: Job, record: Incoming, error: Exception, reply: Reply | None
) -> Sequence[Effect]:
    bug = as_bug(error)
    context = explain(bug.code, operation=NAME, url=owner.url, details=facts_of(bug))
    outcome = msgspec.structs.replace(ended(owner, context), finished_at=owner.received_at)
    row = Decided(
        record_id=record.record_id,
        expires_at=time.time() + BUG_RESULT_TTL_SECONDS,
        status="failed",
        trace_id=outcome.trace_id,
        reply=reply,
    )
    body = encode(outcome)
    head = decode(body, ResultHeader)
    published = publish_outcome(owner.request_id, head, body, record.record_id, reply)
    return [TableWrite(TABLE, owner.request_id, encode(row)), *published]
