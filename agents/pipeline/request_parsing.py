"""From the bytes of a record to jobs: one per URL. Pure; refusals name the field and the reason."""

import base64
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
import orjson

from agents.pipeline.ownership import received_at
from agents.pipeline.reply_routing import reply_of
from schemas.codec import MalformedMessageError, decode, encode
from schemas.diagnosis import ViolationError, conform
from schemas.errors import ClipmillError, ErrorCode
from schemas.job import BatchMember, Job
from schemas.json_text import readable_members, whole, without_mark
from schemas.request import MAX_URL_CHARACTERS, Attributes, Reply, ReplyTopic, Request, RequestId
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
    """Return the id of the event that a request is, the record's own id when that is too long."""
    return envelope.id if len(envelope.id) <= MAX_CAUSE_CHARACTERS else record.record_id


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
    request_id = request.id or record.record_id
    reply = reply_of(record, request.reply_to)
    if request.urls is None:
        return [_job(request, envelope, record, reply, request_id=request_id, url=request.url)]
    size = len(request.urls)
    return [
        _job(
            request,
            envelope,
            record,
            reply,
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
    reply: Reply | None,
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
        reply=reply,
    )


class Salvage(msgspec.Struct, frozen=True, kw_only=True):
    """What can be read of a record that is no valid request.

    Attributes:
        request_id: the client's when it can be read, else that of the record.
        envelope_ids: ids on the envelope, by which a client may know its record. They do not name
            the request: several requests may share a correlation id, and sources an event id.
    """

    request_id: str
    url: str = ""
    attributes: dict[str, str] = {}
    envelope_ids: dict[str, str] = {}
    reply_to: str | None = None


def recover_identity(record: Incoming, envelope: Envelope | None) -> Salvage:
    """Return what can be read of a record; ``envelope`` None when that is broken already."""
    data = envelope.data if envelope else record.value
    body: Mapping[str, Any] = readable_members(data or b"")
    ids: Mapping[str, Any] = {
        "event_id": record.header("ce_id"),
        "correlation_id": record.header("ce_correlationid"),
    }
    if (record.header("content-type") or "").lower().startswith(STRUCTURED):
        event = readable_members(record.value or b"")
        ids = {"event_id": event.get("id"), "correlation_id": event.get("correlationid")}
        body = body if envelope else _data_of(event)
    return Salvage(
        request_id=_conformed(body.get("id"), RequestId) or record.record_id,
        url=clip(body.get("url")),
        attributes=_attributes(body.get("attributes")),
        envelope_ids={
            name: whole(value)[:MAX_CAUSE_CHARACTERS]
            for name, value in ids.items()
            if isinstance(value, str) and value
        },
        reply_to=_conformed(body.get("reply_to"), ReplyTopic),
    )


def _data_of(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the readable members of the request in a structured event that is broken."""
    data, packed = event.get("data"), event.get("data_base64")
    if isinstance(packed, str):
        with suppress(ValueError):
            return readable_members(base64.b64decode(packed))
    if isinstance(data, str):
        return readable_members(data.encode(errors="replace"))
    return data if isinstance(data, dict) else {}


def _attributes(value: object) -> dict[str, str]:
    if isinstance(value, dict):
        value = {whole(str(name)): _whole(each) for name, each in value.items()}
    return _conformed(value, Attributes) or {}


def _whole(value: object) -> object:
    return whole(value) if isinstance(value, str) else value


def _conformed(value: object, kind: Any) -> Any:
    try:
        return conform(value, kind)
    except (ViolationError, RecursionError):
        return None


def clip(text: object) -> str:
    """Return a URL as it may stand in a result: a text, not longer than a URL may be."""
    return whole(text[:MAX_URL_CHARACTERS]) if isinstance(text, str) else ""


def is_json(data: bytes | None) -> bool:
    """Return whether a body can be read at all."""
    try:
        orjson.loads(without_mark(data or b""))
    except orjson.JSONDecodeError:
        return False
    return True


def field_of(job: Job) -> str:
    """Return the JSON path of a job's URL in its request."""
    return f"$.urls[{job.batch.index}]" if job.batch else "$.url"
