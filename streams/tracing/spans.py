"""Spans as data, and where they go. A copy of a record makes spans of the same ids."""

import time
from typing import Literal, Protocol

import msgspec

from streams.tracing.context import TraceContext

Kind = Literal["internal", "producer", "consumer", "client"]

Attributes = dict[str, str | int]


class SpanEvent(msgspec.Struct, frozen=True):
    """Something that happened within a span; ``at`` is in epoch nanoseconds."""

    name: str
    at: int
    attributes: Attributes


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A span.

    Attributes:
        context: its trace, its own id, flags and state.
        parent_id: of the same trace; "" for the first of a trace.
        start: epoch nanoseconds; 0 until a record is published that it is about.
        end: epoch nanoseconds.
        links: positions in other traces.
        error: our error code, "" when all went well.
    """

    name: str
    kind: Kind
    context: TraceContext
    parent_id: str
    start: int = 0
    end: int = 0
    attributes: Attributes = {}
    links: tuple[TraceContext, ...] = ()
    events: tuple[SpanEvent, ...] = ()
    error: str = ""


class Recorder(Protocol):
    """Takes spans; must neither raise nor wait."""

    def samples(self, context: TraceContext) -> bool:
        """Decide about a trace that begins here, or was begun by a client."""
        ...

    def record(self, span: Span) -> None:
        """Take a span that has ended."""
        ...


class Recording:
    """The recorder of this process, None while tracing is off."""

    recorder: Recorder | None = None


def now() -> int:
    """Return epoch nanoseconds."""
    return time.time_ns()


def sent(span: Span, destination: str, partition: int, offset: int, start: int) -> Span:
    """Return a span of a record that was just acknowledged; one that has its times stays as it is.

    Args:
        span: as it was made with the record.
        destination: name of the topic on Kafka.
        partition: where it is now.
        offset: where it is now.
        start: when it was handed to the producer.
    """
    if span.start:
        return span
    return msgspec.structs.replace(
        span,
        name=f"send {destination}",
        start=start,
        end=now(),
        attributes=messaging("send", destination, partition, offset),
    )


def messaging(
    operation: Literal["send", "process"], destination: str, partition: int, offset: int
) -> Attributes:
    """Return the attributes of an operation on a record.

    Names: https://opentelemetry.io/docs/specs/semconv/messaging/kafka/
    """
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": destination,
        "messaging.destination.partition.id": str(partition),
        "messaging.kafka.offset": offset,
    }
