"""Results of a job, the messages that end it; and deadline and cancellation, which end it early.

Callers propose results to the ledger, which alone decides how a request ends. Cancellation is best
effort, by shared state: steps of a cancelled request are not started; one in progress is
interrupted.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from schemas.error_catalog import explain
from schemas.errors import ClipmillError, ErrorCode, ErrorContext
from schemas.events import CacheUse
from schemas.files import Sidecar, StoredFile
from schemas.job import Job
from schemas.listing import Listing
from schemas.redaction import redact
from schemas.results import Cancelled, Completed, Expired, Failed, Rejected, Result
from schemas.subtitles import MissingSubtitles
from schemas.video import EngineVersions, VideoInfo
from streams.claims import cancel_keys
from streams.cluster.shared_state import SharedState

_RESULT_TYPES: dict[ErrorCode, type[Rejected | Expired | Cancelled]] = {
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
    missing_sidecars: tuple[Sidecar, ...] = (),
    missing_subtitles: tuple[MissingSubtitles, ...] = (),
) -> Completed:
    return Completed(
        **_common(job, attempts=len(job.attempts) + 1),
        video=info,
        cache=cache,
        engine=engine,
        files=files,
        partial=partial,
        silent=any(file.silent for file in files),
        missing_sidecars=missing_sidecars,
        missing_subtitles=missing_subtitles,
        recovery=job.attempts,
    )


def listing_result(
    job: Job, listing: Listing, *, cache: CacheUse, engine: EngineVersions, members: int
) -> Completed:
    """Return the result of a listing; ``members`` is the number of member jobs it started."""
    return Completed(
        **_common(job, attempts=len(job.attempts) + 1),
        listing=listing,
        members=members,
        cache=cache,
        engine=engine,
        recovery=job.attempts,
    )


def status_of(code: ErrorCode) -> str:
    """Return the status of a result with an error code."""
    return str(_RESULT_TYPES.get(code, Failed).__struct_config__.tag)


def error_result(job: Job, error: ErrorContext, engine: EngineVersions | None = None) -> Result:
    """Return the result of a job that ends with an error; the code determines its status."""
    common = _common(job, attempts=len(job.attempts))
    end = _RESULT_TYPES.get(error.error_type)
    if end is not None:
        return end(**common, error=error)
    return Failed(**common, error=error, engine=engine, recovery=job.attempts)


def rejected(job: Job, error: ErrorContext) -> Rejected:
    """Return the result of a job whose URL is not supported, whatever the error code."""
    return Rejected(**_common(job, attempts=len(job.attempts)), error=error)


def expired(job: Job, step: str) -> Result:
    deadline = job.deadline.isoformat() if job.deadline else ""
    details = {"deadline": deadline}
    return error_result(
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
    context = explain(
        ErrorCode.REQUEST_CANCELLED, operation=step, url=job.url, request_id=job.request_id
    )
    return error_result(job, context)


DETAIL_CHARACTERS_MAX = 4_000
"""Longest detail of an error: enough for the relevant frames of a traceback."""


def details_of(error: ClipmillError) -> dict[str, str]:
    """Return the details of an error, redacted and bounded; ``reason`` defaults to its message."""
    details = {"reason": error.message, **error.details}
    return {name: redact(detail)[:DETAIL_CHARACTERS_MAX] for name, detail in details.items()}


def is_expired(job: Job, now: datetime) -> bool:
    return job.deadline is not None and job.deadline <= now


class RequestCancelledError(Exception):
    """The request was cancelled by a command."""


def is_cancelled(job: Job, shared_state: SharedState) -> bool:
    return any(shared_state.get(key) is not None for key in cancel_keys(job.request_id))


@contextmanager
def cancellable(job: Job, shared_state: SharedState) -> Iterator[None]:
    """Cancel the block, as `asyncio.timeout` does, when a cancel signal of the job arrives.

    Raises:
        RequestCancelledError: the signal arrived before or during the block.
    """
    task = asyncio.current_task()
    assert task is not None
    is_triggered = False

    def stop() -> None:
        nonlocal is_triggered
        if not is_triggered:
            is_triggered = True
            task.cancel()

    if is_cancelled(job, shared_state):
        raise RequestCancelledError
    with shared_state.watch(*cancel_keys(job.request_id), callback=stop):
        try:
            yield
        except asyncio.CancelledError:
            if is_triggered and task.uncancel() == 0:
                raise RequestCancelledError from None
            raise
        except Exception as error:
            # The block answered the CancelledError with another one.
            if is_triggered and task.uncancel() == 0:
                raise RequestCancelledError from error
            raise
    if is_triggered:
        # The block swallowed the CancelledError.
        task.uncancel()
        raise RequestCancelledError


def _common(job: Job, *, attempts: int) -> dict[str, Any]:
    return {
        "request_id": job.request_id,
        "url": job.url,
        "received_at": job.received_at,
        "finished_at": datetime.now(UTC),
        "trace_id": job.trace_id,
        "attributes": job.attributes,
        "attempts": attempts,
        "timings": job.timings,
        "retry_of": job.retry_of,
        "parked": job.parked,
        "batch_id": job.batch.id if job.batch else None,
        "batch_index": job.batch.index if job.batch else None,
        "batch_size": job.batch.size if job.batch else None,
    }
