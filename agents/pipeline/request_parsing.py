"""Parses request records into jobs, one per URL. Pure; rejections name the field and the reason.

A request names its reply topic in the body (``reply_to``) or, as Spring for Apache Kafka does, in a
header; the body takes precedence. Validation rejects topics that are not configured, so that the
client gets a reason; `streams.runtime.processor` checks once more before it publishes.
"""

import base64
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import msgspec
import orjson

from schemas.codec import MalformedMessageError, decode, encode
from schemas.diagnosis import ViolationError, conform
from schemas.errors import ClipmillError, ErrorCode
from schemas.job import BatchMember, Job
from schemas.json_text import readable_members, replace_surrogates, without_bom
from schemas.request import (
    CORRELATION_BYTES_MAX,
    MAX_URL_CHARACTERS,
    Attributes,
    Reply,
    ReplyTopic,
    Request,
    RequestId,
)
from streams.envelope import CORRELATION, REPLY_TOPIC, STRUCTURED, Envelope
from streams.records import Incoming
from streams.topics import REQUEST_BYTES_MAX

MAX_CAUSE_CHARACTERS = 256
"""Longest event id of a client: every record of the request carries it."""

COPIED_BYTES_MAX = 8 * 2**20
"""Bytes of attributes over all members of a batch or listing: each member copies them into each of
its records."""

MAX_REASON_CHARACTERS = 300
"""Longest reason of a rejection: decoder messages may quote a name or value of any length."""

NAMES_SHOWN = 20
"""Configured reply topics that a rejection lists at most."""

_LOGIN = re.compile(r"(?<=//)[^/?#]*@")


def cause_of(envelope: Envelope, record: Incoming) -> str:
    """Return the causation id of a request: its event id, or the record id if that is too long."""
    return envelope.id if len(envelope.id) <= MAX_CAUSE_CHARACTERS else record.record_id


def read_request(envelope: Envelope) -> Request:
    """Decode the request in an envelope.

    Raises:
        ClipmillError: ``request.invalid`` or ``request.too_large``, with ``field``.
    """
    check_size(envelope)
    try:
        request = decode(envelope.data, Request)
    except MalformedMessageError as error:
        if envelope.data.lstrip().startswith(b"http"):
            reason = f'{error.reason}; a URL alone is not a request: send {{"url": "https://…"}}'
            error = MalformedMessageError(error.field, reason)
        raise rejection(error) from None
    if (request.url is None) == (request.urls is None):
        reason = "give exactly one of `url` and `urls`"
        raise rejection(MalformedMessageError("$.url", reason))
    if request.urls:
        check_copies(request.attributes, len(request.urls))
    return request


def check_copies(attributes: Attributes, members: int) -> None:
    """Reject attributes whose copies in all members would be too large together.

    Raises:
        ClipmillError: ``request.too_large``.
    """
    size = members * len(encode(attributes))
    if size > COPIED_BYTES_MAX:
        reason = (
            f"attributes in {members} members are {size} bytes together; the maximum is"
            f" {COPIED_BYTES_MAX}: shorten them, or split the request"
        )
        raise ClipmillError(
            ErrorCode.REQUEST_TOO_LARGE, reason, field="$.attributes", reason=reason
        )


def check_size(envelope: Envelope) -> None:
    """Reject an event larger than `REQUEST_BYTES_MAX`.

    Raises:
        ClipmillError: ``request.too_large``.
    """
    size = len(envelope.data)
    if size > REQUEST_BYTES_MAX:
        reason = f"{size} bytes; the maximum is {REQUEST_BYTES_MAX}: split the batch"
        raise ClipmillError(ErrorCode.REQUEST_TOO_LARGE, reason, field="$")


def rejection(error: MalformedMessageError) -> ClipmillError:
    """Convert a decoding error to ``request.invalid``; quoted input is bounded."""
    field, reason = (text[:MAX_REASON_CHARACTERS] for text in (error.field, error.reason))
    return ClipmillError(ErrorCode.REQUEST_INVALID, reason, field=field)


def jobs_of(request: Request, envelope: Envelope, record: Incoming) -> list[Job]:
    """Return one job per URL of a request, with the URL clipped for use in a result."""
    request_id = request.id or record.record_id
    reply = reply_of(record, request.reply_to)
    members: list[tuple[str, Any, BatchMember | None]] = [(request_id, request.url, None)]
    if request.urls is not None:
        size = len(request.urls)
        members = [
            (f"{request_id}/{index}", url, BatchMember(id=request_id, index=index, size=size))
            for index, url in enumerate(request.urls)
        ]
    return [
        Job(
            request_id=job_id,
            url=clip(url),
            action=request.action,
            options=request.options,
            received_at=record.received_at(),
            trace_id=envelope.trace_id,
            deadline=request.deadline or envelope.expires,
            priority=request.priority,
            attributes=request.attributes,
            retry_of=request.retry_of,
            batch=batch,
            reply=reply,
        )
        for job_id, url, batch in members
    ]


def reply_of(record: Incoming, reply_to: str | None = None) -> Reply | None:
    """Return the reply routing of a request record; ``reply_to`` comes from its body.

    Raises:
        ClipmillError: ``request.invalid``: the correlation id is too large.
    """
    correlation_id = record.header_bytes(CORRELATION)
    if correlation_id is not None and len(correlation_id) > CORRELATION_BYTES_MAX:
        reason = f"{len(correlation_id)} bytes; the maximum is {CORRELATION_BYTES_MAX}"
        raise ClipmillError(ErrorCode.REQUEST_INVALID, reason, field=f"header {CORRELATION}")
    topic = reply_to or _named_in_header(record)
    if topic is None and correlation_id is None:
        return None
    return Reply(topic=topic, correlation_id=correlation_id)


def check_reply(reply: Reply | None, topics: Collection[str], record: Incoming) -> None:
    """Reject a reply topic that is not configured.

    Raises:
        ClipmillError: ``request.invalid``, with ``field``.
    """
    if reply is None or reply.topic is None or reply.topic in topics:
        return
    in_header = reply.topic == _named_in_header(record)
    known = ", ".join(sorted(topics)[:NAMES_SHOWN])
    rest = f"is not one of {known}" if known else "cannot be named: no reply topic is configured"
    raise ClipmillError(
        ErrorCode.REQUEST_INVALID,
        f"{reply.topic[:100]!r} {rest}; the operator lists them in kafka.reply_topics",
        field=f"header {REPLY_TOPIC}" if in_header else "$.reply_to",
    )


def _named_in_header(record: Incoming) -> str | None:
    value = record.header_bytes(REPLY_TOPIC)
    return value.decode(errors="replace") if value else None


class RecoveredIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """The readable parts of a record that is no valid request.

    Attributes:
        request_id: the client's if readable, else the record's.
        envelope_ids: ids on the envelope, by which a client may recognize its record. They do not
            identify the request: requests may share a correlation id, and sources an event id.
    """

    request_id: str
    url: str = ""
    attributes: dict[str, str] = {}
    envelope_ids: dict[str, str] = {}
    reply: Reply | None = None


def recover_identity(record: Incoming, envelope: Envelope | None) -> RecoveredIdentity:
    """Return the readable parts of an invalid record; ``envelope`` is None if it is malformed."""
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
    return RecoveredIdentity(
        request_id=_conformed(body.get("id"), RequestId) or record.record_id,
        url=clip(body.get("url")),
        attributes=_attributes(body.get("attributes")),
        envelope_ids={
            name: replace_surrogates(value)[:MAX_CAUSE_CHARACTERS]
            for name, value in ids.items()
            if isinstance(value, str) and value
        },
        reply=recover_reply(record, _conformed(body.get("reply_to"), ReplyTopic)),
    )


def recover_reply(record: Incoming, reply_to: str | None = None) -> Reply | None:
    """Return the reply routing of a rejected record, without the parts that are invalid."""
    topic = reply_to or _named_in_header(record)
    try:
        topic = msgspec.convert(topic, ReplyTopic | None)
    except msgspec.ValidationError:
        topic = None
    correlation_id = record.header_bytes(CORRELATION)
    if correlation_id is not None and len(correlation_id) > CORRELATION_BYTES_MAX:
        correlation_id = None
    return Reply(topic=topic, correlation_id=correlation_id) if topic or correlation_id else None


def _data_of(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the readable members of the request in a malformed structured event."""
    data, packed = event.get("data"), event.get("data_base64")
    if isinstance(packed, str):
        with suppress(ValueError):
            return readable_members(base64.b64decode(packed))
    if isinstance(data, str):
        return readable_members(data.encode(errors="replace"))
    return data if isinstance(data, dict) else {}


def _attributes(value: object) -> dict[str, str]:
    if isinstance(value, dict):
        value = {replace_surrogates(str(name)): _whole(each) for name, each in value.items()}
    return _conformed(value, Attributes) or {}


def _whole(value: object) -> object:
    return replace_surrogates(value) if isinstance(value, str) else value


def _conformed(value: object, kind: Any) -> Any:
    try:
        return conform(value, kind)
    except (ViolationError, RecursionError):
        return None


def clip(text: object) -> str:
    """Return a URL for use in a result: bounded, without a login; "" for other types."""
    if not isinstance(text, str):
        return ""
    return _LOGIN.sub("***@", replace_surrogates(text[:MAX_URL_CHARACTERS]))


def is_json(data: bytes | None) -> bool:
    try:
        orjson.loads(without_bom(data or b""))
    except orjson.JSONDecodeError:
        return False
    return True


def field_of(job: Job) -> str:
    """Return the JSON path of a job's URL in its request."""
    return f"$.urls[{job.batch.index}]" if job.batch else "$.url"
