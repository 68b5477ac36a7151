"""What can be done about a failure: the kinds of decisions."""

from datetime import datetime, timedelta

import msgspec

from agents.recovery.backoff import due_after
from agents.recovery.remedies import JobChanges, Restart
from schemas.errors import ErrorCode
from schemas.failure import Failure
from schemas.job import Strategy
from schemas.moment import Moment


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
    changes: JobChanges
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
