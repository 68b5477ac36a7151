"""How long to wait: for a circuit breaker, for a share of the traffic, within a request's time."""

from datetime import datetime, timedelta

from schemas.job import Job
from schemas.signals import BreakerState

SPREAD_SECONDS = 1.0
"""Events that wait for the same moment come back within this time, not all at once."""

SHORT_PARK_SECONDS = 1.0
"""Wait when a breaker's state is about to change: its trials take about as long."""

TRIAL_PARK_SECONDS_MAX = 8.0
"""Longest wait for trials, before its spread. The wait is as long as they have taken so far, so it
doubles each time that an event comes back: events that come back each second keep a worker busy.
300 parked events on an overloaded machine: done 16 s after the breaker closed."""

BLIND_PARK_SECONDS = 30.0
"""Wait for a breaker that does not say until when it is open. A reset is noticed so late."""


def breaker_seconds(breaker: BreakerState | None, now: datetime, chance: float) -> float:
    """Return how long to wait for a breaker, spread a little by ``chance`` from 0 to 1."""
    if breaker is None or breaker.state == "closed":
        wait = SHORT_PARK_SECONDS
    elif breaker.state == "half_open":
        return _trial_seconds(breaker.since, now, chance)
    elif breaker.state == "forced_open" or breaker.until is None:
        wait = BLIND_PARK_SECONDS
    elif breaker.until > now:
        wait = (breaker.until - now).total_seconds()
    else:
        return _trial_seconds(breaker.until, now, chance)
    return wait + SPREAD_SECONDS * chance


def _trial_seconds(began: datetime, now: datetime, chance: float) -> float:
    """Spread from half of the wait to twice it: what came back together must not do so for ever."""
    taken = (now - began).total_seconds()
    return min(max(taken, SHORT_PARK_SECONDS), TRIAL_PARK_SECONDS_MAX) * (0.5 + 1.5 * chance)


def budget_seconds(breaker: BreakerState | None, now: datetime, chance: float) -> float:
    """Return how long retries must wait because they are too large a share of the traffic."""
    until = breaker.budget_until if breaker is not None else None
    if until is None or until <= now:
        return 0.0
    return (until - now).total_seconds() + SPREAD_SECONDS * chance


def seconds_left(job: Job, now: datetime, total: timedelta) -> float:
    """Return the rest of the total time; a request from the future has all of it."""
    return min(total, total - (now - job.received_at)).total_seconds()


def due_after(seconds: float, job: Job, now: datetime, total: timedelta) -> datetime:
    """Return the moment to look again, within the total time and the deadline.

    At the deadline the step ends the job in time.
    """
    last = max(0.0, seconds_left(job, now, total))
    due = now + timedelta(seconds=max(0.0, min(seconds, last)))
    return due if job.deadline is None else min(due, max(job.deadline, now))
