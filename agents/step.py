"""What every step has in common: read the event, mind the deadline, hand on work or failure.

A step's own file holds only its work: from an event to what follows from it, raising
`ClipmillError` for everything that can go wrong.
"""

import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from agents.cancellation import RequestCancelledError, cancellable
from agents.letters import Event, audit, fail, finish, send_event
from agents.outcomes import FACT_CHARACTERS, cancelled, ended, expired, facts_of, is_expired
from schemas.audit import Transition
from schemas.codec import MalformedMessageError, decode
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import ExtractedVideo, PendingLink, SelectedVideo
from schemas.failure import FailedRecord, Failure
from schemas.job import Job
from schemas.messages import explain
from schemas.redaction import redact
from schemas.request import Options
from schemas.results import Result
from schemas.video import EngineVersions
from streams.envelope import Envelope, open_envelope, trace_id_of
from streams.letters.facts import replays_of
from streams.metrics import FAILURES, RECOVERIES
from streams.records import Effect, Incoming, TableWrite
from streams.signals import Signals
from streams.stage import Handler
from streams.work import dead_letter

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Passed:
    """The work is done: this goes to the next step."""

    event: Event
    transition: Transition
    writes: tuple[TableWrite, ...] = ()
    detail: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finished:
    """The work is done and so is the job."""

    outcome: Result
    writes: tuple[TableWrite, ...] = ()


Product = Passed | Finished


def step_handler(
    step: str, kind: type[E], work: Callable[[E], Awaitable[Product]], signals: Signals
) -> Handler:
    """Return the handler of a step that reads events of one kind."""

    async def handle(record: Incoming) -> Sequence[Effect]:
        try:
            envelope = open_envelope(record)
            event = read_event(record, envelope, kind)
        except MalformedMessageError as error:
            return unreadable(record, error, step)
        if is_expired(event.job, datetime.now(UTC)):
            return [finish(event.job, step, expired(event.job, step), envelope.id)]
        try:
            with cancellable(event.job, signals):
                return await _do(event, envelope, work, step, record)
        except RequestCancelledError:
            return [finish(event.job, step, cancelled(event.job, step), envelope.id)]

    return handle


def read_event(record: Incoming, envelope: Envelope, kind: type[E]) -> E:
    """Return the event in a record; one from the dead letters as a request of its own.

    The first request has had its outcome. What comes of the replay is the outcome of
    ``<request id>/replay-<n>``, with ``retry_of`` naming the first.

    Raises:
        MalformedMessageError: it is no event of this kind.
    """
    event = decode(envelope.data, kind)
    number = replays_of(record)
    if number <= event.job.replays:
        return event
    return _with_job(event, event.job.replayed(number, received_at(record)))


async def _do(
    event: E,
    envelope: Envelope,
    work: Callable[[E], Awaitable[Product]],
    step: str,
    record: Incoming,
) -> Sequence[Effect]:
    started = time.perf_counter()
    try:
        product = await work(event)
    except ClipmillError as error:
        job = event.job.spent(step, time.perf_counter() - started)
        return [fail_event(_with_job(event, job), error, step, record, envelope.id)]
    return _hand_on(product, event.job.spent(step, time.perf_counter() - started), step, envelope)


def _hand_on(product: Product, job: Job, step: str, envelope: Envelope) -> Sequence[Effect]:
    if isinstance(product, Finished):
        outcome = msgspec.structs.replace(product.outcome, timings=job.timings)
        for attempt in job.attempts:
            RECOVERIES.labels(attempt.strategy, attempt.code).inc()
        return [*product.writes, finish(job, step, outcome, envelope.id)]
    event = _with_job(product.event, job)
    return [
        *product.writes,
        send_event(event, step, envelope.id),
        audit(job, step, product.transition, envelope.id, detail=product.detail),
    ]


def _with_job(event: E, job: Job) -> E:
    return msgspec.structs.replace(event, job=job)


def fail_event(
    event: Event, error: ClipmillError, step: str, record: Incoming, cause: str | None
) -> Effect:
    """Return the failure of an event, with the record that was read, for the error agent."""
    FAILURES.labels(step, error.code).inc()
    place, job = error.place, event.job
    failure = Failure(
        job=job,
        step=step,
        error=explain(
            error.code,
            operation=step,
            url=job.url,
            details=facts_of(error),
            request_id=job.request_id,
        ),
        failed_at=datetime.now(UTC),
        record=failed_record(record),
        retry_after_seconds=error.retry_after,
        platform=place.platform if place else None,
        operation=place.operation if place else None,
        egress=place.egress if place else None,
        permitted=error.permitted,
        subject=job.url if isinstance(event, PendingLink) else event.video.key,
        account=error.account,
        format_id=error.format_id or _only_format(event),
        engine=error.engine or engine_of(event),
    )
    key = record.key.decode(errors="replace") if record.key else None
    return fail(failure, job.request_id if isinstance(event, PendingLink) else key, cause)


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
    job = owner_of(record)
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
    return [dead_letter(record, error, step), finish(job, step, ended(job, context), None)]


REQUEST_ID_CHARACTERS = 176
"""Longest id of a request: the client's 128 characters, its place in a batch, a replay's number."""


class _Owned(msgspec.Struct, frozen=True):
    job: Job


def owner_of(record: Incoming) -> Job | None:
    """Return whose record this is: by its body, else by its headers; None when neither tells."""
    with suppress(MalformedMessageError):
        return decode(record.value or b"", _Owned).job
    request_id = record.header("ce_correlationid") or ""
    return bare_job(request_id, record) if 0 < len(request_id) <= REQUEST_ID_CHARACTERS else None


def bug_handler(step: str, kind: type[E]) -> Callable[[Incoming, Exception], Sequence[Effect]]:
    """Return what a stage does with an unexpected exception: ``internal.bug`` on errors."""

    def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
        try:
            envelope = open_envelope(record)
            event = read_event(record, envelope, kind)
        except MalformedMessageError as malformed:
            return unreadable(record, malformed, step)
        return [fail_event(event, as_bug(error), step, record, envelope.id)]

    return on_bug


def as_bug(error: Exception) -> ClipmillError:
    """Return an unexpected exception as ``internal.bug`` with its traceback, newest frames."""
    trace = redact("".join(traceback.format_exception(error)))[-FACT_CHARACTERS:]
    return ClipmillError(ErrorCode.INTERNAL_BUG, type(error).__name__, traceback=trace)


def bare_job(request_id: str, record: Incoming, url: str = "") -> Job:
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
