"""recovery: the error agent. Every failure ends here in a retry, a dead letter or an outcome."""

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec

from agents.delay import delay_headers
from agents.letters import (
    EVENT_TOPICS,
    EVENTS_BY_KIND,
    Event,
    audit,
    finish,
    send_event,
)
from agents.outcomes import ended
from agents.resilience.decision import DeadLetter, Fail, Retry, decide
from agents.resilience.policy import with_waits
from agents.step import as_bug, unreadable
from schemas.codec import MalformedMessageError, decode
from schemas.events import ExtractedVideo, PendingLink, SelectedVideo, ValidatedVideo
from schemas.failure import Failure
from schemas.job import Attempt, Job
from schemas.messages import explain
from streams.envelope import open_envelope, seal
from streams.metrics import DEAD_LETTERS, RETRIES
from streams.records import Effect, Incoming
from streams.settings import RetrySettings
from streams.stage import Handler, Stage, StageContext
from streams.topics import DEADLETTERS, ERRORS, delay_topic

NAME = "recovery"


class Recovery:
    """The stage's work."""

    def __init__(
        self,
        retry: RetrySettings,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._retry = retry
        self._chance = chance
        self._policies = with_waits(retry.waits_seconds)
        self._clock = clock

    async def handle(self, record: Incoming) -> Sequence[Effect]:
        """Return what follows from a failure."""
        try:
            envelope = open_envelope(record)
            failure = decode(envelope.data, Failure)
            event = decode(failure.event.body, EVENTS_BY_KIND[failure.event.kind])
        except (MalformedMessageError, KeyError) as error:
            return unreadable(record, error, NAME)
        now = self._clock()
        decision = decide(
            failure,
            now,
            total=timedelta(seconds=self._retry.total_seconds),
            jitter=self._retry.jitter,
            chance=self._chance(),
            policies=self._policies,
        )
        job = failure.job.failed(_attempt(failure, decision))
        match decision:
            case Retry():
                return _retry(event, job, decision, decision.due - now, envelope.id)
            case DeadLetter():
                return [_keep(failure, job, envelope.id), *_give_up(failure, job, envelope.id)]
            case Fail():
                return _give_up(failure, job, envelope.id)


def _attempt(failure: Failure, decision: Retry | DeadLetter | Fail) -> Attempt:
    counted = decision.counted if isinstance(decision, Retry) else True
    return Attempt(
        step=failure.step,
        code=failure.error.error_type,
        at=failure.failed_at,
        counted=counted,
    )


def _retry(
    event: Event, job: Job, decision: Retry, wait: timedelta, cause: str
) -> Sequence[Effect]:
    event = _anew(event, job) if decision.fresh else msgspec.structs.replace(event, job=job)
    by_way_of = delay_topic(wait)
    failed = job.attempts[-1]
    RETRIES.labels(by_way_of.name, failed.code).inc()
    target, _ = EVENT_TOPICS[type(event)]
    headers = delay_headers(decision.due, target)
    detail = {"code": failed.code, "due": decision.due.isoformat(), "step": failed.step}
    return [
        send_event(event, NAME, cause, by_way_of=by_way_of, extra=headers),
        audit(job, NAME, "retrying", cause, detail=detail),
    ]


def _anew(event: Event, job: Job) -> Event:
    """Return the event that lets extraction read the page again."""
    if isinstance(event, PendingLink):
        return PendingLink(job=job)
    options = msgspec.structs.replace(job.options, refresh=True)
    job = msgspec.structs.replace(job, options=options)
    assert isinstance(event, ValidatedVideo | ExtractedVideo | SelectedVideo)
    return ValidatedVideo(job=job, video=event.video)


def _give_up(failure: Failure, job: Job, cause: str) -> Sequence[Effect]:
    return [finish(job, failure.step, ended(job, failure.error), cause)]


def _keep(failure: Failure, job: Job, cause: str) -> Effect:
    """Return the failed event as a dead letter, with its origin."""
    DEAD_LETTERS.labels(failure.error.error_type).inc()
    facts = {
        "clipmill_origin_topic": failure.event.topic,
        "clipmill_step": failure.step,
        "clipmill_code": failure.error.error_type,
        "clipmill_attempts": str(len(job.attempts)),
    }
    return seal(
        DEADLETTERS,
        failure.event.key,
        bytes(failure.event.body),
        kind=failure.event.kind,
        step=NAME,
        event_id=f"{job.request_id}:deadletter:{len(job.attempts)}",
        request_id=job.request_id,
        trace_id=job.trace_id,
        cause_id=cause,
        extra=tuple((name, value.encode()) for name, value in facts.items()),
    )


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    """Return what a bug in this very stage leads to: an outcome and a dead letter."""
    try:
        failure = decode(open_envelope(record).data, Failure)
    except MalformedMessageError as malformed:
        return unreadable(record, malformed, NAME)
    bug = as_bug(error)
    context = explain(bug.code, operation=NAME, url=failure.job.url, details=bug.details)
    return [
        finish(failure.job, NAME, ended(failure.job, context), None),
        _keep(failure, failure.job, record.position),
    ]


@asynccontextmanager
async def open_recovery(context: StageContext) -> AsyncIterator[Handler]:
    """Nothing to open."""
    yield Recovery(context.settings.retry).handle


stage = Stage(name=NAME, sources=(ERRORS,), open=open_recovery, on_bug=on_bug, ordered=False)
