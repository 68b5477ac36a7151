"""What every step has in common: read the event, mind the deadline, hand on work or failure.

A step's own file holds only its work: from an event to what follows from it, raising
`ClipmillError` for everything that can go wrong.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from agents.pipeline.cancellation import RequestCancelledError, cancellable
from agents.pipeline.events import Event, audit, propose_result, send_event
from agents.pipeline.failures import as_bug, to_failure, unreadable
from agents.pipeline.ownership import received_at
from agents.pipeline.results import cancelled, expired, is_expired
from schemas.audit import Transition
from schemas.codec import MalformedMessageError, decode
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import ExtractedVideo, SelectedVideo, ValidatedVideo
from schemas.job import Job
from schemas.results import Completed, Result
from streams.cluster.shared_state import SharedState
from streams.deadletters.headers import replays_of
from streams.envelope import Envelope, open_envelope
from streams.observability.metrics import (
    FAILURES,
    RECOVERIES,
    STEP_DURATION,
    observe,
    start_at_zero,
)
from streams.records import Effect, Flush, Incoming, TableWrite
from streams.stage import Handler

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Forward:
    """The work is done: this goes to the next step.

    Attributes:
        job: as it goes on, when the work noted something in it.
    """

    event: Event
    transition: Transition
    writes: tuple[TableWrite, ...] = ()
    detail: dict[str, str] = field(default_factory=dict)
    job: Job | None = None


@dataclass(frozen=True, slots=True)
class Complete:
    """The work is done and so is the job; its ``members`` are jobs of their own from now on."""

    outcome: Result
    writes: tuple[TableWrite, ...] = ()
    members: tuple[ValidatedVideo, ...] = ()


StepOutcome = Forward | Complete


def step_handler(
    step: str, kind: type[E], work: Callable[[E], Awaitable[StepOutcome]], signals: SharedState
) -> Handler:
    """Return the handler of a step that reads events of one kind."""
    start_at_zero(FAILURES, [step], ErrorCode)

    async def handle(record: Incoming) -> Sequence[Effect]:
        try:
            envelope = open_envelope(record)
            event = read_event(record, envelope, kind)
        except MalformedMessageError as error:
            return unreadable(record, error, step)
        if is_expired(event.job, datetime.now(UTC)):
            return [propose_result(event.job, step, expired(event.job, step), envelope.id)]
        try:
            with cancellable(event.job, signals):
                return await _do(event, envelope, work, step, record)
        except RequestCancelledError:
            return [propose_result(event.job, step, cancelled(event.job, step), envelope.id)]

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
    work: Callable[[E], Awaitable[StepOutcome]],
    step: str,
    record: Incoming,
) -> Sequence[Effect]:
    started = time.perf_counter()
    try:
        product = await work(event)
    except ClipmillError as error:
        seconds = time.perf_counter() - started
        observe(STEP_DURATION.labels(step, event.job.action, "", "failed"), seconds)
        job = event.job.spent(step, seconds)
        return [to_failure(_with_job(event, job), error, step, record, envelope.id)]
    seconds = time.perf_counter() - started
    _measure(product, event.job, step, seconds)
    noted = product.job if isinstance(product, Forward) else None
    job = noted or event.job
    return _hand_on(product, job.spent(step, seconds), step, envelope)


def _measure(product: StepOutcome, job: Job, step: str, seconds: float) -> None:
    labels: tuple[str, str]
    match product:
        case Forward(event=ExtractedVideo(cache=use) | SelectedVideo(cache=use)):
            labels = use, "passed"
        case Forward():
            labels = "", "passed"
        case Complete(outcome=Completed(cache=use)):
            labels = use, "finished"
        case Complete():
            labels = "", "finished"
    observe(STEP_DURATION.labels(step, job.action, *labels), seconds)


def _hand_on(product: StepOutcome, job: Job, step: str, envelope: Envelope) -> Sequence[Effect]:
    if isinstance(product, Complete):
        outcome = msgspec.structs.replace(product.outcome, timings=job.timings)
        for attempt in job.attempts:
            RECOVERIES.labels(attempt.strategy, attempt.code).inc()
        members = _introduce(product.members, step, envelope.id)
        barrier = [Flush()] if members else []
        return [
            *product.writes,
            *barrier,
            propose_result(job, step, outcome, envelope.id),
            *members,
        ]
    event = _with_job(product.event, job)
    return [
        *product.writes,
        send_event(event, step, envelope.id),
        audit(job, step, product.transition, envelope.id, detail=product.detail),
    ]


def _introduce(members: tuple[ValidatedVideo, ...], step: str, cause: str) -> list[Effect]:
    effects: list[Effect] = []
    for member in members:
        effects.append(send_event(member, step, cause))
        effects.append(
            audit(member.job, step, "accepted", cause, detail={"video": member.video.key})
        )
    return effects


def _with_job(event: E, job: Job) -> E:
    return msgspec.structs.replace(event, job=job)


def bug_handler(step: str, kind: type[E]) -> Callable[[Incoming, Exception], Sequence[Effect]]:
    """Return what a stage does with an unexpected exception: ``internal.bug`` on errors."""

    def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
        try:
            envelope = open_envelope(record)
            event = read_event(record, envelope, kind)
        except MalformedMessageError as malformed:
            return unreadable(record, malformed, step)
        return [to_failure(event, as_bug(error), step, record, envelope.id)]

    return on_bug
