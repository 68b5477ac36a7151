"""Failures: a failed event goes to the recovery stage with the original record, byte for byte.

Records that no step can decode become dead letters, and end their request if it can be identified.
"""

import traceback
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from agents.pipeline.events import Event, propose_result, publish_failure, subject_of
from agents.pipeline.results import DETAIL_CHARACTERS_MAX, details_of, error_result
from schemas import (
    ClipmillError,
    ErrorCode,
    ExtractedVideo,
    Job,
    MalformedMessageError,
    Options,
    PendingLink,
    SelectedVideo,
    decode,
)
from schemas.error_catalog import explain
from schemas.events import FailedRecord, Failure
from schemas.redaction import redact
from schemas.video import EngineVersions
from streams import Effect, Incoming, dead_letter
from streams.envelope import trace_id_of
from streams.observability.metrics import FAILURES
from streams.tracing.scope import record_failure


def to_failure(
    event: Event, error: ClipmillError, step: str, record: Incoming, cause: str | None
) -> Effect:
    """Return the failure record of an event for the recovery stage; counts and traces the error."""
    FAILURES.labels(step, error.code).inc()
    endpoint, job, details = error.endpoint, event.job, details_of(error)
    record_failure(error.code.value, details["reason"])
    failure = Failure(
        job=job,
        step=step,
        error=explain(
            error.code,
            operation=step,
            url=job.url,
            details=details,
            request_id=job.request_id,
        ),
        failed_at=datetime.now(UTC),
        record=failed_record(record),
        retry_after_seconds=error.retry_after,
        platform=endpoint.platform if endpoint else None,
        operation=endpoint.operation if endpoint else None,
        egress=endpoint.egress if endpoint else None,
        permitted=error.permitted,
        subject=subject_of(event),
        account=error.account,
        format_id=error.format_id or _only_format(event),
        engine=error.engine or engine_of(event),
    )
    key = record.key.decode(errors="replace") if record.key else None
    return publish_failure(
        failure, job.request_id if isinstance(event, PendingLink) else key, cause
    )


def _only_format(event: Event) -> str | None:
    if isinstance(event, SelectedVideo) and len(event.sources) == 1:
        return event.sources[0].format.format_id
    return None


def failed_record(record: Incoming) -> FailedRecord:
    return FailedRecord(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        key=record.key,
        value=record.value or b"",
        headers=record.headers,
    )


def engine_of(event: Event) -> EngineVersions | None:
    """Return the engine versions that extracted the page of an event, None before extraction."""
    if isinstance(event, ExtractedVideo):
        return event.extraction.engine
    return event.engine if isinstance(event, SelectedVideo) else None


def on_unreadable(record: Incoming, error: Exception, step: str) -> Sequence[Effect]:
    """Handle an internal record that cannot be decoded.

    It becomes a dead letter; if its request can still be identified, it also gets a result.
    """
    job = recover_job(record)
    if job is None:
        return [dead_letter(record, error, step)]
    details = details_of(ClipmillError(ErrorCode.INTERNAL_BUG, redact(str(error))))
    context = explain(
        ErrorCode.INTERNAL_BUG,
        operation=step,
        url=job.url,
        details=details,
        request_id=job.request_id,
    )
    return [
        dead_letter(record, error, step),
        propose_result(job, step, error_result(job, context), None),
    ]


def as_bug(error: Exception) -> ClipmillError:
    """Convert an unexpected exception to ``internal.bug``, with the newest traceback frames."""
    trace = redact("".join(traceback.format_exception(error)))[-DETAIL_CHARACTERS_MAX:]
    return ClipmillError(ErrorCode.INTERNAL_BUG, type(error).__name__, traceback=trace)


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
        received_at=record.received_at(),
        trace_id=trace_id_of(record),
    )
