"""The consumer span of a record (OpenTelemetry ``process``), recorded when its work ends."""

from streams.deadletters.headers import REPLAY_OF
from streams.envelope import trace_of
from streams.records import Incoming
from streams.runtime.chaining import UNWRITTEN
from streams.topics import CLIENT_TOPICS
from streams.tracing.context import TraceContext, parse_origin
from streams.tracing.scope import REQUEST_TRACE, Scope, open_scope
from streams.tracing.spans import OFFSET, Messaging, Span, SpanAttributes, now


def begin(record: Incoming, step: str, due: float | None) -> Scope:
    """Open the scope of a record, and set it as that of the current task.

    Args:
        record: the consumed record.
        step: the stage that processes it.
        due: epoch second until which it was delayed.
    """
    incoming, origin = trace_of(record)
    is_of_client = record.topic in CLIENT_TOPICS
    return open_scope(
        incoming,
        origin,
        record_id=lambda: record.record_id,
        step=step,
        request_id=record.header("ce_correlationid") or "",
        from_client=is_of_client and parse_origin(record.header(REQUEST_TRACE)) is None,
        waited_seconds=0.0 if due is None else due - record.timestamp,
        replayed=record.header(REPLAY_OF) is not None,
    )


def end(scope: Scope, record: Incoming, topic: str, group: str, started: int) -> None:
    """Record the span of a record's processing, with this moment as its end.

    Args:
        scope: result of `begin`.
        record: the consumed record.
        topic: its topic's name on Kafka.
        group: the consumer group.
        started: epoch nanoseconds.
    """
    if scope.recorder is None:
        return
    attributes: SpanAttributes = {} if record.offset == UNWRITTEN else {OFFSET: record.offset}
    if scope.request_id:
        attributes["clipmill.request_id"] = scope.request_id
    scope.recorder.record(
        Span(
            name=f"process {topic}",
            kind="consumer",
            context=scope.position(scope.span_id, scope.trace_id),
            parent_id=scope.parent_id,
            start=started,
            end=now(),
            messaging=Messaging("process", topic, record.partition, group),
            attributes=attributes,
            links=_links(scope.link),
            events=scope.events,
            error=scope.error,
        )
    )


def _links(link: TraceContext | None) -> tuple[TraceContext, ...]:
    return () if link is None else (link,)
