"""What stays of a failure in its job, for later decisions and for the result."""

from datetime import datetime

from agents.recovery.decisions import Change, Decision, Park, Retry
from agents.recovery.remedies import applied
from schemas.failure import Failure
from schemas.job import Attempt, Job, Strategy


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
