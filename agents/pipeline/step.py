"""Step template: decode the event, check deadline and cancellation, run the step, emit effects.

A step implements only its work: a coroutine from an event to a `StepOutcome`, which raises
`ClipmillError` for every expected failure. The handler turns the outcome or the error into records;
it never raises `ClipmillError`.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from agents.pipeline.events import Event, audit, propose_result, send_event
from agents.pipeline.failures import as_bug, on_unreadable, to_failure
from agents.pipeline.results import (
    RequestCancelledError,
    cancellable,
    cancelled,
    expired,
    is_cancelled,
    is_expired,
)
from schemas import (
    ClipmillError,
    Completed,
    ErrorCode,
    ExtractedVideo,
    Job,
    MalformedMessageError,
    Result,
    SelectedVideo,
    ValidatedVideo,
    decode,
)
from schemas.audit import Transition
from streams import (
    AUDIT,
    ERRORS,
    Effect,
    Envelope,
    Flush,
    Incoming,
    SharedState,
    SyncFirstHandler,
    TableWrite,
    open_envelope,
)
from streams.deadletters.headers import replays_of
from streams.observability.metrics import (
    FAILURES,
    RECOVERIES,
    STEP_DURATION,
    observe,
    series,
    start_at_zero,
)

E = TypeVar("E", bound=Event)

STEP_TOPICS = (ERRORS, AUDIT)
"""Topics that every step writes, beside the topic of its event."""


@dataclass(frozen=True, slots=True)
class Forward:
    """The step is done, and its event goes to the next step.

    Attributes:
        job: the job with the step's changes, None when unchanged.
    """

    event: Event
    transition: Transition
    writes: tuple[TableWrite, ...] = ()
    detail: dict[str, str] = field(default_factory=dict)
    job: Job | None = None


@dataclass(frozen=True, slots=True)
class Complete:
    """The step ends the job; its ``members`` start as jobs of their own."""

    outcome: Result
    writes: tuple[TableWrite, ...] = ()
    members: tuple[ValidatedVideo, ...] = ()


StepOutcome = Forward | Complete


def step_handler(
    step: str,
    kind: type[E],
    work: Callable[[E], Awaitable[StepOutcome]],
    shared_state: SharedState,
    *,
    work_sync: Callable[[E], StepOutcome | None] = lambda _: None,
) -> SyncFirstHandler[Sequence[Effect]]:
    """Return the handler of a step.

    Args:
        step: its name.
        kind: type of its events.
        work: the step.
        shared_state: shared state with the cancelled requests.
        work_sync: the step for events that need not wait; None when `work` has to do it. It changes
            nothing but caches and metrics of hits.
    """
    start_at_zero(FAILURES, [step], ErrorCode)

    def handle_sync(record: Incoming) -> Sequence[Effect] | None:
        envelope = open_envelope(record)
        event = read_event(record, envelope, kind)
        if is_expired(event.job, datetime.now(UTC)) or is_cancelled(event.job, shared_state):
            return None
        started = time.perf_counter()
        outcome = work_sync(event)
        return None if outcome is None else _finish(outcome, event.job, envelope, step, started)

    async def handle(record: Incoming) -> Sequence[Effect]:
        try:
            envelope = open_envelope(record)
            event = read_event(record, envelope, kind)
        except MalformedMessageError as error:
            return on_unreadable(record, error, step)
        if is_expired(event.job, datetime.now(UTC)):
            return [propose_result(event.job, step, expired(event.job, step), envelope.id)]
        try:
            with cancellable(event.job, shared_state):
                return await _run(event, envelope, work, step, record)
        except RequestCancelledError:
            return [propose_result(event.job, step, cancelled(event.job, step), envelope.id)]

    return SyncFirstHandler(handle_sync, handle)


def read_event(record: Incoming, envelope: Envelope, kind: type[E]) -> E:
    """Decode the event in a record.

    Raises:
        MalformedMessageError: the record is no event of this type.
    """
    event = decode(envelope.data, kind)
    job = as_replay(event.job, record)
    return event if job is event.job else _with_job(event, job)


def as_replay(job: Job, record: Incoming) -> Job:
    """Return the job of a record; a replayed dead letter becomes a request of its own.

    The original request already has its result. The result of the replay belongs to
    ``<request id>/replay-<n>``, with ``retry_of`` naming the original.
    """
    number = replays_of(record)
    return job.as_replay(number, record.received_at()) if number > job.replays else job


async def _run(
    event: E,
    envelope: Envelope,
    work: Callable[[E], Awaitable[StepOutcome]],
    step: str,
    record: Incoming,
) -> Sequence[Effect]:
    started = time.perf_counter()
    try:
        outcome = await work(event)
    except ClipmillError as error:
        seconds = time.perf_counter() - started
        observe(series(STEP_DURATION, step, event.job.action, "", "failed"), seconds)
        job = event.job.with_timing(step, seconds)
        return [to_failure(_with_job(event, job), error, step, record, envelope.id)]
    return _finish(outcome, event.job, envelope, step, started)


def _finish(
    outcome: StepOutcome, job: Job, envelope: Envelope, step: str, started: float
) -> Sequence[Effect]:
    """Observe the duration of a step that has succeeded; return its effects."""
    seconds = time.perf_counter() - started
    labels: tuple[str, str]
    match outcome:
        case Forward(event=ExtractedVideo(cache=use) | SelectedVideo(cache=use)):
            labels = use, "passed"
        case Forward():
            labels = "", "passed"
        case Complete(outcome=Completed(cache=use)):
            labels = use, "finished"
        case Complete():
            labels = "", "finished"
    observe(series(STEP_DURATION, step, job.action, *labels), seconds)
    if isinstance(outcome, Complete):
        return _end(outcome, job.with_timing(step, seconds), step, envelope)
    job = (outcome.job or job).with_timing(step, seconds)
    return [
        *outcome.writes,
        send_event(_with_job(outcome.event, job), step, envelope.id),
        audit(job, step, outcome.transition, envelope.id, detail=outcome.detail),
    ]


def _end(outcome: Complete, job: Job, step: str, envelope: Envelope) -> Sequence[Effect]:
    """Return the effects of a job's end: its result, and the start of its members."""
    result = msgspec.structs.replace(outcome.outcome, timings=job.timings)
    for attempt in job.attempts:
        RECOVERIES.labels(attempt.strategy, attempt.code).inc()
    # The row must be acknowledged before any member: a rerun then makes the same members.
    flush = [Flush()] if outcome.members else []
    ended = propose_result(job, step, result, envelope.id)
    effects: list[Effect] = [*outcome.writes, *flush, ended]
    for member in outcome.members:
        detail = {"video": member.video.key}
        effects.append(send_event(member, step, envelope.id))
        effects.append(audit(member.job, step, "accepted", envelope.id, detail=detail))
    return effects


def _with_job(event: E, job: Job) -> E:
    return msgspec.structs.replace(event, job=job)


def bug_handler(step: str, kind: type[E]) -> Callable[[Incoming, Exception], Sequence[Effect]]:
    """Return the bug handler of a stage: unexpected exceptions fail as ``internal.bug``."""

    def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
        try:
            envelope = open_envelope(record)
            event = read_event(record, envelope, kind)
        except MalformedMessageError as malformed:
            return on_unreadable(record, malformed, step)
        return [to_failure(event, as_bug(error), step, record, envelope.id)]

    return on_bug
