"""Description of a network request for plug-ins; holds no credentials and no queries."""

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from schemas.attempts import Operation
from schemas.errors import ClipmillError, Endpoint, ErrorCode
from schemas.job import Job

Outcome = str
"""``ok``, ``cancelled``, or one of `schemas.errors.ErrorCode`: bounded, so usable as a label."""

OK: Outcome = "ok"
CANCELLED: Outcome = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRequest:
    """One attempt at a network request.

    Attempts of redelivered copies of one event are equal; compare by identity (``is``) to
    distinguish them.

    Attributes:
        platform: name of the platform, such as ``tiktok``.
        operation: ``resolve`` a short link, ``extract`` a page, ``download`` a file.
        egress: name of the egress.
        request_id: of the client's request.
        subject: the video's key, or the short link without its query.
        attempt: number of the attempt of this step for this request, from 1.
        trace_id: W3C trace id, 32 hex digits.
    """

    platform: str
    operation: Operation
    egress: str
    request_id: str
    subject: str
    attempt: int
    trace_id: str


def describe(job: Job, subject: str, endpoint: Endpoint, *, step: str) -> PluginRequest:
    """Return the description of a step's attempt for plug-ins; attempts are counted by step."""
    return PluginRequest(
        platform=endpoint.platform,
        operation=endpoint.operation,
        egress=endpoint.egress,
        request_id=job.request_id,
        subject=_without_query(subject),
        attempt=job.attempt_number(step),
        trace_id=job.trace_id,
    )


def outcome_of(error: BaseException) -> Outcome:
    """Return the outcome of a failed request; an unexpected error is ``internal.bug``."""
    if isinstance(error, ClipmillError):
        return error.code.value
    if isinstance(error, asyncio.CancelledError):
        return CANCELLED
    return ErrorCode.INTERNAL_BUG.value


def _without_query(subject: str) -> str:
    """Remove the parts of a URL that may hold tokens: query, fragment and user."""
    if "://" not in subject:
        return subject
    try:
        parts = urlsplit(subject)
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
