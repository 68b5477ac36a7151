"""Record headers of the contract, as JSON Schema objects for the AsyncAPI document."""

from typing import Any

from streams.envelope import CORRELATION, JSON, REPLY_TOPIC, STRUCTURED
from streams.tracing.scope import REQUEST_TRACE

_TIME = {"type": "string", "format": "date-time"}

CLOUD_EVENT: dict[str, dict[str, Any]] = {
    "ce_specversion": {"type": "string", "const": "1.0", "description": "Version of CloudEvents."},
    "ce_id": {"type": "string", "description": "The same for every copy of one event."},
    "ce_source": {
        "type": "string",
        "description": "Producer: `/clipmill/<stage>`.",
        "examples": ["/clipmill/extraction"],
    },
    "ce_type": {"type": "string", "description": "Event type: `io.clipmill.<kind>`."},
    "ce_time": _TIME | {"description": "Time of production."},
    "content-type": {"type": "string", "description": "Media type of the record value."},
    "ce_correlationid": {"type": "string", "description": "Id of the request."},
    "traceparent": {"type": "string", "description": "W3C trace context."},
    "tracestate": {
        "type": "string",
        "description": "W3C trace state, as the client sent it; 512 characters at most.",
    },
    "ce_causationid": {"type": "string", "description": "Id of the event that led to this one."},
    "ce_expirytime": _TIME | {"description": "Deadline of the request."},
}
"""CloudEvents 1.0 headers in binary mode, extensions, and W3C Trace Context."""

OPTIONAL = ("ce_causationid", "ce_expirytime", "tracestate")

PRIORITY: dict[str, dict[str, Any]] = {
    "clipmill_priority": {
        "type": "string",
        "description": "Priority of the request, 0 to 9; higher is processed first.",
    },
}

TRACE: dict[str, dict[str, Any]] = {
    REQUEST_TRACE: {
        "type": "string",
        "description": (
            "Trace id of the request and span id of its client, `<32 hex>-<16 hex>`, when"
            " `traceparent` differs: in a batch, and after a long delay."
        ),
    },
}

WAITING: dict[str, dict[str, Any]] = {
    "clipmill_due": {
        "type": "string",
        "description": "On delay topics: due time of the event, epoch seconds.",
    },
    "clipmill_target": {
        "type": "string",
        "description": "On delay topics: logical name of its target topic.",
    },
}

_CORRELATION = {
    CORRELATION: {
        "type": "string",
        "description": "Opaque bytes of the client, at most 1,024; copied to each result.",
    }
}
REPLY: dict[str, dict[str, Any]] = {
    REPLY_TOPIC: {
        "type": "string",
        "description": "Topic for the results, when the body has no `reply_to`.",
    }
} | _CORRELATION
"""Request-reply headers of Spring for Apache Kafka."""

CORRELATION_TRAIT: dict[str, Any] = {
    "name": "correlation id",
    "summary": "Header of a request that is copied to its results.",
    "headers": {"type": "object", "properties": _CORRELATION},
}
"""Message trait of results."""

ORIGIN: dict[str, dict[str, Any]] = {
    "clipmill_origin_topic": {"type": "string", "description": "Logical name of its topic."},
    "clipmill_origin_partition": {"type": "string", "description": "Partition it was read from."},
    "clipmill_origin_offset": {"type": "string", "description": "Offset it was read at."},
    "clipmill_origin_timestamp": {"type": "string", "description": "Epoch seconds, its time."},
    "clipmill_step": {"type": "string", "description": "Stage that failed."},
    "clipmill_code": {"type": "string", "description": "Error code of the last attempt."},
    "clipmill_reason": {"type": "string", "description": "Error text, without secrets."},
    "clipmill_attempts": {"type": "string", "description": "Number of attempts."},
    "clipmill_platform": {"type": "string", "description": "Platform, empty if none was reached."},
    "clipmill_request_id": {
        "type": "string",
        "description": "Id of the request, empty if unknown.",
    },
    "clipmill_engine": {"type": "string", "description": "Version of yt-dlp that read the page."},
    "clipmill_version": {"type": "string", "description": "Version of clipmill."},
    "clipmill_replays": {"type": "string", "description": "Number of earlier replays."},
    "kafka_dlt-original-topic": {"type": "string", "description": "Kafka name of its topic."},
    "clipmill_failed_at": _TIME | {"description": "Time of the last failure."},
}
"""Appended to the original headers, in the order of `streams.deadletters.headers.NAMES`."""

CLOUD_EVENT_TRAIT: dict[str, Any] = {
    "name": "CloudEvents 1.0, binary mode",
    "summary": "Headers of every record that clipmill produces.",
    "headers": {
        "type": "object",
        "properties": CLOUD_EVENT
        | {"content-type": {"type": "string", "const": JSON}}
        | PRIORITY
        | TRACE
        | WAITING,
        "required": [name for name in CLOUD_EVENT if name not in OPTIONAL],
    },
}
"""Message trait of records produced by clipmill."""

OPTIONAL_CLOUD_EVENT_TRAIT: dict[str, Any] = {
    "name": "CloudEvents 1.0, optional",
    "summary": (
        "Plain JSON without headers is enough; binary and structured mode are supported as well."
    ),
    "headers": {
        "type": "object",
        "properties": CLOUD_EVENT
        | REPLY
        | {"content-type": {"type": "string", "enum": [JSON, STRUCTURED]}},
    },
}
"""Message trait of records produced by clients."""

DEAD_LETTER_HEADERS: dict[str, Any] = {
    "type": "object",
    "description": "Original headers, and its origin and failure.",
    "properties": ORIGIN,
    "required": [name for name in ORIGIN if name.startswith("clipmill_")],
}
"""Header schema of dead letters."""
