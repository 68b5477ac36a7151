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

from agents.letters import EVENT_TOPICS, Event, audit, fail, finish, send_event
from agents.outcomes import FACT_CHARACTERS, ended, expired, facts_of, is_expired, redact
from schemas.audit import Transition
from schemas.codec import MalformedMessageError, decode, encode
from schemas.errors import ClipmillError, ErrorCode
from schemas.failure import FailedEvent, Failure
from schemas.job import Job
from schemas.messages import explain
from schemas.request import Options
from schemas.results import Result
from streams.envelope import Envelope, open_envelope, trace_id_of
from streams.metrics import FAILURES
from streams.records import Effect, Incoming, TableWrite
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


def step_handler(step: str, kind: type[E], work: Callable[[E], Awaitable[Product]]) -> Handler:
    """Return the handler of a step that reads events of one kind."""

    async def handle(record: Incoming) -> Sequence[Effect]:
        try:
            envelope = open_envelope(record)
            event = decode(envelope.data, kind)
        except MalformedMessageError as error:
            return unreadable(record, error, step)
        if is_expired(event.job, datetime.now(UTC)):
            return [finish(event.job, step, expired(event.job, step), envelope.id)]
        return await _do(event, envelope, work, step, record)

    return handle


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
        return [fail_event(_with_job(event, job), error, step, record.key, envelope.id)]
    return _hand_on(product, event.job.spent(step, time.perf_counter() - started), step, envelope)


def _hand_on(product: Product, job: Job, step: str, envelope: Envelope) -> Sequence[Effect]:
    if isinstance(product, Finished):
        outcome = msgspec.structs.replace(product.outcome, timings=job.timings)
        return [*product.writes, finish(job, step, outcome, envelope.id)]
    event = _with_job(product.event, job)
    return [
        *product.writes,
        send_event(event, step, envelope.id),
        audit(job, step, product.transition, envelope.id, detail=product.detail),
    ]


def _with_job(event: Event, job: Job) -> Event:
    return msgspec.structs.replace(event, job=job)


def fail_event(
    event: Event, error: ClipmillError, step: str, key: bytes | None, cause: str | None
) -> Effect:
    """Return the failure of an event, with the event in it, for the error agent."""
    topic, kind = EVENT_TOPICS[type(event)]
    text_key = key.decode(errors="replace") if key else None
    FAILURES.labels(step, error.code).inc()
    failure = Failure(
        job=event.job,
        step=step,
        error=explain(error.code, operation=step, url=event.job.url, details=facts_of(error)),
        failed_at=datetime.now(UTC),
        event=FailedEvent(
            topic=topic.name, kind=kind, key=text_key, body=msgspec.Raw(encode(event))
        ),
        retry_after_seconds=error.retry_after,
    )
    return fail(failure, text_key, cause)


def unreadable(record: Incoming, error: Exception, step: str) -> Sequence[Effect]:
    """Return what becomes of a record of ours that cannot be read.

    That is a dead letter, and an outcome when the record still tells whose it was.
    """
    job = owner_of(record)
    if job is None:
        return [dead_letter(record, error, step)]
    details = facts_of(ClipmillError(ErrorCode.INTERNAL_BUG, redact(str(error))))
    context = explain(ErrorCode.INTERNAL_BUG, operation=step, url=job.url, details=details)
    return [dead_letter(record, error, step), finish(job, step, ended(job, context), None)]


REQUEST_ID_CHARACTERS = 160
"""Longest id of a request: the client's 128 characters, and its place in a batch."""


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
            event = decode(envelope.data, kind)
        except MalformedMessageError as malformed:
            return unreadable(record, malformed, step)
        return [fail_event(event, as_bug(error), step, record.key, envelope.id)]

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
