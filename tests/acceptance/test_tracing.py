"""Traces of the real pipeline; a collector decodes them with the official messages."""

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
from tests.acceptance.desk import Desk, page
from tests.house import House
from tests.otlp_receiver import OtlpReceiver, attributes_of, otlp_receiver
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONSUMER = WireSpan.SpanKind.SPAN_KIND_CONSUMER
CLIENT_SPAN = "b7ad6b7169203331"
STATE = "congo=t61rcWkgMzE"
TRACES = {name: f"{number:032x}" for number, name in enumerate(("plain", "off", "b", "gone"), 1)}
SECONDS = 40
"""For the last span to arrive, on a loaded machine."""


@pytest.fixture(scope="module")
def receiver() -> Any:
    with otlp_receiver() as receiver:
        yield receiver


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(
    tmp_path_factory: pytest.TempPathFactory, receiver: OtlpReceiver
) -> AsyncIterator[House]:
    """A house whose worker records all traces that are not decided about."""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_TRACES_SAMPLER": "parentbased_always_on",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    async with House(tmp_path_factory.mktemp("house"), **variables) as house:
        await house.start_worker("all")
        yield house


async def ask(house: House, name: str, flags: str, **body: Any) -> None:
    parent = f"00-{TRACES[name]}-{CLIENT_SPAN}-{flags}"
    headers = [("traceparent", parent.encode()), ("tracestate", STATE.encode())]
    value = str({"id": name, **body}).replace("'", '"').encode()
    await house.publish_raw(value, headers=headers)


async def return_late(house: House, record: Any) -> None:
    """Put an event on a delay topic as one that was to wait for 31 s and has."""
    now = time.time()
    headers = [
        *record.headers,
        (DUE, f"{now:.3f}".encode()),
        (TARGET, VALIDATED.name.encode()),
    ]
    producer = AIOKafkaProducer(bootstrap_servers=house.bootstrap, acks="all")
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
    """Return what is wrong: a root that is missing or double, a span without parent and link."""
    known = {(span.trace_id, span.span_id) for span in spans}
    known |= {(bytes.fromhex(trace), bytes.fromhex(CLIENT_SPAN)) for trace in TRACES.values()}
    found = [attributes_of(span)["clipmill.request_id"] for span in spans if is_root(span)]
    wrong = [] if sorted(found) == sorted(roots) else [f"roots: {sorted(found)}"]
    for span in spans:
        if span.parent_span_id and (span.trace_id, span.parent_span_id) not in known:
            wrong.append(f"orphan: {span.name} of {attributes_of(span)}")
        if not span.parent_span_id and not span.links and not is_root(span):
            wrong.append(f"neither parent nor link: {span.name}")
        wrong += [
            f"broken link: {span.name}"
            for link in span.links
            if (link.trace_id, link.span_id) not in known
        ]
    return wrong


def unread(spans: list[WireSpan]) -> set[str]:
    """Return what was sent to a stage and is not processed yet."""
    read = {(span.trace_id, span.parent_span_id) for span in spans if span.kind == CONSUMER}
    topics = {f"send {topic.kafka_name()}" for topic in (VALIDATED, EXTRACTED, SELECTED, AUDIT)}
    return {
        span.name
        for span in spans
        if span.name in topics and (span.trace_id, span.span_id) not in read
    }


def is_root(span: WireSpan) -> bool:
    return span.name == "request"


async def until_whole(receiver: OtlpReceiver, roots: set[str], *names: str) -> list[WireSpan]:
    """Return the spans when all traces are whole and these names are among them."""
    deadline = time.monotonic() + SECONDS
    while True:
        spans = receiver.spans
        wrong = problems(spans, roots)
        missing = set(names) - {span.name for span in spans} or unread(spans)
        if not wrong and not missing:
            return spans
        if time.monotonic() > deadline:
            raise AssertionError([*wrong[:20], missing])
        await asyncio.sleep(0.1)


def of_trace(spans: list[WireSpan], trace_id: str) -> list[WireSpan]:
    return [span for span in spans if span.trace_id.hex() == trace_id]


async def contexts(desk: Desk, topic: Topic) -> dict[str, dict[str, str]]:
    """Return the trace headers of a topic's records by request."""
    return {
        (record.key or b"").decode(): {
            name: value.decode()
            for name, value in record.headers
            if name in {"traceparent", "tracestate"}
        }
        for record in await desk.records(topic)
    }


async def test_every_span_of_the_real_pipeline_has_its_parent_or_a_link(
    house: House, receiver: OtlpReceiver
) -> None:
    desk = Desk(house)
    plain, gone = video_id(serial=1), video_id(serial=2)
    house.standin.switch("deleted", video=gone)
    await ask(house, "plain", "01", url=page(plain))
    # Whoever asks first for a page has its attempt in the trace.
    result = await desk.outcome("plain")
    await ask(house, "off", "00", url=page(plain), action="info")
    await ask(house, "b", "01", urls=[page(plain), "https://example.com/?token=s3cret"])
    await ask(house, "gone", "01", url=f"{page(gone)}?token=s3cret")
    await house.publish({"id": "bare", "url": page(plain), "action": "info"})
    await desk.wait_for(["plain", "off", "b/0", "b/1", "gone", "bare"])
    await desk.summary("b")
    roots = {"plain", "b", "b/0", "b/1", "gone", "bare"}
    await until_whole(receiver, roots)

    (event,) = [
        record
        for record in await desk.records(VALIDATED)
        if ("ce_correlationid", b"plain") in record.headers
    ]
    await return_late(house, event)
    late = "process clipmill.retry.2m.v1"
    spans = await until_whole(receiver, roots, late)
    assert house.workers[0].terminate() == 0
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
    (delayed,) = [span for span in spans if span.name == late]
    assert (delayed.parent_span_id, delayed.links[0].trace_id) == (b"", root.trace_id)

    assert of_trace(spans, TRACES["off"]) == []
    headers = await contexts(desk, RESULTS)
    assert {name: headers[name]["traceparent"][-2:] for name in ("plain", "off", "gone")} == {
        "plain": "01",
        "off": "00",
        "gone": "01",
    }
    assert headers["off"]["traceparent"][3:35] == TRACES["off"]
    assert {headers[name]["tracestate"] for name in ("plain", "off", "b/0", "b")} == {STATE}
    assert not any(b"s3cret" in span.SerializeToString() for span in spans)
