"""What can be done about a failure: the kinds of decisions."""

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from agents.recovery.backoff import due_after
from schemas.codec import Moment
from schemas.commands import OptionChanges
from schemas.errors import ErrorCode
from schemas.failure import Failure
from schemas.job import Attempt, Job, Strategy
from schemas.video import VideoFormat

Restart = Literal["step", "extraction"]
"""Where the next try begins: at the step that failed, or by reading the page."""


class RecoveryOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to try.

    Attributes:
        egresses: ways out that are open to this platform and operation now.
        accounts: names of the platform's accounts.
        formats: what the video's page offered; empty when that is not known.
    """

    egresses: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    formats: tuple[VideoFormat, ...] = ()


NO_OPTIONS = RecoveryOptions()


class JobPatch(msgspec.Struct, frozen=True, kw_only=True):
    """What is otherwise in the next try of a job.

    Attributes:
        options: options with other values.
        fresh_page: the page that was used is not used again.
        avoid_egress: ways out not to be taken again.
        avoid_formats: formats not to be chosen again.
        silent_formats: formats that were found to have no sound.
        avoid_accounts: accounts not to be used again.
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
    """A change that may help."""

    strategy: Strategy
    changes: JobPatch
    restart: Restart


def applied(changes: JobPatch, job: Job) -> Job:
    """Return the job with the changes made."""
    new = {
        name: value
        for name, value in msgspec.structs.asdict(changes.options).items()
        if value is not msgspec.UNSET
    }
    return msgspec.structs.replace(
        job,
        options=msgspec.structs.replace(job.options, **new),
        page=msgspec.structs.replace(job.page, outdated=True) if changes.fresh_page else job.page,
        avoid_egress=(*job.avoid_egress, *changes.avoid_egress),
        avoid_formats=(*job.avoid_formats, *changes.avoid_formats),
        silent_formats=(*job.silent_formats, *changes.silent_formats),
        avoid_accounts=(*job.avoid_accounts, *changes.avoid_accounts),
        authenticate=job.authenticate or changes.authenticate,
    )


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """Put the event back on the topic of its step at ``due``; that uses up a retry."""

    due: Moment


class Park(msgspec.Struct, frozen=True, kw_only=True):
    """The same without using up a retry: ``code`` is no fault of the request."""

    due: Moment
    code: ErrorCode


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Try again at ``due`` with something changed.

    Attributes:
        due: when.
        strategy: what is done about the failure.
        changes: what is otherwise in the next try.
        restart: where it begins.
        counted: it uses up a retry.
    """

    due: Moment
    strategy: Strategy
    changes: JobPatch
    restart: Restart = "step"
    counted: bool = False


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """Give up, tell the client, and keep the event for an operator."""


class Fail(msgspec.Struct, frozen=True, kw_only=True):
    """Give up and tell the client."""


Decision = Retry | Park | Change | DeadLetter | Fail


def bounded(decision: Decision, failure: Failure, *, now: datetime, total: timedelta) -> Decision:
    """Return a decision that was made elsewhere, due within the request's time."""
    if isinstance(decision, DeadLetter | Fail):
        return decision
    due = due_after((decision.due - now).total_seconds(), failure.job, now, total)
    return msgspec.structs.replace(decision, due=due)


def job_after(failure: Failure, decision: Decision, now: datetime) -> Job:
    """Return the job as it goes on, or ends, after a decision."""
    if isinstance(decision, Park):
        return failure.job.put_off(decision.code, now)
    if not failure.permitted:
        return failure.job
    job = failure.job.failed(_attempt(failure, decision, now))
    return applied(decision.changes, job) if isinstance(decision, Change) else job


def strategy_of(decision: Decision) -> Strategy:
    """Return what is done about the failure, in one word."""
    match decision:
        case Retry():
            return "backoff"
        case Park():
            return "wait"
        case Change():
            return decision.strategy
        case _:
            return "give_up"


def _attempt(failure: Failure, decision: Decision, now: datetime) -> Attempt:
    wait = (decision.due - now).total_seconds() if isinstance(decision, Retry | Change) else 0.0
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
