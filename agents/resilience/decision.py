"""What to do about one failure. Pure: facts in, decision out.

Breaker state and other strategies come in as further arguments of `decide` and as further kinds
of `Decision`.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from agents.resilience.policy import POLICIES, Policy
from schemas.errors import ErrorCode
from schemas.failure import Failure
from schemas.job import Job


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """Put the event back on the topic of its step (or of extraction, if fresh) at ``due``."""

    due: datetime
    counted: bool
    fresh: bool


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """Give up, tell the client, and keep the event for an operator."""


class Fail(msgspec.Struct, frozen=True, kw_only=True):
    """Give up and tell the client."""


Decision = Retry | DeadLetter | Fail


def decide(
    failure: Failure,
    now: datetime,
    *,
    total: timedelta,
    jitter: float,
    chance: float,
    policies: Mapping[ErrorCode, Policy] = POLICIES,
) -> Decision:
    """Return what to do about a failure.

    Args:
        failure: what failed; its job tells what failed before.
        now: the present moment.
        total: no retry is due later than this after the request came in.
        jitter: share by which a wait may grow.
        chance: a random number from 0 to 1.
        policies: the policy of each code.
    """
    policy = policies[failure.error.error_type]
    wait = _next_wait(policy, failure)
    if wait is None:
        return _give_up(policy)
    seconds = _longer(wait, failure.retry_after_seconds, jitter * chance, policy)
    left = total - (now - failure.job.received_at)
    if seconds > left.total_seconds():
        return _give_up(policy)
    due = now + timedelta(seconds=seconds)
    return Retry(
        due=_by_deadline(due, failure.job, now), counted=not policy.repeat_last, fresh=policy.fresh
    )


def _next_wait(policy: Policy, failure: Failure) -> float | None:
    before = sum(
        attempt.code == failure.error.error_type and attempt.step == failure.step
        for attempt in failure.job.attempts
    )
    if before < len(policy.waits):
        return policy.waits[before]
    return policy.waits[-1] if policy.repeat_last else None


def _longer(wait: float, asked: float | None, stretch: float, policy: Policy) -> float:
    """Return the wait: what the platform asked for, to the second, or ours, stretched."""
    ours = wait * (1 + stretch)
    if asked is None:
        return ours
    # Retries that use up nothing have no other bound: a short Retry-After would make them spin.
    return max(asked, ours if policy.repeat_last else 0.0)


def _by_deadline(due: datetime, job: Job, now: datetime) -> datetime:
    """Return the moment to look again: at the deadline the step ends the job in time."""
    return due if job.deadline is None else min(due, max(job.deadline, now))


def _give_up(policy: Policy) -> Decision:
    return DeadLetter() if policy.keep else Fail()
