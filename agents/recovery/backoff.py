"""Backoff: waits, with jitter, for a circuit breaker, the retry budget and the deadline."""

from datetime import datetime, timedelta

from schemas.job import Job
from schemas.signals import BreakerState

SPREAD_SECONDS = 1.0
"""Jitter, in seconds, of events that wait for the same moment: they do not return all at once."""

SHORT_PARK_SECONDS = 1.0
"""Wait, in seconds, when a breaker's state is about to change: its trials take about as long."""

TRIAL_PARK_SECONDS_MAX = 8.0
"""Longest wait for trials, in seconds, before jitter. The wait equals the time that they have taken
so far, so it doubles with each return of an event: events that return each second keep a worker
busy. 300 parked events on an overloaded machine: done 16 s after the breaker closed."""

UNKNOWN_END_PARK_SECONDS = 30.0
"""Wait, in seconds, for a breaker without a known end of its open time. A reset takes effect that
late."""


def breaker_seconds(breaker: BreakerState | None, now: datetime, uniform: float) -> float:
    """Return the wait for a breaker, with jitter by ``uniform`` from 0 to 1."""
    if breaker is None or breaker.state == "closed":
        wait = SHORT_PARK_SECONDS
    elif breaker.state == "half_open":
        return _trial_seconds(breaker.since, now, uniform)
    elif breaker.state == "forced_open" or breaker.until is None:
        wait = UNKNOWN_END_PARK_SECONDS
    elif breaker.until > now:
        wait = (breaker.until - now).total_seconds()
    else:
        return _trial_seconds(breaker.until, now, uniform)
    return wait + SPREAD_SECONDS * uniform


def _trial_seconds(began: datetime, now: datetime, uniform: float) -> float:
    """Return the wait for trials, times a jitter of 0.5 to 2, which disperses a burst."""
    taken = (now - began).total_seconds()
    return min(max(taken, SHORT_PARK_SECONDS), TRIAL_PARK_SECONDS_MAX) * (0.5 + 1.5 * uniform)


def budget_seconds(breaker: BreakerState | None, now: datetime, uniform: float) -> float:
    """Return the wait of a retry while the retry budget is exhausted, 0 otherwise."""
    until = breaker.budget_until if breaker is not None else None
    if until is None or until <= now:
        return 0.0
    return (until - now).total_seconds() + SPREAD_SECONDS * uniform


def seconds_left(job: Job, now: datetime, total: timedelta) -> float:
    """Return the rest of the total time; all of it if ``received_at`` is in the future."""
    return min(total, total - (now - job.received_at)).total_seconds()


def due_after(seconds: float, job: Job, now: datetime, total: timedelta) -> datetime:
    """Return the due time of a wait, bounded by the total time and the deadline.

    At the deadline the step ends the job in time.
    """
    last = max(0.0, seconds_left(job, now, total))
    due = now + timedelta(seconds=max(0.0, min(seconds, last)))
    return due if job.deadline is None else min(due, max(job.deadline, now))
