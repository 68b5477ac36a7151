"""Dead letters of failures: the record that failed, as its step had read it, and why."""

from agents.pipeline.events import failed_record
from schemas.failure import Failure
from schemas.job import Job
from streams.deadletters.headers import make_letter
from streams.observability.metrics import DEAD_LETTERS
from streams.records import Outgoing


def dead_letter_of(failure: Failure, job: Job) -> Outgoing:
    """Return the dead letter of a failure; ``job`` has all its attempts, this one too."""
    error = failure.error
    DEAD_LETTERS.labels(error.error_type).inc()
    return make_letter(
        failed_record(failure),
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
