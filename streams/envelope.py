"""CloudEvents 1.0 over Kafka: envelope and trace headers of a message.

Decodes three forms: bare JSON without headers, binary mode (``ce_*`` headers) and structured mode
(``content-type: application/cloudevents+json``). Encodes binary mode only. Source: CloudEvents
Kafka protocol binding 1.0, https://github.com/cloudevents/spec.
"""

import base64
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Annotated

import msgspec

from schemas.codec import MalformedMessageError, decode
from schemas.wording import EXAMPLE_MOMENT, format_value
from streams.records import Header, Incoming, Outgoing
from streams.topics import CLIENT_TOPICS, REQUESTS, RESULTS, Topic
from streams.tracing.context import (
    TraceContext,
    parse_context,
    parse_origin,
)
from streams.tracing.scope import REQUEST_TRACE, producer_span

STRUCTURED = "application/cloudevents+json"
JSON = "application/json"
TYPE_PREFIX = "io.clipmill."

REPLY_TOPIC = "kafka_replyTopic"
CORRELATION = "kafka_correlationId"
"""Request-reply headers, named as in Spring for Apache Kafka (`KafkaHeaders`)."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Decoded envelope of a message.

    Attributes:
        id: event id; the same for every duplicate of one event.
        type: CloudEvents type; "" for bare JSON of a client.
        correlation_id: request id, when already known.
        expires: deadline from the envelope.
        trace_id: W3C trace id of the request, 32 hex digits; a digest of the record id when the
            record carries none.
        data: body of the message.
    """

    id: str
    type: str
    correlation_id: str | None
    expires: datetime | None
    trace_id: str
    data: bytes


class _Structured(msgspec.Struct, frozen=True):
    specversion: str
    id: Annotated[str, msgspec.Meta(min_length=1)]
    source: str
    type: str
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None
    correlationid: str | None = None
    expirytime: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None


def open_envelope(record: Incoming) -> Envelope:
    """Decode the envelope of a record in any of the three forms.

    Raises:
        MalformedMessageError: the record is empty or its envelope is malformed.
    """
    if record.value is None:
        raise MalformedMessageError("$", "the record has no value")
    content_type = record.header("content-type") or JSON
    media_type = content_type.lower()
    if media_type.startswith(STRUCTURED):
        return _open_structured(record, record.value)
    if media_type.startswith("application/cloudevents"):
        raise MalformedMessageError(
            "header content-type", f"{content_type[:100]} is not supported, use {STRUCTURED}"
        )
    return _open_binary(record, record.value)


def _open_binary(record: Incoming, value: bytes) -> Envelope:
    _check_version(record.header("ce_specversion") or "1.0", "header ce_specversion")
    return Envelope(
        id=record.header("ce_id") or record.record_id,
        type=record.header("ce_type") or "",
        correlation_id=record.header("ce_correlationid"),
        expires=_moment(record.header("ce_expirytime"), "header ce_expirytime"),
        trace_id=trace_id_of(record),
        data=value,
    )


def _open_structured(record: Incoming, value: bytes) -> Envelope:
    event = decode(value, _Structured)
    _check_version(event.specversion, "$.specversion")
    return Envelope(
        id=event.id,
        type=event.type,
        correlation_id=event.correlationid,
        expires=_moment(event.expirytime, "$.expirytime"),
        trace_id=_origin(record, _event_context(event, record)).trace_id,
        data=_structured_data(event),
    )


def _structured_data(event: _Structured) -> bytes:
    if bytes(event.data):
        return bytes(event.data)
    try:
        return base64.b64decode(event.data_base64 or "", validate=True)
    except ValueError:
        raise MalformedMessageError("$.data_base64", "not base64") from None


def _check_version(version: str, field: str) -> None:
    if version != "1.0":
        raise MalformedMessageError(
            field, f"CloudEvents {version[:20]!r} is not supported, use 1.0"
        )


def _moment(text: str | None, field: str) -> datetime | None:
    if not text:
        return None
    try:
        moment: datetime | None = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        wanted = f"a time with its zone, such as {EXAMPLE_MOMENT}"
        raise MalformedMessageError(field, f"got {format_value(text)}; allowed: {wanted}")
    return moment


def trace_of(record: Incoming) -> tuple[TraceContext, TraceContext]:
    """Return the trace context of a record, and that of its request.

    The first has no span id when the record carries none. They differ after a long delay, and in a
    batch.
    """
    context = record.trace_context
    content_type = record.header("content-type") or JSON
    if content_type != JSON and content_type.lower().startswith(STRUCTURED):
        with suppress(MalformedMessageError):
            context = _event_context(decode(record.value or b"", _Structured), record)
    return context, _origin(record, context)


def trace_id_of(record: Incoming) -> str:
    """Return the trace id of a record whose envelope may be unreadable."""
    return _origin(record, record.trace_context).trace_id


def _event_context(event: _Structured, record: Incoming) -> TraceContext:
    found = parse_context(event.traceparent, event.tracestate) if event.traceparent else None
    return found or record.trace_context


def _origin(record: Incoming, context: TraceContext) -> TraceContext:
    """Return the client's trace context of a request; every record carries its flags and state."""
    known = parse_origin(record.header(REQUEST_TRACE))
    if known is None and record.topic in CLIENT_TOPICS:
        return context
    trace_id, span_id = known or (context.trace_id, "")
    return TraceContext(trace_id, span_id, context.flags, context.state)


def seal(
    topic: Topic,
    key: str | None,
    body: bytes,
    *,
    kind: str,
    step: str,
    event_id: str,
    request_id: str,
    trace_id: str,
    cause_id: str | None = None,
    expires: datetime | None = None,
    extra: tuple[Header, ...] = (),
    reply_to: str | None = None,
    own_trace: bool = True,
) -> Outgoing:
    """Encode a message as a record in binary mode.

    ``kind`` is the CloudEvents type without its prefix, such as ``video.extracted.v1``;
    ``event_id`` is deterministic (request, step and attempt, never random), so that duplicates
    have equal ids; ``cause_id`` is the id of the causing event; ``own_trace`` False keeps a record
    that is no step of the request itself in the trace of the record being processed.
    """
    trace, spans = producer_span(
        event_id,
        request_id,
        trace_id,
        own_trace=own_trace,
        to_client=topic is RESULTS,
        on_request_topic=topic is REQUESTS,
    )
    headers = [
        *_constant_headers(step, kind),
        ("ce_id", event_id.encode()),
        ("ce_time", datetime.now(UTC).isoformat().encode()),
        ("ce_correlationid", request_id.encode()),
        *trace,
    ]
    if cause_id:
        headers.append(("ce_causationid", cause_id.encode()))
    if expires:
        headers.append(("ce_expirytime", expires.isoformat().encode()))
    key_bytes = None if key is None else key.encode()
    return Outgoing(topic, key_bytes, body, (*headers, *extra), reply_to, spans)


_TRACE_HEADERS = frozenset({"traceparent", "tracestate", REQUEST_TRACE})


def forward(record: Incoming, topic: Topic, without: Collection[str] = ()) -> Outgoing:
    """Copy a record of ours to another topic, without some headers and with new trace headers."""
    dropped = {*without, *_TRACE_HEADERS}
    trace, spans = producer_span(
        f"{record.header('ce_id') or record.record_id}:{topic.name}",
        record.header("ce_correlationid") or "",
        trace_id_of(record),
        on_request_topic=topic is REQUESTS,
    )
    headers = (*(each for each in record.headers if each[0] not in dropped), *trace)
    return Outgoing(topic, record.key, record.value, headers, spans=spans)


@cache
def _constant_headers(step: str, kind: str) -> tuple[Header, ...]:
    """Return the headers common to all messages of one kind from one step."""
    return (
        ("ce_specversion", b"1.0"),
        ("ce_source", f"/clipmill/{step}".encode()),
        ("ce_type", f"{TYPE_PREFIX}{kind}".encode()),
        ("content-type", JSON.encode()),
    )
