"""Results of requests that validation rejects, and of those that a bug ends."""

from collections.abc import Sequence

import msgspec

from agents.pipeline import propose_result
from agents.pipeline.failures import as_bug, placeholder_job
from agents.pipeline.reply_routing import recover_reply
from agents.pipeline.request_parsing import cause_of, field_of, is_json, recover_identity
from agents.pipeline.results import details_of, error_result, rejected
from agents.validation.requested_jobs import as_replay, read_jobs
from schemas import ClipmillError, ErrorContext, Job
from schemas.error_catalog import explain
from streams import Effect, Envelope, Incoming, dead_letter, open_envelope

NAME = "validation"


def reject_url(job: Job, error: ClipmillError, cause: str) -> Effect:
    return propose_result(job, NAME, rejected(job, explain_failure(job, error)), cause)


def explain_failure(job: Job, error: ClipmillError) -> ErrorContext:
    details = details_of(error) | {"field": field_of(job)}
    return explain(
        error.code, operation=NAME, url=job.url, details=details, request_id=job.request_id
    )


def reject_record(
    record: Incoming, error: ClipmillError, envelope: Envelope | None = None
) -> Sequence[Effect]:
    """Return the result of an invalid request; a record that is no JSON is also dead-lettered."""
    identity = recover_identity(record, envelope)
    job = as_replay(placeholder_job(identity.request_id, record, identity.url), record)
    reply = recover_reply(record, identity.reply_to)
    job = msgspec.structs.replace(job, attributes=identity.attributes, reply=reply)
    details = details_of(error) | identity.envelope_ids
    context = explain(error.code, operation=NAME, url=identity.url, details=details)
    cause = cause_of(envelope, record) if envelope else record.record_id
    effects: list[Effect] = [propose_result(job, NAME, error_result(job, context), cause)]
    if not is_json(envelope.data if envelope else record.value):
        effects.append(dead_letter(record, error, NAME, request_id=identity.request_id))
    return effects


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    """End the jobs of a record as ``internal.bug`` and dead-letter the record."""
    bug = as_bug(error)
    outcomes: list[Effect] = []
    for job in _recover_jobs(record):
        context = explain_failure(job, bug)
        outcomes.append(propose_result(job, NAME, error_result(job, context), record.record_id))
    return [*outcomes, dead_letter(record, error, NAME)]


def _recover_jobs(record: Incoming) -> list[Job]:
    """Return the jobs of a record, or a placeholder job when it cannot be decoded."""
    try:
        return [job for job, _ in read_jobs(open_envelope(record), record)]
    except Exception:  # noqa: BLE001  (reading may be where the bug is)
        identity = recover_identity(record, None)
        job = as_replay(placeholder_job(identity.request_id, record, identity.url), record)
        return [msgspec.structs.replace(job, reply=recover_reply(record, identity.reply_to))]
