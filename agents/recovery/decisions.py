"""Decisions about a failure, and the changes to a job that they carry."""

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from agents.recovery.retry_policy import due_after
from schemas.codec import Moment
from schemas.commands import OptionChanges
from schemas.errors import ErrorCode
from schemas.events import Failure
from schemas.job import Attempt, Job, Strategy
from schemas.video import VideoFormat

Restart = Literal["step", "extraction"]
"""Where the next attempt starts: at the failed step, or by reading the page again."""


class RecoveryOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Alternatives that the next attempt of a job could use.

    Attributes:
        egresses: those whose breaker for this platform and operation is closed now.
        accounts: names of the platform's accounts.
        formats: formats that the video's page offered; empty when they are not known.
    """

    egresses: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    formats: tuple[VideoFormat, ...] = ()


NO_OPTIONS = RecoveryOptions()


class JobPatch(msgspec.Struct, frozen=True, kw_only=True):
    """Changes to a job for its next attempt.

    Attributes:
        options: changed options.
        fresh_page: the cached page is not used.
        avoid_egress: egresses to exclude.
        avoid_formats: formats to exclude.
        silent_formats: formats found to have no sound.
        avoid_accounts: accounts to exclude.
        authenticate: log in.
        changed: the same in words, for the result: ``{"quality": "best -> 720p"}``.
    """

    options: OptionChanges = OptionChanges()
    fresh_page: bool = False
    avoid_egress: tuple[str, ...] = ()
    avoid_formats: tuple[str, ...] = ()
    silent_formats: tuple[str, ...] = ()
    avoid_accounts: tuple[str, ...] = ()
    authenticate: bool = False
    changed: dict[str, str] = {}


class RecoveryAction(msgspec.Struct, frozen=True, kw_only=True):
    """A change proposed by a strategy."""

    strategy: Strategy
    changes: JobPatch
    restart: Restart


def apply_patch(patch: JobPatch, job: Job) -> Job:
    options = {
        name: value
        for name, value in msgspec.structs.asdict(patch.options).items()
        if value is not msgspec.UNSET
    }
    return msgspec.structs.replace(
        job,
        options=msgspec.structs.replace(job.options, **options),
        page=msgspec.structs.replace(job.page, outdated=True) if patch.fresh_page else job.page,
        avoid_egress=(*job.avoid_egress, *patch.avoid_egress),
        avoid_formats=(*job.avoid_formats, *patch.avoid_formats),
        silent_formats=(*job.silent_formats, *patch.silent_formats),
        avoid_accounts=(*job.avoid_accounts, *patch.avoid_accounts),
        authenticate=job.authenticate or patch.authenticate,
    )


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Retry unchanged: publish the event to the topic of its step at ``due``; uses up a retry."""

    due: Moment


class Park(msgspec.Struct, frozen=True, kw_only=True):
    """Publish the event at ``due`` as `Backoff` does, without using up a retry.

    The failure ``code`` was not caused by the request.
    """

    due: Moment
    code: ErrorCode


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Retry at ``due`` with a changed job.

    Attributes:
        due: when.
        strategy: the strategy that proposed it.
        changes: the changes to the job.
        restart: where the next attempt starts.
        counted: it uses up a retry.
    """

    due: Moment
    strategy: Strategy
    changes: JobPatch
    restart: Restart = "step"
    counted: bool = False


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """Give up: publish a failed result, and keep the event as a dead letter."""


class Fail(msgspec.Struct, frozen=True, kw_only=True):
    """Give up: publish a failed result."""


Decision = Backoff | Park | Change | DeadLetter | Fail


def with_bounded_due(
    decision: Decision, failure: Failure, *, now: datetime, total: timedelta
) -> Decision:
    """Return an error handler's decision with its due time within the request's total time."""
    if isinstance(decision, DeadLetter | Fail):
        return decision
    due = due_after((decision.due - now).total_seconds(), failure.job, now, total)
    return msgspec.structs.replace(decision, due=due)


def job_after(failure: Failure, decision: Decision, now: datetime) -> Job:
    """Return the job after a decision, with the failed attempt or the park in its history."""
    if isinstance(decision, Park):
        return failure.job.with_parking(decision.code, now)
    if not failure.permitted:
        return failure.job
    job = failure.job.with_attempt(_attempt(failure, decision, now))
    return apply_patch(decision.changes, job) if isinstance(decision, Change) else job


def strategy_of(decision: Decision) -> Strategy:
    """Return the strategy of a decision, as the result and metrics name it."""
    match decision:
        case Backoff():
            return "backoff"
        case Park():
            return "wait"
        case Change():
            return decision.strategy
        case _:
            return "give_up"


def _attempt(failure: Failure, decision: Decision, now: datetime) -> Attempt:
    wait = (decision.due - now).total_seconds() if isinstance(decision, Backoff | Change) else 0.0
    return Attempt(
        step=failure.step,
        code=failure.error.error_type,
        at=failure.failed_at,
        counted=decision.counted if isinstance(decision, Change) else True,
        egress=failure.egress,
        strategy=strategy_of(decision),
        changed=decision.changes.changed if isinstance(decision, Change) else {},
        wait_seconds=round(max(0.0, wait), 3),
        format_id=failure.format_id,
    )
