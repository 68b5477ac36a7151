"""Builds the records of the pipeline: topic, key, headers and event id of each message.

Event ids are derived from the request, so a redelivered record produces the same ids and consumers
can deduplicate.
"""

from datetime import UTC, datetime

import msgspec

from schemas.audit import AuditRecord, Transition
from schemas.codec import decode, encode
from schemas.commands import Cancel, Retry
from schemas.events import (
    ExtractedVideo,
    Failure,
    PendingLink,
    Progress,
    SelectedVideo,
    ValidatedListing,
    ValidatedVideo,
)
from schemas.job import Job
from schemas.request import Reply
from schemas.results import Result
from streams.claims import priority_header
from streams.envelope import CORRELATION, TYPE_PREFIX, open_envelope, seal
from streams.records import Header, Incoming, Outgoing
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

Event = PendingLink | ValidatedVideo | ValidatedListing | ExtractedVideo | SelectedVideo

EVENT_TOPICS: dict[type[Event], tuple[Topic, str]] = {
    PendingLink: (REQUESTS, "link.pending.v1"),
    ValidatedVideo: (VALIDATED, "video.validated.v1"),
    ValidatedListing: (VALIDATED, "listing.validated.v1"),
    ExtractedVideo: (EXTRACTED, "video.extracted.v1"),
    SelectedVideo: (SELECTED, "video.selected.v1"),
}
"""Input topic and CloudEvents type of each event."""

EVENT_SOURCES: tuple[Topic, ...] = tuple(dict.fromkeys(topic for topic, _ in EVENT_TOPICS.values()))
"""Input topics of the steps that consume events, to which retried events return."""

DUE = "clipmill_due"
TARGET = "clipmill_target"
"""Headers of delayed events: due time in epoch seconds, and the topic to forward to then."""

EVENTS_BY_KIND: dict[str, type[Event]] = {kind: each for each, (_, kind) in EVENT_TOPICS.items()}


def event_key(event: Event) -> str:
    return event.job.request_id if isinstance(event, PendingLink) else subject_of(event)


def subject_of(event: Event) -> str:
    """Return the subject of an event: the key of a post or listing, or the URL of a short link."""
    match event:
        case PendingLink(job=job):
            return job.url
        case ValidatedListing(listing=listing):
            return listing.key
    return event.video.key


def send_event(event: Event, step: str, cause: str | None) -> Outgoing:
    """Return the record that sends an event to the step that consumes it."""
    topic, kind = EVENT_TOPICS[type(event)]
    return _seal(topic, event_key(event), event, kind=kind, job=event.job, step=step, cause=cause)


def delay_event(event: Event, step: str, cause: str | None, due: datetime, by: Topic) -> Outgoing:
    """Return the record that sends an event to its step by way of a delay topic."""
    topic, kind = EVENT_TOPICS[type(event)]
    return _seal(
        by,
        event_key(event),
        event,
        kind=kind,
        job=event.job,
        step=step,
        cause=cause,
        extra=delay_headers(due, topic),
    )


def delay_headers(due: datetime, target: Topic) -> tuple[Header, ...]:
    return ((DUE, f"{due.timestamp():.3f}".encode()), (TARGET, target.name.encode()))


def audit(
    job: Job,
    step: str,
    transition: Transition,
    cause: str | None,
    *,
    detail: dict[str, str] | None = None,
    outcome: Result | None = None,
) -> Outgoing:
    """Return the audit record of a transition; with an outcome it proposes the job's result.

    The record carries the job, which registers it with the ledger, when it comes from validation
    (the first step) or accepts a member of a listing. Replays of dead letters pass neither, so all
    of their records carry it.
    """
    record = AuditRecord(
        request_id=job.request_id,
        step=step,
        transition=transition,
        at=datetime.now(UTC),
        detail=detail or {},
        outcome=msgspec.Raw(encode(outcome)),
        job=job if step == "validation" or transition == "accepted" or job.replays else None,
        reply=None if outcome is None else job.reply,
    )
    kind = f"request.{transition}.v1"
    return _seal(AUDIT, job.request_id, record, kind=kind, job=job, step=step, cause=cause)


def user_command(
    command: Cancel | Retry, step: str, *, at: datetime, cause: str, trace_id: str
) -> Outgoing:
    """Return the record that hands a user's command about a request to the ledger."""
    kind = "request.ordered.v1"
    record = AuditRecord(
        request_id=command.request_id,
        step=step,
        transition="ordered",
        at=at,
        detail={"command": command.__struct_config__.tag, "by": command.by},  # type: ignore[dict-item]
        command=command,
    )
    return seal(
        AUDIT,
        command.request_id,
        encode(record),
        kind=kind,
        step=step,
        event_id=f"{cause}:{kind}:{command.request_id}",
        request_id=command.request_id,
        trace_id=trace_id,
        cause_id=cause,
        own_trace=False,
    )


def propose_result(job: Job, step: str, outcome: Result, cause: str | None) -> Outgoing:
    """Return the record that proposes a result to the ledger, which publishes the first one."""
    return audit(job, step, "finished", cause, outcome=outcome)


def publish_failure(failure: Failure, key: str | None, cause: str | None) -> Outgoing:
    """Return the record that hands a failure to the recovery stage."""
    key = key or failure.job.request_id
    kind = "step.failed.v1"
    return _seal(ERRORS, key, failure, kind=kind, job=failure.job, step=failure.step, cause=cause)


def restore_record(failure: Failure) -> Incoming:
    """Return the failed record, byte for byte as its step read it."""
    record = failure.record
    return Incoming(
        record.topic,
        record.partition,
        record.offset,
        record.key,
        record.value,
        record.headers,
        record.timestamp,
    )


def failed_event(failure: Failure) -> Event:
    """Return the event that failed, with the failure's job, which counts the time of its step.

    Raises:
        MalformedMessageError: the record contains no event.
        KeyError: the event type is unknown.
    """
    envelope = open_envelope(restore_record(failure))
    event = decode(envelope.data, EVENTS_BY_KIND[envelope.type.removeprefix(TYPE_PREFIX)])
    return msgspec.structs.replace(event, job=failure.job)


def report_progress(progress: Progress, job: Job, step: str) -> Outgoing:
    kind = "download.progress.v1"
    part = f":{progress.bytes}"
    return _seal(PROGRESS, job.request_id, progress, kind=kind, job=job, step=step, part=part)


def publish_result(
    request_id: str, status: str, body: bytes, trace_id: str, cause: str, *, reply: Reply | None
) -> Outgoing:
    """Return the result record for the client, with its correlation id and reply topic."""
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
        extra=correlation_headers(reply),
        reply_to=reply.topic if reply else None,
    )


def correlation_headers(reply: Reply | None) -> tuple[Header, ...]:
    if reply is None or reply.correlation_id is None:
        return ()
    return ((CORRELATION, reply.correlation_id),)


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
        event_id=f"{job.request_id}:{kind}:{job.try_number}{part}",
        request_id=job.request_id,
        trace_id=job.trace_id,
        cause_id=cause,
        expires=job.deadline,
        extra=(priority_header(job.priority), *extra),
    )
