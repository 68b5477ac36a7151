"""Spans as data, and the recorder interface. A redelivered record has spans with equal ids."""

import time
from typing import Literal, NamedTuple, Protocol

import msgspec

from streams.tracing.context import TraceContext

SpanKind = Literal["internal", "producer", "consumer", "client"]

SpanAttributes = dict[str, str | int]

OFFSET = "messaging.kafka.offset"
"""Attribute of a record on Kafka; one that a chained stage processed unwritten has none."""


class Messaging(NamedTuple):
    """Attributes by https://opentelemetry.io/docs/specs/semconv/messaging/kafka/, without offset.

    They have few different values, so the encoder caches their bytes.

    Attributes:
        destination: Kafka name of the topic.
        group: consumer group, "" for a producer.
    """

    operation: Literal["send", "process"]
    destination: str
    partition: int
    group: str = ""


class SpanEvent(msgspec.Struct, frozen=True):
    """Event within a span; ``at`` is in epoch nanoseconds."""

    name: str
    at: int
    attributes: SpanAttributes


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Immutable span.

    Attributes:
        context: trace id, span id, flags and state.
        parent_id: parent in the same trace; "" for the first span of a trace.
        start: epoch nanoseconds; 0 for a producer span until its record is acknowledged.
        end: epoch nanoseconds.
        messaging: of a producer or consumer span.
        links: positions in other traces.
        error: clipmill error code, "" without an error.
    """

    name: str
    kind: SpanKind
    context: TraceContext
    parent_id: str
    start: int = 0
    end: int = 0
    messaging: Messaging | None = None
    attributes: SpanAttributes = {}
    links: tuple[TraceContext, ...] = ()
    events: tuple[SpanEvent, ...] = ()
    error: str = ""


class Recorder(Protocol):
    """Sink of spans; must neither raise nor block."""

    def samples(self, context: TraceContext) -> bool:
        """Return the sampling decision for a trace that starts here or at a client."""
        ...

    def record(self, span: Span) -> None:
        """Record an ended span."""
        ...


class Recording:
    """Holder of the process-wide recorder, None while tracing is disabled."""

    recorder: Recorder | None = None


def now() -> int:
    """Return epoch nanoseconds."""
    return time.time_ns()


def after_ack(span: Span, destination: str, partition: int, offset: int, start: int) -> Span:
    """Complete the producer span of an acknowledged record; a span with times stays unchanged.

    Args:
        span: span created with the record.
        destination: Kafka name of the topic.
        partition: acknowledged partition.
        offset: acknowledged offset.
        start: time of the publish call, epoch nanoseconds.
    """
    if span.start:
        return span
    return msgspec.structs.replace(
        span,
        name=f"send {destination}",
        start=start,
        end=now(),
        messaging=Messaging("send", destination, partition),
        attributes={OFFSET: offset},
    )


def handed_over(span: Span, destination: str, partition: int, at: int) -> Span:
    """Complete the producer span of a record that a chained stage processed unwritten, at a time.

    So the spans of that stage have the same parents as those of a published record.
    """
    return msgspec.structs.replace(
        span,
        name=f"send {destination}",
        start=at,
        end=at,
        messaging=Messaging("send", destination, partition),
    )
