"""What becomes of an event that fails: a failure for the error agent, with the record as it was."""

import traceback
from collections.abc import Sequence
from datetime import UTC, datetime

from agents.pipeline.events import Event, propose_result, publish_failure, subject_of
from agents.pipeline.ownership import recover_job
from agents.pipeline.results import FACT_CHARACTERS, ended, facts_of
from schemas.error_catalog import explain
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import ExtractedVideo, PendingLink, SelectedVideo
from schemas.failure import FailedRecord, Failure
from schemas.redaction import redact
from schemas.video import EngineVersions
from streams.observability.metrics import FAILURES
from streams.records import Effect, Incoming
from streams.runtime.processor import dead_letter
from streams.tracing.scope import note_failure


def to_failure(
    event: Event, error: ClipmillError, step: str, record: Incoming, cause: str | None
) -> Effect:
    """Return the failure of an event, with the record that was read, for the error agent."""
    FAILURES.labels(step, error.code).inc()
    place, job, facts = error.place, event.job, facts_of(error)
    note_failure(error.code.value, facts["reason"])
    failure = Failure(
        job=job,
        step=step,
        error=explain(
            error.code,
            operation=step,
            url=job.url,
            details=facts,
            request_id=job.request_id,
        ),
        failed_at=datetime.now(UTC),
        record=failed_record(record),
        retry_after_seconds=error.retry_after,
        platform=place.platform if place else None,
        operation=place.operation if place else None,
        egress=place.egress if place else None,
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
    """Return the format that an event is about, None when there is none or there are several."""
    if isinstance(event, SelectedVideo) and len(event.sources) == 1:
        return event.sources[0].format.format_id
    return None


def failed_record(record: Incoming) -> FailedRecord:
    """Return a record, byte for byte, as a failure carries it."""
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
    """Return the versions that read the page of an event, None before it was read."""
    if isinstance(event, ExtractedVideo):
        return event.extraction.engine
    return event.engine if isinstance(event, SelectedVideo) else None


def unreadable(record: Incoming, error: Exception, step: str) -> Sequence[Effect]:
    """Return what becomes of a record of ours that cannot be read.

    That is a dead letter, and an outcome when the record still tells whose it was.
    """
    job = recover_job(record)
    if job is None:
        return [dead_letter(record, error, step)]
    details = facts_of(ClipmillError(ErrorCode.INTERNAL_BUG, redact(str(error))))
    context = explain(
        ErrorCode.INTERNAL_BUG,
        operation=step,
        url=job.url,
        details=details,
        request_id=job.request_id,
    )
    return [dead_letter(record, error, step), propose_result(job, step, ended(job, context), None)]


def as_bug(error: Exception) -> ClipmillError:
    """Return an unexpected exception as ``internal.bug`` with its traceback, newest frames."""
    trace = redact("".join(traceback.format_exception(error)))[-FACT_CHARACTERS:]
    return ClipmillError(ErrorCode.INTERNAL_BUG, type(error).__name__, traceback=trace)
