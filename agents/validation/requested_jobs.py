"""Reads the jobs of a record of the requests topic, or rejects it. Pure.

A record is a request, with a job for each URL, or a pending link, with the job that it is of.

Pending links are short links whose resolution is postponed or retried. A client could forge one, as
they are on the topic that clients publish to. Each is therefore checked against the limits of
requests: ids, sizes and times that no request leads to are rejected.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from agents.pipeline.events import EVENT_TOPICS, propose_result
from agents.pipeline.failures import as_bug, placeholder_job
from agents.pipeline.request_parsing import (
    cause_of,
    check_size,
    field_of,
    is_json,
    jobs_of,
    read_request,
    recover_identity,
    rejection,
)
from agents.pipeline.results import details_of, error_result, rejected
from agents.pipeline.step import as_replay
from schemas.codec import MalformedMessageError, decode, encode
from schemas.error_catalog import explain
from schemas.errors import ClipmillError, ErrorContext
from schemas.events import PendingLink
from schemas.job import BatchMember, Job
from schemas.request import (
    CORRELATION_BYTES_MAX,
    MAX_BATCH_URLS,
    MAX_URL_CHARACTERS,
    Reply,
    Request,
)
from streams import Effect, Envelope, Incoming, dead_letter, open_envelope
from streams.envelope import TYPE_PREFIX

NAME = "validation"

_REPLAY = re.compile(r"/replay-[0-9]{1,4}$")
"""Suffix of the id of a replayed dead letter's request; see `Job.as_replay`."""

RequestedJob = tuple[Job, Any]
"""A job, whose URL is clipped, and the original URL as decoded."""


def read_jobs(envelope: Envelope, record: Incoming) -> list[RequestedJob]:
    """Return the jobs of a record; a replayed dead letter starts requests of its own.

    Raises:
        ClipmillError: ``request.invalid`` or ``request.too_large``, with ``field``.
    """
    if envelope.type == TYPE_PREFIX + EVENT_TOPICS[PendingLink][1]:
        job = read_pending(envelope, record)
        requested: list[RequestedJob] = [(job, job.url)]
    else:
        request = read_request(envelope)
        urls = (request.url,) if request.urls is None else request.urls
        requested = list(zip(jobs_of(request, envelope, record), urls, strict=True))
    return [(as_replay(job, record), url) for job, url in requested]


def read_pending(envelope: Envelope, record: Incoming) -> Job:
    """Decode the job of a pending link.

    Raises:
        ClipmillError: ``request.invalid`` or ``request.too_large``, with ``field``.
    """
    check_size(envelope)
    try:
        job = decode(envelope.data, PendingLink).job
        _check(job)
    except MalformedMessageError as error:
        raise rejection(error) from None
    received = min(job.received_at, record.received_at())
    return msgspec.structs.replace(job, received_at=received, trace_id=envelope.trace_id)


def _check(job: Job) -> None:
    batch = job.batch
    base_id = _REPLAY.sub("", job.request_id)
    if batch is not None and not _is_member(base_id, batch):
        raise MalformedMessageError("$.job.batch", "it is not a position in a batch")
    if len(job.url) > MAX_URL_CHARACTERS or job.received_at.tzinfo is None:
        raise MalformedMessageError("$.job", "no request results in such a job")
    reply = job.reply or Reply()
    if len(reply.correlation_id or b"") > CORRELATION_BYTES_MAX:
        raise MalformedMessageError("$.job.reply", "no request results in such a job")
    decode(encode(_request_of(job, base_id)), Request)


def _is_member(request_id: str, batch: BatchMember) -> bool:
    in_range = 0 <= batch.index < batch.size <= MAX_BATCH_URLS
    return in_range and request_id == f"{batch.id}/{batch.index}"


def _request_of(job: Job, base_id: str) -> dict[str, Any]:
    return {
        "id": job.batch.id if job.batch else base_id,
        "url": job.url,
        "deadline": job.deadline,
        "priority": job.priority,
        "attributes": job.attributes,
        "retry_of": job.retry_of,
        "reply_to": job.reply.topic if job.reply else None,
    }


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
    job = msgspec.structs.replace(job, attributes=identity.attributes, reply=identity.reply)
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
        return [msgspec.structs.replace(job, attributes=identity.attributes, reply=identity.reply)]
