"""The traces of a request's whole way: what hangs where, and what is carried on each record."""

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
    arrive,
    body_of,
    request,
    show,
)
from tests.unit.agents.test_pipeline import Pipeline

CLIENT_SPAN = "b7ad6b7169203331"
STATE = "congo=t61rcWkgMzE,rojo=1"
LATE = EngineFailure(types=("EngineTimeout",), message="late: https://x.com/a?token=s3cret")


class Spans:
    """A recorder that keeps what it gets."""

    def __init__(self, *, samples: bool = True) -> None:
        self.taken: list[Span] = []
        self.asked: list[TraceContext] = []
        self._samples = samples

    def samples(self, context: TraceContext) -> bool:
        self.asked.append(context)
        return context.sampled if context.span_id else self._samples

    def record(self, span: Span) -> None:
        self.taken.append(span)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.taken if span.name.startswith(name)]

    def roots(self) -> dict[str, Span]:
        return {str(span.attributes["clipmill.request_id"]): span for span in self.named("request")}

    def check(self, *requests: str) -> None:
        """Fail unless each request has one root, and every span its parent, or else a link."""
        roots = [str(span.attributes["clipmill.request_id"]) for span in self.named("request")]
        assert sorted(roots) == sorted(requests)
        ids = Counter((span.context.trace_id, span.context.span_id) for span in self.taken)
        assert [
            (span.name, span.attributes)
            for span in self.taken
            if ids[span.context.trace_id, span.context.span_id] > 1
        ] == []
        known = {*ids, (TRACE_ID, CLIENT_SPAN)}
        for span in self.taken:
            for link in span.links:
                assert (link.trace_id, link.span_id) in known, span
            if span.parent_id:
                assert (span.context.trace_id, span.parent_id) in known, span
            else:
                assert span.links or span.name == "request", span
            assert 0 < span.start <= span.end


class ShownTable:
    """Rows that are visible when they are acknowledged."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def changelog_record(self, write: TableWrite, partition: int | None) -> Write:
        return Write("changelog", write.key.encode(), write.value, partition=partition)

    def apply(self, write: TableWrite, _place: RecordMetadata) -> None:
        show(self._table, [write])


class Outbox:
    async def publish(self, writes: Sequence[Write]) -> list[RecordMetadata]:
        place = TopicPartition("t", 0)
        return [RecordMetadata(write.topic, 0, place, 7, None, None, None) for write in writes]


@asynccontextmanager
async def _never(_context: StageContext) -> AsyncIterator[Handler]:
    raise NotImplementedError
    yield


class TracedPipeline(Pipeline):
    """The same, each record processed by the real `RecordProcessor` in a context of its own."""

    offset = 1_000

    def work(self, topic: str, handler: SlicingHandler) -> RecordProcessor:
        waits = topic in {delay.name for delay in DELAYS}
        stage = Stage(
            name="delay" if waits else f"of-{topic}",
            sources=(BY_NAME[topic],),
            open=_never,
            on_bug=lambda _record, _error: (),
            due=due_at if waits else None,
        )
        return RecordProcessor(
            stage,
            handler,
            producer=Outbox(),  # type: ignore[arg-type]
            tables={table.name: ShownTable(table) for table in self.tables},  # type: ignore[misc]
            slots=ConcurrencyLimit(8),
            topic_prefix="p.",
            on_finished=lambda _record: None,
            on_effects=self._wrote,
        )

    def _wrote(self, _record: Incoming, effects: Sequence[Effect]) -> None:
        self.written += [each for each in effects if isinstance(each, Outgoing)]

    async def run(self, *records: Incoming) -> dict[str, Any]:
        works = {topic: self.work(topic, handler) for topic, handler in self.handlers.items()}
        todo = list(records)
        while todo:
            self.offset += 100
            record, before = todo.pop(0), len(self.written)
            await asyncio.create_task(works[record.topic].run(record), context=Context())
            todo += [
                arrive(each, offset=self.offset + place)
                for place, each in enumerate(self.written[before:])
                if each.topic.name in works
            ]
        sent = [each for each in self.written if each.topic is RESULTS]
        kind: Any = PublishedResult
        return {(each.key or b"").decode(): body_of(each, kind) for each in sent}


@pytest.fixture
async def pipeline(tmp_path: Path) -> AsyncIterator[TracedPipeline]:
    async with LocalStorage.open(tmp_path) as storage:
        yield TracedPipeline(storage, tmp_path)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    recorder = Spans()
    monkeypatch.setattr(Recording, "recorder", recorder)
    return recorder


def traced(body: Mapping[str, Any], flags: str = "01", **changes: Any) -> Incoming:
    parent = f"00-{TRACE_ID}-{CLIENT_SPAN}-{flags}".encode()
    headers = [("traceparent", parent), ("tracestate", STATE.encode())]
    return request(body, headers=headers, **changes)


def sent_context(record: Outgoing) -> list[str]:
    return (arrive(record).header("traceparent") or "").split("-")


async def test_the_clients_span_is_the_parent_of_the_request_and_that_of_all_others(
    pipeline: TracedPipeline, spans: Spans
) -> None:
    found = await pipeline.run(traced({"id": "r1", "url": URL}))
    spans.check("r1")
    root = spans.roots()["r1"]
    assert root.parent_id == CLIENT_SPAN
    assert {span.context.trace_id for span in spans.taken} == {TRACE_ID, found["r1"].trace_id}
    (first,) = spans.named("process p.requests")
    assert first.parent_id == root.context.span_id
    assert [span.name for span in spans.taken if span.kind == "client"] == [
        "extract tiktok",
        "download tiktok",
    ]
    result = found["r1"]
    assert root.start / 1e9 == pytest.approx(result.received_at.timestamp())
    assert root.end / 1e9 == pytest.approx(result.finished_at.timestamp(), abs=1e-3)


async def test_without_a_client_context_the_request_is_the_root_of_the_trace(
    pipeline: TracedPipeline, spans: Spans
) -> None:
    await pipeline.run(request({"id": "r1", "url": URL}))
    spans.check("r1")
    assert [span.name for span in spans.taken if not span.parent_id] == ["request"]


@pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])
@pytest.mark.parametrize("flags", ["00", "01", "03"])
async def test_flag_and_state_are_carried_as_they_came_on_every_record(
    pipeline: TracedPipeline, monkeypatch: pytest.MonkeyPatch, flags: str, *, is_on: bool
) -> None:
    recorder = Spans()
    monkeypatch.setattr(Recording, "recorder", recorder if is_on else None)
    pipeline.tools.engine = [LATE]
    await pipeline.run(traced({"id": "r1", "url": URL}, flags))
    for each in pipeline.written:
        assert [sent_context(each)[1], sent_context(each)[3]] == [TRACE_ID, flags]
        assert arrive(each).header("tracestate") == STATE
    assert bool(recorder.taken) == (is_on and flags != "00")


async def test_an_unsampled_trace_is_not_recorded_and_says_so(
    pipeline: TracedPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Spans(samples=False)
    monkeypatch.setattr(Recording, "recorder", recorder)
    await pipeline.run(request({"id": "r1", "url": URL}))
    assert {sent_context(each)[3] for each in pipeline.written} == {"00"}
    assert (len(recorder.asked), recorder.taken) == (1, [])


async def test_a_retry_after_a_long_delay_begins_a_trace_that_links_to_the_first(
    pipeline: TracedPipeline, spans: Spans
) -> None:
    pipeline.tools.engine = [LATE] * 3
    found = await pipeline.run(traced({"id": "r1", "url": URL}))
    spans.check("r1")
    later = {span.context.trace_id for span in spans.taken} - {TRACE_ID}
    assert later
    begun = [span for span in spans.taken if not span.parent_id]
    assert {span.context.trace_id for span in begun} == later
    assert all(span.links for span in begun)
    assert found["r1"].trace_id == TRACE_ID
    (result,) = [each for each in pipeline.written if each.topic is RESULTS]
    assert sent_context(result)[1] == TRACE_ID


async def test_failures_are_events_with_code_and_reason_but_no_query(
    pipeline: TracedPipeline, spans: Spans
) -> None:
    pipeline.tools.engine = [LATE] * 50
    pipeline.tools.fetcher = [ClipmillError(ErrorCode.NETWORK_CONNECTION, "broke")]
    found = await pipeline.run(request({"id": "r1", "url": URL}))
    assert isinstance(found["r1"], Failed)
    spans.check("r1")
    attempts = [span for span in spans.taken if span.kind == "client"]
    assert {span.error for span in attempts} == {ErrorCode.NETWORK_TIMEOUT}
    assert spans.roots()["r1"].error == ErrorCode.NETWORK_TIMEOUT
    events = [event for span in spans.taken for event in span.events]
    assert {event.attributes["error.type"] for event in events} == {ErrorCode.NETWORK_TIMEOUT}
    assert "s3cret" not in repr(spans.taken)


async def test_members_of_a_batch_have_traces_of_their_own_that_link_to_it(
    pipeline: TracedPipeline, spans: Spans
) -> None:
    urls = [URL, URL, 7, "https://example.com"]
    found = await pipeline.run(traced({"id": "b", "urls": urls}))
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


async def test_a_record_read_twice_makes_no_span_of_another_id(
    pipeline: TracedPipeline, spans: Spans
) -> None:
    record = traced({"id": "r1", "url": URL, "action": "info"})
    await pipeline.run(record)
    once = {span.context for span in spans.taken if span.kind != "client"}
    await pipeline.run(record)
    again = {span.context for span in spans.named("request")}
    assert again == {span.context for span in spans.named("request")[:1]}
    sent = {span.context for span in spans.named("send p.videos.validated")}
    assert sent <= once


async def test_a_replay_begins_a_trace_that_links_to_the_first(
    pipeline: TracedPipeline, spans: Spans
) -> None:
    await pipeline.run(traced({"id": "r1", "url": URL, "action": "info"}))
    (event,) = [each for each in pipeline.written if each.topic is VALIDATED]
    replay = (("clipmill_replays", b"1"), ("clipmill_replay_of", b"0-1-2"))
    letter = Outgoing(VALIDATED, event.key, event.value, (*event.headers, *replay))
    await pipeline.run(arrive(letter, offset=9))
    spans.check("r1", "r1/replay-1")
    assert spans.roots()["r1/replay-1"].links == (request_root(TRACE_ID, "r1"),)


async def test_a_request_taken_back_ends_with_its_own_flag_and_root(
    pipeline: TracedPipeline, spans: Spans
) -> None:
    held = pipeline.handlers.pop(EXTRACTED.name)
    await pipeline.run(traced({"id": "r1", "url": URL}))
    command = Cancel(request_id="r1", by="me")
    ordered = user_command(command, "commands", at=WRITTEN_AT, cause="c", trace_id="c" * 32)
    await pipeline.run(arrive(ordered, offset=9))
    pipeline.handlers[EXTRACTED.name] = held
    assert spans.roots()["r1"].attributes["clipmill.status"] == "cancelled"
    spans.check("r1")
    again = Retry(request_id="r1", by="me", new_id="r2")
    ordered = user_command(again, "commands", at=WRITTEN_AT, cause="d", trace_id="d" * 32)
    await pipeline.run(arrive(ordered, offset=10))
    (asked,) = [each for each in pipeline.written if each.topic is REQUESTS]
    assert [sent_context(asked)[1], sent_context(asked)[3]] == [TRACE_ID, "01"]
    spans.check("r1", "r2")


async def test_a_request_under_a_taken_id_has_a_root_in_its_own_trace(
    pipeline: TracedPipeline, spans: Spans
) -> None:
    await pipeline.run(traced({"id": "r1", "url": URL, "action": "info"}))
    await pipeline.run(request({"id": "r1", "url": URL, "action": "info"}, offset=8))
    spans.check("r1", "r1")
    first, second = spans.named("request")
    assert first.context.trace_id == TRACE_ID != second.context.trace_id
    assert second.attributes["clipmill.status"] == "repeated"


@pytest.mark.parametrize("broken", [b"", b"x", b"0" * 49])
async def test_a_broken_header_of_a_client_changes_nothing(
    pipeline: TracedPipeline, spans: Spans, broken: bytes
) -> None:
    headers = [("clipmill_trace", broken)]
    await pipeline.run(request({"id": "r1", "url": URL, "action": "info"}, headers=headers))
    spans.check("r1")
