"""Jobs of a record of the requests topic: those of a request, or that of a pending link. Pure.

Pending links are short links whose resolution is postponed or retried. A client could forge one, as
they are on the topic that clients publish to. Each is therefore checked against the limits of
requests: ids, sizes and times that no request leads to are rejected.
"""

import re
from typing import Any

import msgspec

from agents.pipeline.events import EVENT_TOPICS
from agents.pipeline.request_parsing import check_size, jobs_of, read_request, rejection
from schemas.codec import MalformedMessageError, decode, encode
from schemas.events import PendingLink
from schemas.job import BatchMember, Job
from schemas.request import (
    CORRELATION_BYTES_MAX,
    MAX_BATCH_URLS,
    MAX_URL_CHARACTERS,
    Reply,
    Request,
)
from streams.deadletters.headers import replays_of
from streams.envelope import TYPE_PREFIX, Envelope
from streams.records import Incoming

_REPLAY = re.compile(r"/replay-[0-9]{1,4}$")
"""Suffix of the id of a replayed dead letter's request; see `Job.replayed`."""


RequestedJob = tuple[Job, Any]
"""A job, whose URL is clipped, and the original URL as decoded."""


def read_jobs(envelope: Envelope, record: Incoming) -> list[RequestedJob]:
    """Return the jobs of a record; a replayed dead letter starts requests of its own."""
    return [(as_replay(job, record), url) for job, url in _requested_jobs(envelope, record)]


def as_replay(job: Job, record: Incoming) -> Job:
    number = replays_of(record)
    return job.as_replay(number, record.received_at()) if number > job.replays else job


def _requested_jobs(envelope: Envelope, record: Incoming) -> list[RequestedJob]:
    """Return new jobs, or the job of a pending link."""
    if envelope.type == TYPE_PREFIX + EVENT_TOPICS[PendingLink][1]:
        job = read_pending(envelope, record)
        return [(job, job.url)]
    request = read_request(envelope)
    urls = (request.url,) if request.urls is None else request.urls
    return list(zip(jobs_of(request, envelope, record), urls, strict=True))


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
