"""Messages as records: which topic, which key, which id. Ids are the same for every copy."""

from datetime import UTC, datetime

import msgspec

from schemas.audit import AuditRecord, Transition
from schemas.codec import encode
from schemas.events import ExtractedVideo, PendingLink, SelectedVideo, ValidatedVideo
from schemas.failure import Failure
from schemas.job import Job
from schemas.progress import Progress
from schemas.results import Result
from streams.envelope import seal
from streams.records import Header, Outgoing
from streams.topics import (
    AUDIT,
    ERRORS,
    EXTRACTED,
    PROGRESS,
    REQUESTS,
    RESULTS,
    SELECTED,
    VALIDATED,
    Topic,
)

Event = PendingLink | ValidatedVideo | ExtractedVideo | SelectedVideo

EVENT_TOPICS: dict[type[Event], tuple[Topic, str]] = {
    PendingLink: (REQUESTS, "link.pending.v1"),
    ValidatedVideo: (VALIDATED, "video.validated.v1"),
    ExtractedVideo: (EXTRACTED, "video.extracted.v1"),
    SelectedVideo: (SELECTED, "video.selected.v1"),
}
"""Where each event is read, and its CloudEvents type."""

EVENTS_BY_KIND: dict[str, type[Event]] = {kind: each for each, (_, kind) in EVENT_TOPICS.items()}


def event_key(event: Event) -> str:
    """Return the record key of an event."""
    return event.job.request_id if isinstance(event, PendingLink) else event.video.key


def send_event(
    event: Event,
    step: str,
    cause: str | None,
    *,
    by_way_of: Topic | None = None,
    extra: tuple[Header, ...] = (),
) -> Outgoing:
    """Return the event for the topic of its step, or for the delay topic in between."""
    topic, kind = EVENT_TOPICS[type(event)]
    return _seal(
        by_way_of or topic,
        event_key(event),
        event,
        kind=kind,
        job=event.job,
        step=step,
        cause=cause,
        extra=extra,
    )


def audit(
    job: Job,
    step: str,
    transition: Transition,
    cause: str | None,
    *,
    detail: dict[str, str] | None = None,
    outcome: Result | None = None,
) -> Outgoing:
    """Return the record of a transition; with an outcome it asks the ledger to end the job."""
    record = AuditRecord(
        request_id=job.request_id,
        step=step,
        transition=transition,
        at=datetime.now(UTC),
        detail=detail or {},
        outcome=msgspec.Raw(encode(outcome)),
    )
    kind = f"request.{transition}.v1"
    return _seal(AUDIT, job.request_id, record, kind=kind, job=job, step=step, cause=cause)


def finish(job: Job, step: str, outcome: Result, cause: str | None) -> Outgoing:
    """Return the record that asks the ledger to end the job."""
    return audit(job, step, "finished", cause, outcome=outcome)


def fail(failure: Failure, key: str | None, cause: str | None) -> Outgoing:
    """Return the failure for the error agent."""
    key = key or failure.job.request_id
    kind = "step.failed.v1"
    return _seal(ERRORS, key, failure, kind=kind, job=failure.job, step=failure.step, cause=cause)


def report_progress(progress: Progress, job: Job, step: str) -> Outgoing:
    """Return how far a download is."""
    kind = "download.progress.v1"
    part = f":{progress.bytes}"
    return _seal(PROGRESS, job.request_id, progress, kind=kind, job=job, step=step, part=part)


def publish_result(
    request_id: str, status: str, body: bytes, trace_id: str, cause: str
) -> Outgoing:
    """Return the outcome for the client."""
    return seal(
        RESULTS,
        request_id,
        body,
        kind=f"request.{status}.v1",
        step="ledger",
        event_id=f"{request_id}:result",
        request_id=request_id,
        trace_id=trace_id,
        cause_id=cause,
    )


def _seal(
    topic: Topic,
    key: str,
    message: object,
    *,
    kind: str,
    job: Job,
    step: str,
    cause: str | None = None,
    part: str = "",
    extra: tuple[Header, ...] = (),
) -> Outgoing:
    return seal(
        topic,
        key,
        encode(message),
        kind=kind,
        step=step,
        event_id=f"{job.request_id}:{kind}:{len(job.attempts) + 1}{part}",
        request_id=job.request_id,
        trace_id=job.trace_id,
        cause_id=cause,
        expires=job.deadline,
        extra=extra,
    )
