"""Traces of the pipeline: parents and links of spans, and the context on each record."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import RecordMetadata

from agents.delay import due_at
from agents.engine.interface import EngineFailure
from agents.pipeline.events import user_command
from agents.storage.local import LocalStorage
from schemas.commands import Cancel, Retry
from schemas.errors import ClipmillError, ErrorCode
from schemas.results import Failed, PublishedResult
from streams.cluster.producer import Write
from streams.records import Effect, Incoming, Outgoing, TableWrite
from streams.runtime.concurrency import ConcurrencyLimit
from streams.runtime.processor import RecordProcessor
from streams.stage import Handler, SlicingHandler, Stage, StageContext
from streams.topics import BY_NAME, DELAYS, EXTRACTED, REQUESTS, RESULTS, VALIDATED
from streams.tracing.context import TraceContext, request_root
from streams.tracing.spans import Recording, Span
from tests.unit.agents.builders import (
    TRACE_ID,
    URL,
    WRITTEN_AT,
    apply_writes,
    as_incoming,
    body_of,
    request,
)
from tests.unit.agents.test_pipeline import Pipeline

CLIENT_SPAN = "b7ad6b7169203331"
STATE = "congo=t61rcWkgMzE,rojo=1"
LATE = EngineFailure(types=("EngineTimeout",), message="late: https://x.com/a?token=s3cret")


class SpanRecorder:
    """A recorder that keeps all spans."""

    def __init__(self, *, samples: bool = True) -> None:
        self.recorded: list[Span] = []
        self.sampling_calls: list[TraceContext] = []
        self._samples = samples

    def samples(self, context: TraceContext) -> bool:
        self.sampling_calls.append(context)
        return context.sampled if context.span_id else self._samples

    def record(self, span: Span) -> None:
        self.recorded.append(span)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.recorded if span.name.startswith(name)]

    def roots(self) -> dict[str, Span]:
        return {str(span.attributes["clipmill.request_id"]): span for span in self.named("request")}

    def check(self, *requests: str) -> None:
        """Fail unless each request has one root, and every span its parent, or else a link."""
        roots = [str(span.attributes["clipmill.request_id"]) for span in self.named("request")]
        assert sorted(roots) == sorted(requests)
        ids = Counter((span.context.trace_id, span.context.span_id) for span in self.recorded)
        assert [
            (span.name, span.attributes)
            for span in self.recorded
            if ids[span.context.trace_id, span.context.span_id] > 1
        ] == []
        known = {*ids, (TRACE_ID, CLIENT_SPAN)}
        for span in self.recorded:
            for link in span.links:
                assert (link.trace_id, link.span_id) in known, span
            if span.parent_id:
                assert (span.context.trace_id, span.parent_id) in known, span
            else:
                assert span.links or span.name == "request", span
            assert 0 < span.start <= span.end


class AcknowledgedTable:
    """A table whose rows become visible when they are acknowledged."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def changelog_record(self, write: TableWrite, partition: int | None) -> Write:
        return Write("changelog", write.key.encode(), write.value, partition=partition)

    def apply(self, write: TableWrite, _metadata: RecordMetadata) -> None:
        apply_writes(self._table, [write])


class FakeProducer:
    async def publish(self, writes: Sequence[Write]) -> list[RecordMetadata]:
        position = TopicPartition("t", 0)
        return [RecordMetadata(write.topic, 0, position, 7, None, None, None) for write in writes]


@asynccontextmanager
async def _never_opened(_context: StageContext) -> AsyncIterator[Handler]:
    raise NotImplementedError
    yield


class TracedPipeline(Pipeline):
    """A pipeline that runs each record in the real `RecordProcessor`, in its own context."""

    offset = 1_000

    def processor(self, topic: str, handler: SlicingHandler) -> RecordProcessor:
        waits = topic in {delay.name for delay in DELAYS}
        stage = Stage(
            name="delay" if waits else f"of-{topic}",
            sources=(BY_NAME[topic],),
            open=_never_opened,
            on_bug=lambda _record, _error: (),
            due=due_at if waits else None,
        )
        return RecordProcessor(
            stage,
            handler,
            producer=FakeProducer(),  # type: ignore[arg-type]
            tables={table.name: AcknowledgedTable(table) for table in self.tables},  # type: ignore[misc]
            concurrency_limit=ConcurrencyLimit(8),
            topic_prefix="p.",
            on_finished=lambda _records: None,
            on_effects=self._on_effects,
        )

    def _on_effects(self, _record: Incoming, effects: Sequence[Effect]) -> None:
        self.written += [each for each in effects if isinstance(each, Outgoing)]

    async def _process(self, processor: RecordProcessor, record: Incoming) -> None:
        processed = processor.run_sync(record) if self.is_sync else None
        if processed is None:
            await processor.run(record)
        else:
            self._on_effects(record, processed.effects)
            await processor.write_batch([processed])

    async def run(self, *records: Incoming) -> dict[str, Any]:
        processors = {
            topic: self.processor(topic, handler) for topic, handler in self.handlers.items()
        }
        pending = list(records)
        while pending:
            self.offset += 100
            record, before = pending.pop(0), len(self.written)
            await asyncio.create_task(
                self._process(processors[record.topic], record), context=Context()
            )
            pending += [
                as_incoming(each, offset=self.offset + position)
                for position, each in enumerate(self.written[before:])
                if each.topic.name in processors
            ]
        sent = [each for each in self.written if each.topic is RESULTS]
        kind: Any = PublishedResult
        return {(each.key or b"").decode(): body_of(each, kind) for each in sent}


@pytest.fixture(params=[False, True], ids=["asynchronous", "synchronous"])
async def pipeline(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[TracedPipeline]:
    async with LocalStorage.open(tmp_path) as storage:
        yield TracedPipeline(storage, tmp_path, is_sync=request.param)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> SpanRecorder:
    recorder = SpanRecorder()
    monkeypatch.setattr(Recording, "recorder", recorder)
    return recorder


def traced_request(body: Mapping[str, Any], flags: str = "01", **changes: Any) -> Incoming:
    parent = f"00-{TRACE_ID}-{CLIENT_SPAN}-{flags}".encode()
    headers = [("traceparent", parent), ("tracestate", STATE.encode())]
    return request(body, headers=headers, **changes)


def sent_context(record: Outgoing) -> list[str]:
    return (as_incoming(record).header("traceparent") or "").split("-")


async def test_client_span_is_the_parent_of_the_request_span(
    pipeline: TracedPipeline, spans: SpanRecorder
) -> None:
    found = await pipeline.run(traced_request({"id": "r1", "url": URL}))
    spans.check("r1")
    root = spans.roots()["r1"]
    assert root.parent_id == CLIENT_SPAN
    assert {span.context.trace_id for span in spans.recorded} == {TRACE_ID, found["r1"].trace_id}
    (first,) = spans.named("process p.requests")
    assert first.parent_id == root.context.span_id
    assert [span.name for span in spans.recorded if span.kind == "client"] == [
        "extract tiktok",
        "download tiktok",
    ]
    result = found["r1"]
    assert root.start / 1e9 == pytest.approx(result.received_at.timestamp())
    assert root.end / 1e9 == pytest.approx(result.finished_at.timestamp(), abs=1e-3)


async def test_request_span_is_the_root_without_a_client_context(
    pipeline: TracedPipeline, spans: SpanRecorder
) -> None:
    await pipeline.run(request({"id": "r1", "url": URL}))
    spans.check("r1")
    assert [span.name for span in spans.recorded if not span.parent_id] == ["request"]


@pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])
@pytest.mark.parametrize("flags", ["00", "01", "03"])
async def test_trace_flags_and_state_are_propagated_on_every_record(
    pipeline: TracedPipeline, monkeypatch: pytest.MonkeyPatch, flags: str, *, is_on: bool
) -> None:
    recorder = SpanRecorder()
    monkeypatch.setattr(Recording, "recorder", recorder if is_on else None)
    pipeline.tools.engine = [LATE]
    await pipeline.run(traced_request({"id": "r1", "url": URL}, flags))
    for each in pipeline.written:
        assert [sent_context(each)[1], sent_context(each)[3]] == [TRACE_ID, flags]
        assert as_incoming(each).header("tracestate") == STATE
    assert bool(recorder.recorded) == (is_on and flags != "00")


async def test_unsampled_trace_is_not_recorded_and_propagates_its_flag(
    pipeline: TracedPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = SpanRecorder(samples=False)
    monkeypatch.setattr(Recording, "recorder", recorder)
    await pipeline.run(request({"id": "r1", "url": URL}))
    assert {sent_context(each)[3] for each in pipeline.written} == {"00"}
    assert (len(recorder.sampling_calls), recorder.recorded) == (1, [])


async def test_retry_after_a_long_delay_starts_a_linked_trace(
    pipeline: TracedPipeline, spans: SpanRecorder
) -> None:
    pipeline.tools.engine = [LATE] * 3
    found = await pipeline.run(traced_request({"id": "r1", "url": URL}))
    spans.check("r1")
    later = {span.context.trace_id for span in spans.recorded} - {TRACE_ID}
    assert later
    roots = [span for span in spans.recorded if not span.parent_id]
    assert {span.context.trace_id for span in roots} == later
    assert all(span.links for span in roots)
    assert found["r1"].trace_id == TRACE_ID
    (result,) = [each for each in pipeline.written if each.topic is RESULTS]
    assert sent_context(result)[1] == TRACE_ID


async def test_failures_are_span_events_without_url_queries(
    pipeline: TracedPipeline, spans: SpanRecorder
) -> None:
    pipeline.tools.engine = [LATE] * 50
    pipeline.tools.fetcher = [ClipmillError(ErrorCode.NETWORK_CONNECTION, "broke")]
    found = await pipeline.run(request({"id": "r1", "url": URL}))
    assert isinstance(found["r1"], Failed)
    spans.check("r1")
    attempts = [span for span in spans.recorded if span.kind == "client"]
    assert {span.error for span in attempts} == {ErrorCode.NETWORK_TIMEOUT}
    assert spans.roots()["r1"].error == ErrorCode.NETWORK_TIMEOUT
    events = [event for span in spans.recorded for event in span.events]
    assert {event.attributes["error.type"] for event in events} == {ErrorCode.NETWORK_TIMEOUT}
    assert "s3cret" not in repr(spans.recorded)


async def test_batch_members_have_separate_traces_linked_to_the_batch(
    pipeline: TracedPipeline, spans: SpanRecorder
) -> None:
    urls = [URL, URL, 7, "https://example.com"]
    found = await pipeline.run(traced_request({"id": "b", "urls": urls}))
    members = [f"b/{index}" for index in range(4)]
    spans.check("b", *members)
    roots = spans.roots()
    for member in members:
        assert roots[member].context == TraceContext(
            request_root(TRACE_ID, member).trace_id, roots[member].context.span_id, 1, STATE
        )
        assert roots[member].links == (request_root(TRACE_ID, "b"),)
        assert found[member].trace_id == TRACE_ID
    assert roots["b"].parent_id == CLIENT_SPAN
    results = [each for each in pipeline.written if each.topic is RESULTS]
    assert {sent_context(each)[1] for each in results} == {TRACE_ID}


async def test_redelivered_record_yields_the_same_span_ids(
    pipeline: TracedPipeline, spans: SpanRecorder
) -> None:
    record = traced_request({"id": "r1", "url": URL, "action": "info"})
    await pipeline.run(record)
    once = {span.context for span in spans.recorded if span.kind != "client"}
    await pipeline.run(record)
    again = {span.context for span in spans.named("request")}
    assert again == {span.context for span in spans.named("request")[:1]}
    sent = {span.context for span in spans.named("send p.videos.validated")}
    assert sent <= once


async def test_replay_starts_a_linked_trace(pipeline: TracedPipeline, spans: SpanRecorder) -> None:
    await pipeline.run(traced_request({"id": "r1", "url": URL, "action": "info"}))
    (event,) = [each for each in pipeline.written if each.topic is VALIDATED]
    replay = (("clipmill_replays", b"1"), ("clipmill_replay_of", b"0-1-2"))
    replayed = Outgoing(VALIDATED, event.key, event.value, (*event.headers, *replay))
    await pipeline.run(as_incoming(replayed, offset=9))
    spans.check("r1", "r1/replay-1")
    assert spans.roots()["r1/replay-1"].links == (request_root(TRACE_ID, "r1"),)


async def test_cancelled_request_ends_its_root_span_with_its_own_flags(
    pipeline: TracedPipeline, spans: SpanRecorder
) -> None:
    extraction = pipeline.handlers.pop(EXTRACTED.name)
    await pipeline.run(traced_request({"id": "r1", "url": URL}))
    command = Cancel(request_id="r1", by="me")
    command_record = user_command(command, "commands", at=WRITTEN_AT, cause="c", trace_id="c" * 32)
    await pipeline.run(as_incoming(command_record, offset=9))
    pipeline.handlers[EXTRACTED.name] = extraction
    assert spans.roots()["r1"].attributes["clipmill.status"] == "cancelled"
    spans.check("r1")
    again = Retry(request_id="r1", by="me", new_id="r2")
    command_record = user_command(again, "commands", at=WRITTEN_AT, cause="d", trace_id="d" * 32)
    await pipeline.run(as_incoming(command_record, offset=10))
    (retried,) = [each for each in pipeline.written if each.topic is REQUESTS]
    assert [sent_context(retried)[1], sent_context(retried)[3]] == [TRACE_ID, "01"]
    spans.check("r1", "r2")


async def test_duplicate_request_has_a_root_span_in_its_own_trace(
    pipeline: TracedPipeline, spans: SpanRecorder
) -> None:
    await pipeline.run(traced_request({"id": "r1", "url": URL, "action": "info"}))
    await pipeline.run(request({"id": "r1", "url": URL, "action": "info"}, offset=8))
    spans.check("r1", "r1")
    first, second = spans.named("request")
    assert first.context.trace_id == TRACE_ID != second.context.trace_id
    assert second.attributes["clipmill.status"] == "repeated"


@pytest.mark.parametrize("malformed", [b"", b"x", b"0" * 49])
async def test_malformed_trace_header_of_a_client_is_ignored(
    pipeline: TracedPipeline, spans: SpanRecorder, malformed: bytes
) -> None:
    headers = [("clipmill_trace", malformed)]
    await pipeline.run(request({"id": "r1", "url": URL, "action": "info"}, headers=headers))
    spans.check("r1")
