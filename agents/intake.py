"""From the bytes of a record to jobs: one per URL. Pure; refusals name the field and the reason."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson

from schemas.codec import MalformedMessageError, decode
from schemas.errors import ClipmillError, ErrorCode
from schemas.job import BatchMember, Job
from schemas.request import MAX_URL_CHARACTERS, Request, RequestId
from streams.envelope import Envelope
from streams.records import Incoming
from streams.topics import REQUEST_BYTES_MAX


class RefusedRequestError(Exception):
    """A record is no request. ``job`` carries what could still be told of it."""

    def __init__(self, job: Job, cause: ClipmillError) -> None:
        super().__init__(str(cause))
        self.job = job
        self.cause = cause


def read_request(envelope: Envelope) -> Request:
    """Return the request in an envelope.

    Raises:
        ClipmillError: ``request.invalid`` or ``request.too_large``, with ``field``.
    """
    size = len(envelope.data)
    if size > REQUEST_BYTES_MAX:
        reason = f"{size} bytes, at most {REQUEST_BYTES_MAX} are taken; split the batch"
        raise _refusal("$", reason, ErrorCode.REQUEST_TOO_LARGE)
    try:
        request = decode(envelope.data, Request)
    except MalformedMessageError as error:
        raise _refusal(error.field, error.reason) from None
    if (request.url is None) == (request.urls is None):
        raise _refusal("$.url", "give either `url` or `urls`, not both and not neither")
    return request


def _refusal(field: str, reason: str, code: ErrorCode = ErrorCode.REQUEST_INVALID) -> ClipmillError:
    return ClipmillError(code, reason, field=field)


def jobs_of(request: Request, envelope: Envelope, record: Incoming) -> list[Job]:
    """Return one job per URL of a request. Members of a batch that are not texts have url ""."""
    request_id = request.id or record.position
    if request.urls is None:
        return [_job(request, envelope, record, request_id=request_id, url=request.url)]
    size = len(request.urls)
    return [
        _job(
            request,
            envelope,
            record,
            request_id=f"{request_id}/{index}",
            url=url,
            batch=BatchMember(id=request_id, index=index, size=size),
        )
        for index, url in enumerate(request.urls)
    ]


def _job(
    request: Request,
    envelope: Envelope,
    record: Incoming,
    *,
    request_id: str,
    url: Any,
    batch: BatchMember | None = None,
) -> Job:
    return Job(
        request_id=request_id,
        url=url if isinstance(url, str) else "",
        action=request.action,
        options=request.options,
        received_at=datetime.fromtimestamp(record.timestamp, UTC),
        trace_id=envelope.trace_id,
        deadline=request.deadline or envelope.expires,
        priority=request.priority,
        attributes=request.attributes,
        retry_of=request.retry_of,
        batch=batch,
    )


def salvage(data: bytes | None) -> tuple[str | None, str]:
    """Return id and URL of a body that is no valid request, as far as they can be told."""
    try:
        body = orjson.loads(data or b"")
    except orjson.JSONDecodeError:
        return None, ""
    if not isinstance(body, dict):
        return None, ""
    return _valid_id(body.get("id")), clip(body.get("url"))


def _valid_id(text: object) -> str | None:
    try:
        return msgspec.convert(text, RequestId)
    except msgspec.ValidationError:
        return None


def clip(text: object) -> str:
    """Return a URL as it may stand in a result: a text, not longer than a URL may be."""
    return text[:MAX_URL_CHARACTERS] if isinstance(text, str) else ""


def is_json(data: bytes | None) -> bool:
    """Return whether a body can be read at all."""
    try:
        orjson.loads(data or b"")
    except orjson.JSONDecodeError:
        return False
    return True


def field_of(job: Job, urls: Sequence[Any] | None) -> str:
    """Return the JSON path of a job's URL in its request."""
    return f"$.urls[{job.batch.index}]" if urls is not None and job.batch else "$.url"
