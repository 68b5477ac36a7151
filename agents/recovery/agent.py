"""recovery: the error agent. It turns every failure into a retry, a dead letter or a final result.

It consumes the topic ``errors``. Installed error handlers decide first, then the retry policy; the
decision becomes records: the event for its step's topic or a delay topic, a dead letter, a result.
"""

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec

from agents.access.accounts import open_authenticator
from agents.access.breaker_client import breaker_state
from agents.access.egress import egress_names
from agents.pipeline import Event, audit, error_result, propose_result, send_event
from agents.pipeline.events import EVENT_SOURCES, delay_event, failed_event, restore_record
from agents.pipeline.failures import as_bug, on_unreadable
from agents.recovery.decide import decide
from agents.recovery.decisions import (
    Backoff,
    Change,
    DeadLetter,
    Decision,
    Fail,
    Park,
    RecoveryOptions,
    job_after,
    strategy_of,
    with_bounded_due,
)
from agents.recovery.error_handlers import ErrorHandlers
from agents.recovery.media_hosts import SWEEP_SECONDS, MediaHostRecorder
from agents.recovery.retry_policy import with_waits
from schemas import (
    ErrorCode,
    Failure,
    Job,
    MalformedMessageError,
    PendingLink,
    SelectedVideo,
    ValidatedListing,
    ValidatedVideo,
    decode,
)
from schemas.error_catalog import explain
from schemas.errors import endpoint_key
from schemas.signals import BreakerState
from streams import (
    AUDIT,
    ERRORS,
    Effect,
    Handler,
    Incoming,
    Outgoing,
    Settings,
    SharedState,
    Stage,
    StageContext,
    open_envelope,
)
from streams.deadletters.headers import make_dead_letter
from streams.media_host_waits import follow_media_host_waits
from streams.observability.metrics import (
    DEAD_LETTERS,
    RETRIES,
    RETRY_ATTEMPTS,
    STRATEGIES,
    start_at_zero,
)
from streams.topics import DELAYS, SIGNALS, delay_topic


def dead_letter_of(failure: Failure, job: Job) -> Outgoing:
    """Return the dead letter of a failure; ``job`` has all its attempts, the last included."""
    error = failure.error
    DEAD_LETTERS.labels(error.error_type).inc()
    return make_dead_letter(
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
    """Return the platform of a failure, "" when it is not known yet.

    A subject is a video's key, ``tiktok:7608826249200356630``, or a link.
    """
    name, _, rest = (failure.subject or "").partition(":")
    return failure.platform or ("" if rest.startswith("//") else name)


NAME = "recovery"

NO_DELAY = "none"
"""Delay label of a retry that is due at once."""

STEPS = ("validation", "extraction", "selection", "download")
"""Steps whose failures arrive here, as metric labels."""

ATTEMPT_LABELS = ("1", "2", "3", "4", "5", "more")
"""Numbers of retries, as metric labels; most policies allow fewer."""


class Recovery:
    """Record handler of the stage.

    ``accounts`` returns the account names of a platform; ``uniform`` samples [0, 1) for jitter.
    """

    def __init__(
        self,
        settings: Settings,
        shared_state: SharedState,
        handlers: ErrorHandlers,
        *,
        accounts: Callable[[str], tuple[str, ...]] = lambda _platform: (),
        media_hosts: MediaHostRecorder,
        uniform: Callable[[], float] = random.random,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._shared_state = shared_state
        self._handlers = handlers
        self._accounts = accounts
        self._policies = with_waits(settings.retry.waits_seconds)
        self._total = timedelta(seconds=settings.retry.total_seconds)
        self._uniform = uniform
        self._clock = clock
        self._media_hosts = media_hosts

    async def handle(self, record: Incoming) -> Sequence[Effect]:
        try:
            envelope = open_envelope(record)
            failure = decode(envelope.data, Failure)
            event = failed_event(failure)
        except (MalformedMessageError, KeyError) as error:
            return on_unreadable(record, error, NAME)
        decision = await self._decide(failure, event)
        STRATEGIES.labels(strategy_of(decision), failure.error.error_type).inc()
        now = self._clock()
        waits = self._media_hosts.record(failure, platform_of(failure), decision, now)
        return [*_apply(decision, failure, event, now, envelope.id), *waits]

    async def _decide(self, failure: Failure, event: Event) -> Decision:
        """Return the decision of an error handler, else of the policy.

        A call that was not permitted has not failed: handlers are not asked about it.
        """
        decision = await self._handlers.decide(failure) if failure.permitted else None
        now = self._clock()
        if decision is not None and now - failure.job.received_at < self._total:
            return with_bounded_due(decision, failure, now=now, total=self._total)
        return decide(
            failure,
            now=now,
            total=self._total,
            jitter=self._settings.retry.jitter,
            uniform=self._uniform(),
            breaker=None if failure.egress is None else self._breaker(failure, failure.egress, now),
            available=self._options(failure, event, now),
            policies=self._policies,
        )

    def _options(self, failure: Failure, event: Event, now: datetime) -> RecoveryOptions:
        names = egress_names(self._settings)
        breakers = {name: self._breaker(failure, name, now) for name in names}
        closed = (name for name, it in breakers.items() if it is None or it.state == "closed")
        return RecoveryOptions(
            egresses=tuple(closed),
            accounts=() if failure.platform is None else self._accounts(failure.platform),
            formats=event.info.formats if isinstance(event, SelectedVideo) else (),
        )

    def _breaker(self, failure: Failure, egress: str, now: datetime) -> BreakerState | None:
        name = endpoint_key(failure.platform or "", failure.operation or "", egress)
        return breaker_state(self._shared_state, name, now)


def _apply(
    decision: Decision, failure: Failure, event: Event, now: datetime, cause: str
) -> Sequence[Effect]:
    job = job_after(failure, decision, now)
    match decision:
        case Backoff() | Park() | Change():
            retry = _event_of_retry(decision, event, job)
            _count_attempt(decision, failure, job)
            return [
                _republish(retry, decision, failure, now, cause),
                _report(decision, failure, job, cause),
            ]
        case DeadLetter() | Fail():
            result = error_result(job, failure.error, failure.engine)
            is_dead_letter = isinstance(decision, DeadLetter)
            dead_letters = [dead_letter_of(failure, job)] if is_dead_letter else []
            return [*dead_letters, propose_result(job, failure.step, result, cause)]


def _count_attempt(decision: Decision, failure: Failure, job: Job) -> None:
    """Count a retry by its number; a park uses up no attempt and has none."""
    if isinstance(decision, Park) or failure.step not in STEPS:
        return
    number = sum(each.counted and each.step == failure.step for each in job.attempts)
    if number:
        label = ATTEMPT_LABELS[min(number, len(ATTEMPT_LABELS)) - 1]
        RETRY_ATTEMPTS.labels(failure.step, label).inc()


def _event_of_retry(decision: Decision, event: Event, job: Job) -> Event:
    """Return the event of the next attempt: the same one, or that of extraction for a restart."""
    restarts = isinstance(decision, Change) and decision.restart == "extraction"
    if restarts and not isinstance(event, PendingLink | ValidatedListing):
        return ValidatedVideo(job=job, video=event.video)
    return msgspec.structs.replace(event, job=job)


def _republish(
    event: Event, decision: Backoff | Park | Change, failure: Failure, now: datetime, cause: str
) -> Effect:
    """Return the event for the topic of its step, through a delay topic unless it is due."""
    code = failure.error.error_type
    if decision.due <= now:
        RETRIES.labels(NO_DELAY, code).inc()
        return send_event(event, NAME, cause)
    topic = delay_topic(decision.due - now)
    RETRIES.labels(topic.name, code).inc()
    return delay_event(event, NAME, cause, decision.due, topic)


def _report(decision: Backoff | Park | Change, failure: Failure, job: Job, cause: str) -> Effect:
    detail = {
        "code": str(failure.error.error_type),
        "due": decision.due.isoformat(),
        "step": failure.step,
        "strategy": strategy_of(decision),
    }
    if failure.egress is not None:
        operation = failure.operation or ""
        detail["endpoint"] = endpoint_key(failure.platform or "", operation, failure.egress)
    if isinstance(decision, Change):
        detail |= decision.changes.changed
    return audit(
        job, NAME, "parked" if isinstance(decision, Park) else "retrying", cause, detail=detail
    )


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    """Return a failed result and a dead letter, for a bug in this stage itself."""
    try:
        failure = decode(open_envelope(record).data, Failure)
    except MalformedMessageError as malformed:
        return on_unreadable(record, malformed, NAME)
    bug = as_bug(error)
    job = failure.job
    context = explain(
        bug.code, operation=NAME, url=job.url, details=bug.details, request_id=job.request_id
    )
    return [
        propose_result(job, NAME, error_result(job, context), None),
        dead_letter_of(failure, job),
    ]


@asynccontextmanager
async def open_recovery(context: StageContext) -> AsyncIterator[Handler]:
    """Load the installed error handlers and the authenticator."""
    start_at_zero(DEAD_LETTERS, ErrorCode)
    start_at_zero(RETRY_ATTEMPTS, STEPS, ATTEMPT_LABELS)
    settings, handlers = context.settings, ErrorHandlers.load()
    accounts = open_authenticator(settings.auth).accounts
    with follow_media_host_waits(context.shared_state) as waits:
        media_hosts = MediaHostRecorder(waits)
        context.periodic.append((SWEEP_SECONDS, media_hosts.sweep))
        yield Recovery(
            settings,
            context.shared_state,
            handlers,
            accounts=accounts,
            media_hosts=media_hosts,
        ).handle


stage = Stage(
    name=NAME,
    sources=(ERRORS,),
    open=open_recovery,
    on_bug=on_bug,
    writes=(*DELAYS, *EVENT_SOURCES, AUDIT, SIGNALS),
    purpose="decides on retry, change of strategy or final failure",
    ordered=False,
)
