"""What a plug-in is told of a request over the network: names and numbers, nothing secret."""

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from schemas.attempts import Operation
from schemas.errors import ClipmillError, ErrorCode, Place
from schemas.job import Job

Outcome = str
"""``ok``, ``cancelled``, or one of `schemas.errors.ErrorCode`: bounded, so fit for a label."""

OK: Outcome = "ok"
CANCELLED: Outcome = "cancelled"

STEPS: dict[Operation, str] = {
    "resolve": "validation",
    "extract": "extraction",
    "download": "download",
}
"""The step that makes the requests of an operation; attempts are counted by step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRequest:
    """One attempt to get something over the network.

    Equal for copies of one event; use the object itself (``is``) to tell two attempts apart.

    Attributes:
        platform: name of the platform, such as ``tiktok``.
        operation: ``resolve`` a short link, ``extract`` a page, ``download`` a file.
        egress: name of the way out of the house.
        request_id: of the client's request.
        subject: the video's key, or the short link without its query.
        attempt: number of the attempt at this operation for this request, from 1.
        trace_id: W3C trace id, 32 hex digits.
    """

    platform: str
    operation: Operation
    egress: str
    request_id: str
    subject: str
    attempt: int
    trace_id: str


def describe(job: Job, subject: str, place: Place) -> PluginRequest:
    """Return what plug-ins are told of an attempt: for whom, of what, and where."""
    return PluginRequest(
        platform=place.platform,
        operation=place.operation,
        egress=place.egress,
        request_id=job.request_id,
        subject=_without_query(subject),
        attempt=job.attempt_number(STEPS[place.operation]),
        trace_id=job.trace_id,
    )


def outcome_of(error: BaseException) -> Outcome:
    """Return the name of a failure; what nobody expected is ``internal.bug``."""
    if isinstance(error, ClipmillError):
        return error.code.value
    if isinstance(error, asyncio.CancelledError):
        return CANCELLED
    return ErrorCode.INTERNAL_BUG.value


def _without_query(subject: str) -> str:
    """Return a subject without what may hold tokens: query, fragment and user."""
    if "://" not in subject:
        return subject
    try:
        parts = urlsplit(subject)
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
