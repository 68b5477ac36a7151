"""The trace of the record that is in work: where spans hang, and what goes on with each record.

A request has one trace, from the client's context to its result, and in it a root span whose id is
known in advance (`request_root`). New traces with a link to the one before are begun by members of
a batch, by replays, and by a record that has waited for long. So the trace id of the request, which
stands in results and logs, travels beside the position in the present trace.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from streams.tracing.context import (
    NO_SPAN,
    SAMPLED,
    TraceContext,
    request_before,
    request_root,
    span_digest,
    trace_digest,
)
from streams.tracing.spans import Attributes, Recorder, Recording, Span, SpanEvent, now

REQUEST_TRACE = "clipmill_trace"
"""Header: trace id of the request and span id of its client, when ``traceparent`` does not tell."""

LONG_WAIT_SECONDS = 30.0
"""A record that waited for longer begins a new trace: collectors decide about a trace, and write
it, when nothing has come for about this long."""

Headers = tuple[tuple[str, bytes], ...]


@dataclass(slots=True)
class Scope:
    """The trace of one record in work.

    Attributes:
        origin: of its request: trace id as in results, span id of the client, flags and state.
        trace_id: the present trace, in which the record is processed.
        span_id: of that processing, "" while nothing is recorded.
        parent_id: of that span.
        request_id: the request that the record is about, "" when it is not known yet.
        names_request: the first record that follows from this one tells its request.
        link: where a new trace comes from.
        recorder: takes its spans; None when they are not recorded.
        events: failures on the way.
        error: code of the latest of them.
        attempts: attempts on the network so far.
    """

    origin: TraceContext
    trace_id: str
    span_id: str = ""
    parent_id: str = ""
    request_id: str = ""
    names_request: bool = False
    link: TraceContext | None = None
    recorder: Recorder | None = None
    events: tuple[SpanEvent, ...] = ()
    error: str = ""
    attempts: int = 0

    @property
    def here(self) -> TraceContext:
        """The position of the record's own span."""
        return TraceContext(self.trace_id, self.span_id)

    def position(self, span_id: str, trace_id: str) -> TraceContext:
        """Return a position with flags and state of the request."""
        return TraceContext(trace_id, span_id, self.origin.flags, self.origin.state)


SCOPE: ContextVar[Scope | None] = ContextVar("trace_scope", default=None)


def open_scope(
    incoming: TraceContext,
    origin: TraceContext,
    *,
    record_id: str,
    step: str,
    request_id: str,
    of_client: bool,
    waited_seconds: float = 0.0,
    replayed: bool = False,
) -> Scope:
    """Return the scope of a record, and make it the one of this task.

    Args:
        incoming: the record's own context; without ``span_id`` when it came with none.
        origin: context of its request.
        record_id: the same for every time that it is read.
        step: the stage that processes it.
        request_id: as its headers tell, "" when they do not.
        of_client: it is a client's own record.
        waited_seconds: how long it was put off.
        replayed: it was put back from the dead letters.
    """
    recorder = Recording.recorder
    if recorder is not None and of_client:
        is_sampled = recorder.samples(incoming)
        flags = (origin.flags & ~SAMPLED) | (SAMPLED if is_sampled else 0)
        origin = TraceContext(origin.trace_id, origin.span_id, flags, origin.state)
    scope = Scope(origin, incoming.trace_id, parent_id=incoming.span_id, request_id=request_id)
    if replayed or waited_seconds > LONG_WAIT_SECONDS:
        scope.trace_id = trace_digest(f"{incoming.trace_id}:{record_id}")
        scope.parent_id, scope.link = "", incoming if incoming.span_id else None
    elif of_client:
        scope.names_request, scope.request_id = True, ""
    if recorder is not None and origin.sampled:
        scope.recorder = recorder
        scope.span_id = span_digest(f"{record_id}:{step}")
    SCOPE.set(scope)
    return scope


@contextmanager
def continuing(origin: TraceContext) -> Iterator[None]:
    """Have what is sent in the block belong to another request than the record in work.

    For what a stage remembers of a request: the end of one that was taken back, or waited for in
    vain.
    """
    outer = SCOPE.get()
    scope = Scope(origin, "", recorder=Recording.recorder if origin.sampled else None)
    scope.link = outer.here if outer is not None and outer.span_id else None
    token = SCOPE.set(scope)
    try:
        yield
    finally:
        SCOPE.reset(token)


def origin_of(trace_id: str) -> TraceContext | None:
    """Return the context of the request in work, None when it has another trace id."""
    scope = SCOPE.get()
    return scope.origin if scope is not None and scope.origin.trace_id == trace_id else None


def sending(
    event_id: str,
    request_id: str,
    trace_id: str,
    *,
    own_trace: bool = False,
    to_client: bool = False,
    among_requests: bool = False,
) -> tuple[Headers, tuple[Span, ...]]:
    """Return the trace headers of a record, and its span when that is recorded.

    Args:
        event_id: the same for every copy.
        request_id: the request that it is about.
        trace_id: of that request, as in its result.
        own_trace: it goes on in the trace of its request, whatever the record in work is about.
        to_client: it stays in the trace that the client knows.
        among_requests: it is read where clients write, and must not be taken for a client's.
    """
    scope, span_id = SCOPE.get(), span_digest(event_id)
    if scope is None or scope.origin.trace_id != trace_id:
        # Nothing is known of its flags: nobody decided to record it.
        return (("traceparent", f"00-{trace_id}-{span_id}-00".encode()),), ()
    if scope.names_request and own_trace:
        _name_request(scope, request_id)
    parent = _parent(scope, request_id, own_trace=own_trace, to_client=to_client)
    headers = _headers(scope.origin, parent.trace_id, span_id, complete=among_requests)
    if scope.recorder is None:
        return headers, ()
    is_child = parent.span_id == scope.span_id
    above = scope.here if scope.trace_id else scope.link
    span = Span(
        name="send",
        kind="producer",
        context=scope.position(span_id, parent.trace_id),
        parent_id=parent.span_id,
        links=() if is_child or above is None else (above,),
    )
    return headers, (span,)


def _name_request(scope: Scope, request_id: str) -> None:
    """Hang the processing of a client's record below the root span of its request."""
    base = request_id.partition("/")[0]
    scope.names_request, scope.request_id = False, base
    scope.parent_id = request_root(scope.origin.trace_id, base).span_id


def _parent(scope: Scope, request_id: str, *, own_trace: bool, to_client: bool) -> TraceContext:
    if to_client:
        root = request_root(scope.origin.trace_id, request_id.partition("/")[0])
        return scope.here if scope.trace_id == root.trace_id else root
    if scope.trace_id and (not own_trace or request_id == scope.request_id):
        return scope.here
    root = request_root(scope.origin.trace_id, request_id)
    return scope.here if scope.trace_id == root.trace_id else root


def _headers(origin: TraceContext, trace_id: str, span_id: str, *, complete: bool) -> Headers:
    parent = ("traceparent", f"00-{trace_id}-{span_id}-{origin.flags:02x}".encode())
    headers: Headers = (parent,)
    if origin.state:
        headers = (parent, ("tracestate", origin.state.encode()))
    if complete or origin.span_id or trace_id != origin.trace_id:
        known = f"{origin.trace_id}-{origin.span_id or NO_SPAN}"
        headers = (*headers, (REQUEST_TRACE, known.encode()))
    return headers


def note_failure(code: str, reason: str) -> None:
    """Note a failure in the span of the record in work. The reason must be without secrets."""
    scope = SCOPE.get()
    if scope is not None and scope.recorder is not None:
        scope.error = code
        scope.events = (*scope.events, failure_event(code, reason))


REASON_CHARACTERS = 300


def failure_event(code: str, reason: str) -> SpanEvent:
    """Return the event of a failure."""
    bounded: Attributes = {"error.type": code, "clipmill.reason": reason[:REASON_CHARACTERS]}
    return SpanEvent("failure", now(), bounded)


def request_span(
    request_id: str,
    trace_id: str,
    *,
    start: int,
    end: int,
    attributes: Attributes,
    error: str = "",
) -> tuple[Span, ...]:
    """Return the root span of a request, nothing when it is not recorded.

    Args:
        request_id: the request's.
        trace_id: the one in its result.
        start: when it was received, epoch nanoseconds.
        end: when its outcome was decided.
        attributes: what is to be known of it.
        error: code of its failure.
    """
    scope = SCOPE.get()
    if scope is None or scope.recorder is None or scope.origin.trace_id != trace_id:
        return ()
    root, before = request_root(trace_id, request_id), request_before(request_id)
    return (
        Span(
            name="request",
            kind="internal",
            context=scope.position(root.span_id, root.trace_id),
            parent_id="" if before else scope.origin.span_id,
            start=start,
            # The clocks of two workers, or of a client.
            end=max(start, end),
            attributes={"clipmill.request_id": request_id, **attributes},
            links=(request_root(trace_id, before),) if before else (),
            error=error,
        ),
    )
