"""Ownership: finds the request that a record belongs to, even if the record is damaged."""

from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from schemas.codec import MalformedMessageError, decode
from schemas.job import Job
from schemas.request import Options
from streams.envelope import trace_id_of
from streams.records import Incoming

REQUEST_ID_CHARACTERS = 176
"""Longest request id: 128 characters of the client, the index in a batch, the replay number."""


class _Owned(msgspec.Struct, frozen=True):
    job: Job


def recover_job(record: Incoming) -> Job | None:
    """Return the job of a record, from its body, else its headers; None when neither has it."""
    with suppress(MalformedMessageError):
        return decode(record.value or b"", _Owned).job
    request_id = record.header("ce_correlationid") or ""
    return (
        placeholder_job(request_id, record)
        if 0 < len(request_id) <= REQUEST_ID_CHARACTERS
        else None
    )


def placeholder_job(request_id: str, record: Incoming, url: str = "") -> Job:
    """Return a job with defaults for a record of which little more than the id is known."""
    return Job(
        request_id=request_id,
        url=url,
        action="download",
        options=Options(),
        received_at=received_at(record),
        trace_id=trace_id_of(record),
    )


def received_at(record: Incoming) -> datetime:
    """Return the timestamp of a record; now, when the producer's clock is ahead or unset."""
    now = datetime.now(UTC)
    past = 0 < record.timestamp <= now.timestamp()
    return datetime.fromtimestamp(record.timestamp, UTC) if past else now
