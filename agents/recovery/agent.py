"""recovery: the error agent. Every failure ends here in a new try, a dead letter or an outcome."""

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec

from agents.access.accounts import open_authenticator
from agents.pipeline.events import (
    Event,
    audit,
    delay_event,
    failed_event,
    propose_result,
    restore_record,
    send_event,
)
from agents.pipeline.failures import as_bug, unreadable
from agents.pipeline.results import ended
from agents.recovery.context import Accounts, breaker_of, means_of
from agents.recovery.decide import decide
from agents.recovery.decisions import (
    Change,
    DeadLetter,
    Decision,
    Fail,
    Park,
    Retry,
    bounded,
    job_after,
    strategy_of,
)
from agents.recovery.error_handlers import ErrorHandlers
from agents.recovery.retry_policy import with_waits
from schemas.audit import Transition
from schemas.codec import MalformedMessageError, decode
from schemas.error_catalog import explain
from schemas.errors import ErrorCode
from schemas.events import PendingLink, ValidatedListing, ValidatedVideo
from schemas.failure import Failure
from schemas.job import Job
from streams.cluster.shared_state import SharedState
from streams.deadletters.headers import make_letter
from streams.envelope import open_envelope
from streams.observability.metrics import (
    DEAD_LETTERS,
    RETRIES,
    RETRY_ATTEMPTS,
    STRATEGIES,
    start_at_zero,
)
from streams.records import Effect, Incoming, Outgoing
from streams.settings import Settings
from streams.stage import Handler, Stage, StageContext
from streams.topics import ERRORS, delay_topic


def dead_letter_of(failure: Failure, job: Job) -> Outgoing:
    """Return the dead letter of a failure; ``job`` has all its attempts, this one too."""
    error = failure.error
    DEAD_LETTERS.labels(error.error_type).inc()
    return make_letter(
        restore_record(failure),
        step=failure.step,
        code=error.error_type,
        reason=error.technical_details.get("reason") or error.user_message,
        attempts=len(job.attempts),
        platform=platform_of(failure),
        request_id=job.request_id,
        failed_at=failure.failed_at,
        engine=failure.engine.yt_dlp if failure.engine else "",
        replays=job.replays,
    )


def platform_of(failure: Failure) -> str:
    """Return the platform that a failure is about, "" when it is not known yet.

    A subject is a video's key, ``tiktok:7608826249200356630``, or a link.
    """
    name, _, rest = (failure.subject or "").partition(":")
    return failure.platform or ("" if rest.startswith("//") else name)


NAME = "recovery"

AT_ONCE = "none"
"""Label of the delay when there is none."""

STEPS = ("validation", "extraction", "selection", "download")
"""Steps whose failures come here: labels."""

ATTEMPT_LABELS = ("1", "2", "3", "4", "5", "more")
"""Numbers of retries; the policies allow fewer than that for most codes."""


class Recovery:
    """The stage's work."""

    def __init__(
        self,
        settings: Settings,
        signals: SharedState,
        handlers: ErrorHandlers,
        *,
        accounts: Accounts = lambda _platform: (),
        chance: Callable[[], float] = random.random,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._signals = signals
        self._handlers = handlers
        self._accounts = accounts
        self._policies = with_waits(settings.retry.waits_seconds)
        self._total = timedelta(seconds=settings.retry.total_seconds)
        self._chance = chance
        self._clock = clock

    async def handle(self, record: Incoming) -> Sequence[Effect]:
        """Return what follows from a failure."""
        try:
            envelope = open_envelope(record)
            failure = decode(envelope.data, Failure)
            event = failed_event(failure)
        except (MalformedMessageError, KeyError) as error:
            return unreadable(record, error, NAME)
        decision = await self._decide(failure, event)
        STRATEGIES.labels(strategy_of(decision), failure.error.error_type).inc()
        return _apply(decision, failure, event, self._clock(), envelope.id)

    async def _decide(self, failure: Failure, event: Event) -> Decision:
        """Ask whoever knows better, then the policy. What was not permitted is no failure yet."""
        theirs = await self._handlers.decide(failure) if failure.permitted else None
        now = self._clock()
        if theirs is not None and now - failure.job.received_at < self._total:
            return bounded(theirs, failure, now=now, total=self._total)
        return decide(
            failure,
            now=now,
            total=self._total,
            jitter=self._settings.retry.jitter,
            chance=self._chance(),
            breaker=breaker_of(failure, self._signals, now),
            means=means_of(failure, event, self._settings, self._signals, self._accounts, now=now),
            policies=self._policies,
        )


def _apply(
    decision: Decision, failure: Failure, event: Event, now: datetime, cause: str
) -> Sequence[Effect]:
    job = job_after(failure, decision, now)
    match decision:
        case Retry() | Park() | Change():
            again = _again(decision, event, job)
            _count_attempt(decision, failure, job)
            return [
                _put_back(again, decision, failure, now, cause),
                _report(decision, failure, job, cause),
            ]
        case DeadLetter():
            return [dead_letter_of(failure, job), *_give_up(failure, job, cause)]
        case Fail():
            return _give_up(failure, job, cause)


def _count_attempt(decision: Decision, failure: Failure, job: Job) -> None:
    """Count a retry by its number; a wait uses up no attempt and has none."""
    if isinstance(decision, Park) or failure.step not in STEPS:
        return
    number = sum(each.counted and each.step == failure.step for each in job.attempts)
    if number:
        label = ATTEMPT_LABELS[min(number, len(ATTEMPT_LABELS)) - 1]
        RETRY_ATTEMPTS.labels(failure.step, label).inc()


def _again(decision: Decision, event: Event, job: Job) -> Event:
    """Return the event of the next try: the same one, or the one that lets the page be read."""
    if isinstance(event, PendingLink | ValidatedListing):
        return msgspec.structs.replace(event, job=job)
    if isinstance(decision, Change) and decision.restart == "extraction":
        return ValidatedVideo(job=job, video=event.video)
    return msgspec.structs.replace(event, job=job)


def _put_back(
    event: Event, decision: Retry | Park | Change, failure: Failure, now: datetime, cause: str
) -> Effect:
    """Return the event for the topic of its step, by way of a delay topic if it has to wait."""
    code = failure.error.error_type
    if decision.due <= now:
        RETRIES.labels(AT_ONCE, code).inc()
        return send_event(event, NAME, cause)
    topic = delay_topic(decision.due - now)
    RETRIES.labels(topic.name, code).inc()
    return delay_event(event, NAME, cause, decision.due, topic)


def _report(decision: Retry | Park | Change, failure: Failure, job: Job, cause: str) -> Effect:
    transition: Transition = "parked" if isinstance(decision, Park) else "retrying"
    detail = {
        "code": str(failure.error.error_type),
        "due": decision.due.isoformat(),
        "step": failure.step,
        "strategy": strategy_of(decision),
    }
    if isinstance(decision, Change):
        detail |= decision.changes.changed
    return audit(job, NAME, transition, cause, detail=detail)


def _give_up(failure: Failure, job: Job, cause: str) -> Sequence[Effect]:
    return [propose_result(job, failure.step, ended(job, failure.error, failure.engine), cause)]


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    """Return what a bug in this very stage leads to: an outcome and a dead letter."""
    try:
        failure = decode(open_envelope(record).data, Failure)
    except MalformedMessageError as malformed:
        return unreadable(record, malformed, NAME)
    bug = as_bug(error)
    job = failure.job
    context = explain(
        bug.code, operation=NAME, url=job.url, details=bug.details, request_id=job.request_id
    )
    return [propose_result(job, NAME, ended(job, context), None), dead_letter_of(failure, job)]


@asynccontextmanager
async def open_recovery(context: StageContext) -> AsyncIterator[Handler]:
    """Find the error handlers of others, and who knows the accounts."""
    start_at_zero(DEAD_LETTERS, ErrorCode)
    start_at_zero(RETRY_ATTEMPTS, STEPS, ATTEMPT_LABELS)
    settings, handlers = context.settings, ErrorHandlers.load()
    accounts = open_authenticator(settings.auth).accounts
    yield Recovery(settings, context.signals, handlers, accounts=accounts).handle


stage = Stage(name=NAME, sources=(ERRORS,), open=open_recovery, on_bug=on_bug, ordered=False)
