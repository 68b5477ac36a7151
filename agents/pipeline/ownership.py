"""Whose record is this? As far as it tells, also when it is broken."""

from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from schemas.codec import MalformedMessageError, decode
from schemas.job import Job
from schemas.request import Options
from streams.envelope import trace_id_of
from streams.records import Incoming

REQUEST_ID_CHARACTERS = 176
"""Longest id of a request: the client's 128 characters, its place in a batch, a replay's number."""


class _Owned(msgspec.Struct, frozen=True):
    job: Job


def recover_job(record: Incoming) -> Job | None:
    """Return whose record this is: by its body, else by its headers; None when neither tells."""
    with suppress(MalformedMessageError):
        return decode(record.value or b"", _Owned).job
    request_id = record.header("ce_correlationid") or ""
    return (
        placeholder_job(request_id, record)
        if 0 < len(request_id) <= REQUEST_ID_CHARACTERS
        else None
    )


def placeholder_job(request_id: str, record: Incoming, url: str = "") -> Job:
    """Return a job for a record of which little more than its name is known."""
    return Job(
        request_id=request_id,
        url=url,
        action="download",
        options=Options(),
        received_at=received_at(record),
        trace_id=trace_id_of(record),
    )


def received_at(record: Incoming) -> datetime:
    """Return when a record was written; now, when its producer's clock says what cannot be."""
    now = datetime.now(UTC)
    past = 0 < record.timestamp <= now.timestamp()
    return datetime.fromtimestamp(record.timestamp, UTC) if past else now
