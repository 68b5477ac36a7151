"""The encoded bytes are what the official protobuf messages decode."""

from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

from streams.tracing.context import TraceContext
from streams.tracing.otlp_encoding import encode_request, encode_resource, encode_span
from streams.tracing.spans import Span, SpanEvent, SpanKind

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TIME_MAX = 2**64 - 1


def hex_ids(digits: int) -> st.SearchStrategy[str]:
    return st.integers(1, 16**digits - 1).map(lambda number: f"{number:0{digits}x}")


texts = st.text(st.characters(codec="utf-8"), max_size=600)
attributes = st.dictionaries(
    st.sampled_from(("messaging.system", "messaging.kafka.offset", "error.type")) | texts,
    texts | st.integers(-(2**63), 2**63 - 1),
    max_size=6,
)
times = st.integers(0, TIME_MAX)
contexts = st.builds(TraceContext, hex_ids(32), hex_ids(16), st.integers(0, 3), texts)
spans = st.builds(
    Span,
    name=texts,
    kind=st.sampled_from(get_args(SpanKind)),
    context=contexts,
    parent_id=hex_ids(16) | st.just(""),
    start=times,
    end=times,
    attributes=attributes,
    links=st.lists(contexts, max_size=2).map(tuple),
    events=st.lists(st.builds(SpanEvent, texts, times, attributes), max_size=2).map(tuple),
    error=st.just("") | texts,
)


def decoded(*wanted: Span) -> ExportTraceServiceRequest:
    resource, scope = encode_resource(
        {"service.name": "mill", "host.cpus": 2, "x": True}, "clipmill"
    )
    body = encode_request(resource, scope, map(encode_span, wanted))
    found: ExportTraceServiceRequest = ExportTraceServiceRequest.FromString(body)
    return found


def values(item: Any) -> dict[str, str | int]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value")) for each in item.attributes
    }


def span(**changes: Any) -> Span:
    fields: dict[str, Any] = {
        "name": "n",
        "kind": "client",
        "context": TraceContext(TRACE, SPAN),
        "parent_id": "",
    }
    return Span(**(fields | changes))


def wire_span(wanted: Span) -> WireSpan:
    found: WireSpan = decoded(wanted).resource_spans[0].scope_spans[0].spans[0]
    return found


@given(spans)
def test_every_field_of_a_span_is_decoded(wanted: Span) -> None:
    found = wire_span(wanted)
    assert (found.trace_id.hex(), found.span_id.hex()) == (
        wanted.context.trace_id,
        wanted.context.span_id,
    )
    assert found.parent_span_id.hex() == wanted.parent_id
    assert found.trace_state == wanted.context.state
    assert found.name == wanted.name
    assert WireSpan.SpanKind.Name(found.kind) == f"SPAN_KIND_{wanted.kind.upper()}"
    assert (found.start_time_unix_nano, found.end_time_unix_nano) == (wanted.start, wanted.end)
    error = {"error.type": wanted.error} if wanted.error else {}
    assert values(found) == wanted.attributes | error
    assert found.status.code == (2 if wanted.error else 0)
    assert [
        TraceContext(each.trace_id.hex(), each.span_id.hex(), 0, each.trace_state)
        for each in found.links
    ] == [TraceContext(each.trace_id, each.span_id, 0, each.state) for each in wanted.links]
    assert [
        SpanEvent(each.name, each.time_unix_nano, values(each)) for each in found.events
    ] == list(wanted.events)
    assert found.flags & 0xFF == wanted.context.flags
    assert found.flags & 0x100
    assert bool(found.flags & 0x200) == bool(wanted.parent_id)


@given(st.lists(spans, max_size=3))
def test_spans_of_a_batch_are_decoded_in_their_order(wanted: list[Span]) -> None:
    (resource_spans,) = decoded(*wanted).resource_spans
    assert values(resource_spans.resource) == {"service.name": "mill", "host.cpus": 2, "x": "True"}
    (scope_spans,) = resource_spans.scope_spans
    assert scope_spans.scope.name == "clipmill"
    assert [each.name for each in scope_spans.spans] == [each.name for each in wanted]


def test_times_that_do_not_fit_are_bounded() -> None:
    found = wire_span(span(start=-1_000_000, end=2**70))
    assert (found.start_time_unix_nano, found.end_time_unix_nano) == (0, TIME_MAX)


def test_surrogates_are_replaced() -> None:
    found = wire_span(span(attributes={"clipmill.request_id": "a\ud800b"}))
    assert values(found) == {"clipmill.request_id": "a?b"}
