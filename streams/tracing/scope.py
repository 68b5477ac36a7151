"""Trace scope of the record in process: parent of its spans, and context of produced records.

A request has one trace, from the client's context to its result, with a root span of deterministic
id (`request_root`). Batch members, replays, and records after a long delay start new traces with a
link to the previous one. So the trace id of the request, which results and logs carry, is
propagated beside the position in the current trace.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime

import msgspec

from streams.tracing.context import (
    NO_SPAN,
    SAMPLED,
    TraceContext,
    parent_request,
    request_root,
    request_trace,
    span_digest,
    trace_digest,
)
from streams.tracing.spans import Recorder, Recording, Span, SpanAttributes, SpanEvent, now

REQUEST_TRACE = "clipmill_trace"
"""Header: trace id of the request and span id of its client, if ``traceparent`` differs."""

LONG_WAIT_SECONDS = 30.0
"""Delay beyond which a record starts a new trace: collectors make their tail-sampling decision, and
write a trace, after about this long without spans."""

Headers = tuple[tuple[str, bytes], ...]


class Scope(msgspec.Struct):
    """Tracing state of one record in process.

    Attributes:
        origin: context of its request: trace id as in results, client span id, flags and state.
        trace_id: current trace, in which the record is processed.
        span_id: processing span, "" when not recorded.
        parent_id: parent of that span.
        request_id: request of the record, "" while unknown.
        awaits_request: the first produced record determines the request id.
        link: predecessor of a new trace.
        recorder: recorder of its spans; None when not sampled.
        events: recorded failures.
        error: code of the latest failure.
        attempts: number of network attempts so far.
    """

    origin: TraceContext
    trace_id: str
    span_id: str = ""
    parent_id: str = ""
    request_id: str = ""
    awaits_request: bool = False
    link: TraceContext | None = None
    recorder: Recorder | None = None
    events: tuple[SpanEvent, ...] = ()
    error: str = ""
    attempts: int = 0

    @property
    def current(self) -> TraceContext:
        """Position of the processing span."""
        return TraceContext(self.trace_id, self.span_id)

    def position(self, span_id: str, trace_id: str) -> TraceContext:
        """Return a position with the flags and state of the request."""
        return TraceContext(trace_id, span_id, self.origin.flags, self.origin.state)


SCOPE: ContextVar[Scope | None] = ContextVar("trace_scope", default=None)


def open_scope(
    incoming: TraceContext,
    origin: TraceContext,
    *,
    record_id: Callable[[], str],
    step: str,
    request_id: str,
    from_client: bool,
    waited_seconds: float = 0.0,
    replayed: bool = False,
) -> Scope:
    """Open the scope of a record, and set it for the current task.

    Args:
        incoming: context of the record; without ``span_id`` when it carries none.
        origin: context of its request.
        record_id: returns an id that is the same on every redelivery.
        step: the processing stage.
        request_id: request id from its headers, "" without one.
        from_client: whether a client produced the record.
        waited_seconds: delay of the record.
        replayed: whether it is a replayed dead letter.
    """
    recorder = Recording.recorder
    if recorder is not None and from_client:
        is_sampled = recorder.samples(incoming)
        flags = (origin.flags & ~SAMPLED) | (SAMPLED if is_sampled else 0)
        origin = TraceContext(origin.trace_id, origin.span_id, flags, origin.state)
    scope = Scope(origin, incoming.trace_id, parent_id=incoming.span_id, request_id=request_id)
    if replayed or waited_seconds > LONG_WAIT_SECONDS:
        scope.trace_id = trace_digest(f"{incoming.trace_id}:{record_id()}")
        scope.parent_id, scope.link = "", incoming if incoming.span_id else None
    elif from_client:
        scope.awaits_request, scope.request_id = True, ""
    if recorder is not None and origin.sampled:
        scope.recorder = recorder
        scope.span_id = span_digest(f"{record_id()}:{step}")
    SCOPE.set(scope)
    return scope


@contextmanager
def request_scope(origin: TraceContext) -> Iterator[None]:
    """Attribute records produced in the block to another request than that of the current record.

    For requests in a stage's table: their outcome on cancellation or expiry.
    """
    outer = SCOPE.get()
    scope = Scope(origin, "", recorder=Recording.recorder if origin.sampled else None)
    scope.link = outer.current if outer is not None and outer.span_id else None
    token = SCOPE.set(scope)
    try:
        yield
    finally:
        SCOPE.reset(token)


def origin_of(trace_id: str) -> TraceContext | None:
    """Return the request context of the current record, None when its trace id differs."""
    scope = SCOPE.get()
    return scope.origin if scope is not None and scope.origin.trace_id == trace_id else None


def producer_span(
    event_id: str,
    request_id: str,
    trace_id: str,
    *,
    own_trace: bool = False,
    to_client: bool = False,
    on_request_topic: bool = False,
) -> tuple[Headers, tuple[Span, ...]]:
    """Return the trace headers of a produced record, and its span if sampled.

    Args:
        event_id: the same for every duplicate.
        request_id: request of the record.
        trace_id: trace id of that request, as in its result.
        own_trace: continue in the trace of that request, whatever the current record's request is.
        to_client: stay in the trace of the client.
        on_request_topic: the target topic is one of clients; the record must not pass for a
            client's.
    """
    scope, span_id = SCOPE.get(), span_digest(event_id)
    if scope is None or scope.origin.trace_id != trace_id:
        # The flags are unknown, so the sampled flag stays unset.
        return (("traceparent", f"00-{trace_id}-{span_id}-00".encode()),), ()
    if scope.awaits_request and own_trace:
        _set_request(scope, request_id)
    root_id = request_id.partition("/")[0] if to_client else request_id
    is_own = not own_trace or request_id == scope.request_id
    in_scope = scope.trace_id and is_own and not to_client
    parent_trace = scope.trace_id if in_scope else request_trace(trace_id, root_id)
    headers = _headers(scope.origin, parent_trace, span_id, complete=on_request_topic)
    if scope.recorder is None:
        return headers, ()
    is_current = parent_trace == scope.trace_id
    parent = scope.current if is_current else request_root(trace_id, root_id)
    is_child = parent.span_id == scope.span_id
    above = scope.current if scope.trace_id else scope.link
    span = Span(
        name="send",
        kind="producer",
        context=scope.position(span_id, parent.trace_id),
        parent_id=parent.span_id,
        links=() if is_child or above is None else (above,),
    )
    return headers, (span,)


def _set_request(scope: Scope, request_id: str) -> None:
    """Make the root span of the request the parent of a client record's processing span."""
    base = request_id.partition("/")[0]
    scope.awaits_request, scope.request_id = False, base
    if scope.recorder is not None:
        scope.parent_id = request_root(scope.origin.trace_id, base).span_id


def _headers(origin: TraceContext, trace_id: str, span_id: str, *, complete: bool) -> Headers:
    parent = ("traceparent", f"00-{trace_id}-{span_id}-{origin.flags:02x}".encode())
    headers: Headers = (parent,)
    if origin.state:
        headers = (parent, ("tracestate", origin.state.encode()))
    if complete or origin.span_id or trace_id != origin.trace_id:
        known = f"{origin.trace_id}-{origin.span_id or NO_SPAN}"
        headers = (*headers, (REQUEST_TRACE, known.encode()))
    return headers


def record_failure(code: str, reason: str) -> None:
    """Record a failure in the current processing span. The reason must be redacted."""
    scope = SCOPE.get()
    if scope is not None and scope.recorder is not None:
        scope.error = code
        scope.events = (*scope.events, failure_event(code, reason))


REASON_CHARACTERS = 300


def failure_event(code: str, reason: str) -> SpanEvent:
    bounded: SpanAttributes = {"error.type": code, "clipmill.reason": reason[:REASON_CHARACTERS]}
    return SpanEvent("failure", now(), bounded)


def request_span(
    request_id: str,
    trace_id: str,
    *,
    start: datetime,
    end: datetime,
    attributes: SpanAttributes,
    error: str = "",
) -> tuple[Span, ...]:
    """Return the root span of a request, nothing when not sampled.

    Args:
        request_id: the request.
        trace_id: trace id in its result.
        start: time of receipt.
        end: time of its outcome.
        attributes: span attributes.
        error: error code of a failure.
    """
    scope = SCOPE.get()
    if scope is None or scope.recorder is None or scope.origin.trace_id != trace_id:
        return ()
    root, before = request_root(trace_id, request_id), parent_request(request_id)
    return (
        Span(
            name="request",
            kind="internal",
            context=scope.position(root.span_id, root.trace_id),
            parent_id="" if before else scope.origin.span_id,
            start=_nanoseconds(start),
            # Clock skew between two workers, or a client and a worker.
            end=_nanoseconds(max(start, end)),
            attributes={"clipmill.request_id": request_id, **attributes},
            links=(request_root(trace_id, before),) if before else (),
            error=error,
        ),
    )


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6) * 1_000
