"""Time that a request spends on files beside its media, which it can do without."""

from datetime import UTC, datetime

from schemas.job import Job

SPARE_SECONDS = 2.0
"""Before the deadline of a request, in which it completes without them."""


def extra_seconds(job: Job, most: float) -> float:
    """Return the time that is left for them, at most this many seconds."""
    if job.deadline is None:
        return most
    left = (job.deadline - datetime.now(UTC)).total_seconds()
    return min(most, left - SPARE_SECONDS)
