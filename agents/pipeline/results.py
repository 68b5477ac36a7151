"""Outcomes of a job: the messages that end it."""

from datetime import UTC, datetime
from typing import Any

from schemas.error_catalog import explain
from schemas.errors import ClipmillError, ErrorCode, ErrorContext
from schemas.events import CacheUse
from schemas.files import StoredFile
from schemas.job import Job
from schemas.listing import Listing
from schemas.redaction import redact
from schemas.results import Cancelled, Completed, Expired, Failed, Rejected, Result
from schemas.video import EngineVersions, VideoInfo

_ENDS: dict[ErrorCode, type[Rejected | Expired | Cancelled]] = {
    ErrorCode.REQUEST_INVALID: Rejected,
    ErrorCode.REQUEST_TOO_LARGE: Rejected,
    ErrorCode.REQUEST_EXPIRED: Expired,
    ErrorCode.REQUEST_CANCELLED: Cancelled,
}


def completed(
    job: Job,
    info: VideoInfo,
    *,
    cache: CacheUse,
    engine: EngineVersions,
    files: tuple[StoredFile, ...] = (),
    partial: bool = False,
) -> Completed:
    """Return the outcome of a job that is done."""
    return Completed(
        **_common(job, tried=len(job.attempts) + 1),
        video=info,
        cache=cache,
        engine=engine,
        files=files,
        partial=partial,
        silent=any(file.silent for file in files),
        recovery=job.attempts,
    )


def listed(
    job: Job, listing: Listing, *, cache: CacheUse, engine: EngineVersions, members: int
) -> Completed:
    """Return the outcome of a job whose listing was read; ``members`` are jobs of their own."""
    return Completed(
        **_common(job, tried=len(job.attempts) + 1),
        listing=listing,
        members=members,
        cache=cache,
        engine=engine,
        recovery=job.attempts,
    )


def status_of(code: ErrorCode) -> str:
    """Return the status of the outcomes that end with an error."""
    return str(_ENDS.get(code, Failed).__struct_config__.tag)


def ended(job: Job, error: ErrorContext, engine: EngineVersions | None = None) -> Result:
    """Return the outcome of a job that ends with an error; the code decides which kind it is."""
    common = _common(job, tried=len(job.attempts))
    end = _ENDS.get(error.error_type)
    if end is not None:
        return end(**common, error=error)
    return Failed(**common, error=error, engine=engine, recovery=job.attempts)


def rejected(job: Job, error: ErrorContext) -> Rejected:
    """Return the outcome of a job that asks for what is no video."""
    return Rejected(**_common(job, tried=len(job.attempts)), error=error)


def expired(job: Job, step: str) -> Result:
    """Return the outcome of a job whose deadline has passed."""
    deadline = job.deadline.isoformat() if job.deadline else ""
    details = {"deadline": deadline}
    return ended(
        job,
        explain(
            ErrorCode.REQUEST_EXPIRED,
            operation=step,
            url=job.url,
            details=details,
            request_id=job.request_id,
        ),
    )


def cancelled(job: Job, step: str) -> Result:
    """Return the outcome of a job that the user has taken back."""
    context = explain(
        ErrorCode.REQUEST_CANCELLED, operation=step, url=job.url, request_id=job.request_id
    )
    return ended(job, context)


FACT_CHARACTERS = 4_000
"""Of one detail of an error: enough for the frames of a traceback that matter."""


def facts_of(error: ClipmillError) -> dict[str, str]:
    """Return the details of an error, its message as ``reason`` unless they have one.

    They are bounded and without secrets, whoever wrote them.
    """
    facts = {"reason": error.message, **error.details}
    return {name: redact(fact)[:FACT_CHARACTERS] for name, fact in facts.items()}


def is_expired(job: Job, now: datetime) -> bool:
    """Return whether the job's deadline has passed."""
    return job.deadline is not None and job.deadline <= now


def _common(job: Job, *, tried: int) -> dict[str, Any]:
    return {
        "request_id": job.request_id,
        "url": job.url,
        "received_at": job.received_at,
        "finished_at": datetime.now(UTC),
        "trace_id": job.trace_id,
        "attributes": job.attributes,
        "attempts": tried,
        "timings": job.timings,
        "retry_of": job.retry_of,
        "parked": job.parked,
        "batch_id": job.batch.id if job.batch else None,
        "batch_index": job.batch.index if job.batch else None,
        "batch_size": job.batch.size if job.batch else None,
    }
