"""Traces of the real pipeline, decoded by a collector with the official protobuf messages."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

from agents.pipeline.events import DUE, TARGET
from streams.topics import AUDIT, BY_NAME, EXTRACTED, RESULTS, SELECTED, VALIDATED, Topic
from streams.tracing.context import request_root
from tests.acceptance.client import PipelineClient, page
from tests.otlp_receiver import OtlpReceiver, attributes_of, otlp_receiver
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONSUMER = WireSpan.SpanKind.SPAN_KIND_CONSUMER
CLIENT_SPAN = "b7ad6b7169203331"
STATE = "congo=t61rcWkgMzE"
TRACES = {name: f"{number:032x}" for number, name in enumerate(("plain", "off", "b", "gone"), 1)}
SECONDS = 40
"""Timeout for the last span on a loaded machine."""


@pytest.fixture(scope="module")
def receiver() -> Any:
    with otlp_receiver() as receiver:
        yield receiver


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pipeline(
    tmp_path_factory: pytest.TempPathFactory, receiver: OtlpReceiver
) -> AsyncIterator[PipelineProcess]:
    """A pipeline whose worker samples all traces without a parent's sampling decision."""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_TRACES_SAMPLER": "parentbased_always_on",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    async with PipelineProcess(tmp_path_factory.mktemp("pipeline"), **variables) as pipeline:
        await pipeline.start_worker("all")
        yield pipeline


async def publish_traced(pipeline: PipelineProcess, name: str, flags: str, **body: Any) -> None:
    parent = f"00-{TRACES[name]}-{CLIENT_SPAN}-{flags}"
    headers = [("traceparent", parent.encode()), ("tracestate", STATE.encode())]
    value = str({"id": name, **body}).replace("'", '"').encode()
    await pipeline.publish_raw(value, headers=headers)


async def publish_due_event(pipeline: PipelineProcess, record: Any) -> None:
    """Publish an event to a delay topic as one whose delay of 31 s is over."""
    now = time.time()
    headers = [
        *record.headers,
        (DUE, f"{now:.3f}".encode()),
        (TARGET, VALIDATED.name.encode()),
    ]
    producer = AIOKafkaProducer(bootstrap_servers=pipeline.bootstrap, acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(
            BY_NAME["retry.2m"].kafka_name(),
            record.value,
            record.key,
            headers=headers,
            timestamp_ms=round((now - 31) * 1000),
        )
    finally:
        await producer.stop()


def problems(spans: list[WireSpan], roots: set[str]) -> list[str]:
    """Return missing or duplicate roots, orphaned spans and broken links."""
    known = {(span.trace_id, span.span_id) for span in spans}
    known |= {(bytes.fromhex(trace), bytes.fromhex(CLIENT_SPAN)) for trace in TRACES.values()}
    found = [attributes_of(span)["clipmill.request_id"] for span in spans if is_root(span)]
    problems_ = [] if sorted(found) == sorted(roots) else [f"roots: {sorted(found)}"]
    for span in spans:
        if span.parent_span_id and (span.trace_id, span.parent_span_id) not in known:
            problems_.append(f"orphan: {span.name} of {attributes_of(span)}")
        if not span.parent_span_id and not span.links and not is_root(span):
            problems_.append(f"neither parent nor link: {span.name}")
        problems_ += [
            f"broken link: {span.name}"
            for link in span.links
            if (link.trace_id, link.span_id) not in known
        ]
    return problems_


def unprocessed_sends(spans: list[WireSpan]) -> set[str]:
    """Return the names of send spans to stages without a process span."""
    read = {(span.trace_id, span.parent_span_id) for span in spans if span.kind == CONSUMER}
    topics = {f"send {topic.kafka_name()}" for topic in (VALIDATED, EXTRACTED, SELECTED, AUDIT)}
    return {
        span.name
        for span in spans
        if span.name in topics and (span.trace_id, span.span_id) not in read
    }


def is_root(span: WireSpan) -> bool:
    return span.name == "request"


async def wait_until_complete(
    receiver: OtlpReceiver, roots: set[str], *names: str
) -> list[WireSpan]:
    """Wait until all traces are complete and contain these names; return the spans."""
    deadline = time.monotonic() + SECONDS
    while True:
        spans = receiver.spans
        problems_ = problems(spans, roots)
        missing = set(names) - {span.name for span in spans} or unprocessed_sends(spans)
        if not problems_ and not missing:
            return spans
        if time.monotonic() > deadline:
            raise AssertionError([*problems_[:20], missing])
        await asyncio.sleep(0.1)


def of_trace(spans: list[WireSpan], trace_id: str) -> list[WireSpan]:
    return [span for span in spans if span.trace_id.hex() == trace_id]


async def contexts(client: PipelineClient, topic: Topic) -> dict[str, dict[str, str]]:
    """Return the trace headers of a topic's records by request."""
    return {
        (record.key or b"").decode(): {
            name: value.decode()
            for name, value in record.headers
            if name in {"traceparent", "tracestate"}
        }
        for record in await client.records(topic)
    }


async def test_every_span_has_its_parent_or_a_link(
    pipeline: PipelineProcess, receiver: OtlpReceiver
) -> None:
    client = PipelineClient(pipeline)
    plain, gone = video_id(serial=1), video_id(serial=2)
    pipeline.standin.switch("deleted", video=gone)
    await publish_traced(pipeline, "plain", "01", url=page(plain))
    # The first request for a page has the extraction attempt in its trace.
    result = await client.outcome("plain")
    await publish_traced(pipeline, "off", "00", url=page(plain), action="info")
    await publish_traced(
        pipeline, "b", "01", urls=[page(plain), "https://example.com/?token=s3cret"]
    )
    await publish_traced(pipeline, "gone", "01", url=f"{page(gone)}?token=s3cret")
    await pipeline.publish({"id": "bare", "url": page(plain), "action": "info"})
    await client.wait_for(["plain", "off", "b/0", "b/1", "gone", "bare"])
    await client.summary("b")
    roots = {"plain", "b", "b/0", "b/1", "gone", "bare"}
    await wait_until_complete(receiver, roots)

    (event,) = [
        record
        for record in await client.records(VALIDATED)
        if ("ce_correlationid", b"plain") in record.headers
    ]
    await publish_due_event(pipeline, event)
    delay_span = "process clipmill.retry.2m.v1"
    spans = await wait_until_complete(receiver, roots, delay_span)
    assert pipeline.workers[0].terminate() == 0
    spans = receiver.spans
    assert problems(spans, roots) == []

    by_request = {
        attributes_of(span)["clipmill.request_id"]: span for span in spans if is_root(span)
    }
    root = by_request["plain"]
    assert root.trace_id.hex() == TRACES["plain"]
    assert root.parent_span_id.hex() == CLIENT_SPAN
    assert root.trace_state == STATE
    assert result["trace_id"] == TRACES["plain"]
    assert root.end_time_unix_nano > root.start_time_unix_nano
    names = {span.name for span in of_trace(spans, TRACES["plain"])}
    assert {"extract tiktok", "download tiktok", "process clipmill.requests.v1"} <= names
    assert attributes_of(by_request["gone"])["error.type"].startswith("content.")
    assert not by_request["bare"].parent_span_id

    member = by_request["b/1"]
    assert member.trace_id.hex() == request_root(TRACES["b"], "b/1").trace_id
    assert [link.span_id for link in member.links] == [by_request["b"].span_id]
    (delayed,) = [span for span in spans if span.name == delay_span]
    assert (delayed.parent_span_id, delayed.links[0].trace_id) == (b"", root.trace_id)

    assert of_trace(spans, TRACES["off"]) == []
    headers = await contexts(client, RESULTS)
    assert {name: headers[name]["traceparent"][-2:] for name in ("plain", "off", "gone")} == {
        "plain": "01",
        "off": "00",
        "gone": "01",
    }
    assert headers["off"]["traceparent"][3:35] == TRACES["off"]
    assert {headers[name]["tracestate"] for name in ("plain", "off", "b/0", "b")} == {STATE}
    assert not any(b"s3cret" in span.SerializeToString() for span in spans)
