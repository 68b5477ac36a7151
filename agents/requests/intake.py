"""From the bytes of a record to jobs: one per URL. Pure; refusals name the field and the reason."""

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from agents.records.owners import received_at
from schemas.codec import MalformedMessageError, decode, encode
from schemas.errors import ClipmillError, ErrorCode
from schemas.job import BatchMember, Job
from schemas.request import MAX_URL_CHARACTERS, Attributes, Request, RequestId
from streams.envelope import STRUCTURED, Envelope
from streams.records import Incoming
from streams.topics import REQUEST_BYTES_MAX

MAX_CAUSE_CHARACTERS = 256
"""Of a client's event id. It goes into every record that a request leads to."""

COPIED_BYTES_MAX = 8 * 2**20
"""Of the attributes in all members of a batch or listing together: every one has a copy, in each of
its records."""

MAX_REASON_CHARACTERS = 300
"""What the decoder says may repeat a name or a value of any length."""


def cause_of(envelope: Envelope, record: Incoming) -> str:
    """Return the id of the event that a request is, the record's name when that is no good id."""
    return envelope.id if len(envelope.id) <= MAX_CAUSE_CHARACTERS else record.position


def read_request(envelope: Envelope) -> Request:
    """Return the request in an envelope.

    Raises:
        ClipmillError: ``request.invalid`` or ``request.too_large``, with ``field``.
    """
    check_size(envelope)
    try:
        request = decode(envelope.data, Request)
    except MalformedMessageError as error:
        raise refusal(error) from None
    if (request.url is None) == (request.urls is None):
        reason = "give either `url` or `urls`, not both and not neither"
        raise refusal(MalformedMessageError("$.url", reason))
    check_copies(request.attributes, len(request.urls or ()))
    return request


def check_copies(attributes: Attributes, members: int) -> None:
    """Refuse attributes that would be copied into many members, and be a flood together.

    Raises:
        ClipmillError: ``request.too_large``.
    """
    size = members * len(encode(attributes))
    if size > COPIED_BYTES_MAX:
        reason = (
            f"attributes in {members} members are {size} bytes together, at most"
            f" {COPIED_BYTES_MAX} are taken; shorten them, or split the request"
        )
        raise ClipmillError(
            ErrorCode.REQUEST_TOO_LARGE, reason, field="$.attributes", reason=reason
        )


def check_size(envelope: Envelope) -> None:
    """Refuse what is larger than a request may be.

    Raises:
        ClipmillError: ``request.too_large``.
    """
    size = len(envelope.data)
    if size > REQUEST_BYTES_MAX:
        reason = f"{size} bytes, at most {REQUEST_BYTES_MAX} are taken; split the batch"
        raise ClipmillError(ErrorCode.REQUEST_TOO_LARGE, reason, field="$")


def refusal(error: MalformedMessageError) -> ClipmillError:
    """Return the refusal of a message; what it repeats of it is bounded."""
    field, reason = (text[:MAX_REASON_CHARACTERS] for text in (error.field, error.reason))
    return ClipmillError(ErrorCode.REQUEST_INVALID, reason, field=field)


def jobs_of(request: Request, envelope: Envelope, record: Incoming) -> list[Job]:
    """Return one job per URL of a request, with the URL as it may stand in a result."""
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
        url=clip(url),
        action=request.action,
        options=request.options,
        received_at=received_at(record),
        trace_id=envelope.trace_id,
        deadline=request.deadline or envelope.expires,
        priority=request.priority,
        attributes=request.attributes,
        retry_of=request.retry_of,
        batch=batch,
    )


class Salvage(msgspec.Struct, frozen=True, kw_only=True):
    """What can be told of a record that is no valid request."""

    request_id: str
    url: str = ""
    attributes: dict[str, str] = {}


def salvage(record: Incoming, envelope: Envelope | None) -> Salvage:
    """Return what can be told of a record; ``envelope`` None when that is broken already."""
    body = _fields(envelope.data if envelope else record.value)
    if envelope is None and (record.header("content-type") or "").lower().startswith(STRUCTURED):
        body = _mapping(body.get("data"))
    return Salvage(
        request_id=_converted(body.get("id"), RequestId) or record.position,
        url=clip(body.get("url")),
        attributes=_converted(body.get("attributes"), Attributes) or {},
    )


def _fields(data: bytes | None) -> Mapping[str, Any]:
    try:
        return _mapping(orjson.loads(data or b""))
    except orjson.JSONDecodeError:
        return {}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _converted(value: object, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
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


def field_of(job: Job) -> str:
    """Return the JSON path of a job's URL in its request."""
    return f"$.urls[{job.batch.index}]" if job.batch else "$.url"
