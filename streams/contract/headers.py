"""The record headers of the contract, as JSON Schema objects for the AsyncAPI document."""

from typing import Any

from streams.envelope import CORRELATION, JSON, REPLY_TOPIC, STRUCTURED
from streams.tracing.scope import REQUEST_TRACE

_TIME = {"type": "string", "format": "date-time"}

CLOUD_EVENT: dict[str, dict[str, Any]] = {
    "ce_specversion": {"type": "string", "const": "1.0", "description": "Version of CloudEvents."},
    "ce_id": {"type": "string", "description": "The same for every copy of one event."},
    "ce_source": {
        "type": "string",
        "description": "Who wrote it: `/clipmill/<stage>`.",
        "examples": ["/clipmill/extraction"],
    },
    "ce_type": {"type": "string", "description": "What it is: `io.clipmill.<kind>`."},
    "ce_time": _TIME | {"description": "When it was written."},
    "content-type": {"type": "string", "description": "Form of the record's value."},
    "ce_correlationid": {"type": "string", "description": "Id of the request."},
    "traceparent": {"type": "string", "description": "W3C trace context."},
    "tracestate": {
        "type": "string",
        "description": "W3C trace state, as the client sent it; 512 characters at most.",
    },
    "ce_causationid": {"type": "string", "description": "Id of the event that led to this one."},
    "ce_expirytime": _TIME | {"description": "Deadline of the request."},
}
"""Headers of CloudEvents 1.0 in binary mode, its extensions and W3C Trace Context."""

OPTIONAL = ("ce_causationid", "ce_expirytime", "tracestate")

PRIORITY: dict[str, dict[str, Any]] = {
    "clipmill_priority": {
        "type": "string",
        "description": "Priority of the request, 0 to 9: what stages serve first.",
    },
}

TRACE: dict[str, dict[str, Any]] = {
    REQUEST_TRACE: {
        "type": "string",
        "description": (
            "Trace id of the request and span id of its client, `<32 hex>-<16 hex>`, when"
            " `traceparent` does not tell: in a batch, and after a long delay."
        ),
    },
}

WAITING: dict[str, dict[str, Any]] = {
    "clipmill_due": {
        "type": "string",
        "description": "On delay topics: when the event goes on, epoch seconds.",
    },
    "clipmill_target": {
        "type": "string",
        "description": "On delay topics: logical name of the topic that it goes to.",
    },
}

_CORRELATION = {
    CORRELATION: {
        "type": "string",
        "description": "Bytes of the client, at most 1,024; on each result as they were sent.",
    }
}
REPLY: dict[str, dict[str, Any]] = {
    REPLY_TOPIC: {
        "type": "string",
        "description": "Topic that gets the results, when the body has no `reply_to`.",
    }
} | _CORRELATION
"""Headers of a request, as Spring for Apache Kafka writes them."""

CORRELATED: dict[str, Any] = {
    "name": "correlation id",
    "summary": "What a client wants back with its results.",
    "headers": {"type": "object", "properties": _CORRELATION},
}
"""Message trait of results."""

ORIGIN: dict[str, dict[str, Any]] = {
    "clipmill_origin_topic": {"type": "string", "description": "Logical name of its topic."},
    "clipmill_origin_partition": {"type": "string", "description": "Partition it was read from."},
    "clipmill_origin_offset": {"type": "string", "description": "Offset it was read at."},
    "clipmill_origin_timestamp": {"type": "string", "description": "Epoch seconds, its time."},
    "clipmill_step": {"type": "string", "description": "Stage that could not handle it."},
    "clipmill_code": {"type": "string", "description": "Error code of the last attempt."},
    "clipmill_reason": {"type": "string", "description": "Why not, without secrets."},
    "clipmill_attempts": {"type": "string", "description": "How often it was tried."},
    "clipmill_platform": {"type": "string", "description": "Platform, empty if none was reached."},
    "clipmill_request_id": {
        "type": "string",
        "description": "Id of the request, empty if unknown.",
    },
    "clipmill_engine": {"type": "string", "description": "Version of yt-dlp that read the page."},
    "clipmill_version": {"type": "string", "description": "Version of clipmill."},
    "clipmill_replays": {"type": "string", "description": "How often it had been put back."},
    "kafka_dlt-original-topic": {"type": "string", "description": "Name of its topic on Kafka."},
    "clipmill_failed_at": _TIME | {"description": "When the last attempt failed."},
}
"""Behind the record's own headers, in the order of `streams.deadletters.headers.NAMES`."""

SEALED: dict[str, Any] = {
    "name": "CloudEvents 1.0, binary mode",
    "summary": "Headers of every record that clipmill writes.",
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
"""Message trait of what clipmill writes."""

BARE: dict[str, Any] = {
    "name": "CloudEvents 1.0, optional",
    "summary": (
        "Plain JSON without headers is enough; binary and structured mode are understood as well."
    ),
    "headers": {
        "type": "object",
        "properties": CLOUD_EVENT
        | REPLY
        | {"content-type": {"type": "string", "enum": [JSON, STRUCTURED]}},
    },
}
"""Message trait of what clients write."""

DEAD_LETTER: dict[str, Any] = {
    "type": "object",
    "description": "Its own headers as they were, and where it came from.",
    "properties": ORIGIN,
    "required": [name for name in ORIGIN if name.startswith("clipmill_")],
}
"""Headers of a dead letter."""
