"""Links that are to be resolved again. Pure.

They come back on the topic that clients write to, so each must be one that a request of a client
could have led to: no other ids, no larger texts, no other times.
"""

import re
from typing import Any

import msgspec

from agents.pipeline.ownership import received_at
from agents.pipeline.request_parsing import check_size, refusal
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
from streams.envelope import Envelope
from streams.records import Incoming

_REPLAY = re.compile(r"/replay-[0-9]{1,4}$")
"""Behind the id of a request that was put back from the dead letters; see `Job.replayed`."""


def read_pending(envelope: Envelope, record: Incoming) -> Job:
    """Return the job of a link that is to be resolved again.

    Raises:
        ClipmillError: ``request.invalid`` or ``request.too_large``, with ``field``.
    """
    check_size(envelope)
    try:
        job = decode(envelope.data, PendingLink).job
        _check(job)
    except MalformedMessageError as error:
        raise refusal(error) from None
    written = min(job.received_at, received_at(record))
    return msgspec.structs.replace(job, received_at=written, trace_id=envelope.trace_id)


def _check(job: Job) -> None:
    batch = job.batch
    first = _REPLAY.sub("", job.request_id)
    if batch is not None and not _is_member(first, batch):
        raise MalformedMessageError("$.job.batch", "this is no place in a batch")
    if len(job.url) > MAX_URL_CHARACTERS or job.received_at.tzinfo is None:
        raise MalformedMessageError("$.job", "no request leads to such a job")
    reply = job.reply or Reply()
    if len(reply.correlation_id or b"") > CORRELATION_BYTES_MAX:
        raise MalformedMessageError("$.job.reply", "no request leads to such a job")
    decode(encode(_request_of(job, first)), Request)


def _is_member(request_id: str, batch: BatchMember) -> bool:
    in_range = 0 <= batch.index < batch.size <= MAX_BATCH_URLS
    return in_range and request_id == f"{batch.id}/{batch.index}"


def _request_of(job: Job, first: str) -> dict[str, Any]:
    return {
        "id": job.batch.id if job.batch else first,
        "url": job.url,
        "deadline": job.deadline,
        "priority": job.priority,
        "attributes": job.attributes,
        "retry_of": job.retry_of,
        "reply_to": job.reply.topic if job.reply else None,
    }
