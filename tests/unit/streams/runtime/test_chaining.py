"""Two stages of a process: the second one processes the events of the first before a write."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from streams.envelope import seal
from streams.errors import StageFailedError
from streams.observability.metrics import REGISTRY
from streams.records import Effect, Flush, Incoming, Outgoing, TableWrite
from streams.runtime.chaining import (
    EVENTS_MAX,
    UNWRITTEN,
    ChainedEvent,
    ChainedStages,
    chained_record,
)
from streams.runtime.processor import RecordProcessor
from streams.stage import SyncFirstHandler, synchronous
from streams.topics import AUDIT, ERRORS, EXTRACTED, REQUESTS, SELECTED, VALIDATED, Topic
from streams.tracing.spans import Recording
from tests.unit.streams.records import incoming
from tests.unit.streams.runtime.test_processor import STAGE, ProcessorHarness

EVENT = Outgoing(VALIDATED, b"video", b"event", (("ce_id", b"1"),))
ACCEPTED = Outgoing(AUDIT, b"a", b"accepted")
FINISHED = Outgoing(AUDIT, b"a", b"finished")


class Chain:
    """A first stage that returns the given effects, and a second one that is chained to it."""

    def __init__(
        self,
        *effects: Effect,
        second: Callable[[Incoming], Sequence[Effect] | None] = lambda _: [FINISHED],
        source: Topic = VALIDATED,
    ) -> None:
        self.stages = ChainedStages(frozenset({VALIDATED, EXTRACTED, SELECTED}))
        self.seen: list[Incoming] = []
        self.refunds: list[dict[Topic, int]] = []
        stage = replace(STAGE, name="first", writes=(VALIDATED, AUDIT, ERRORS))
        self.first = ProcessorHarness(synchronous(lambda _: effects), stage=stage)
        self.first.processor = self._processor(self.first, stage, synchronous(lambda _: effects))
        second_stage = replace(STAGE, name="second", sources=(source,), writes=(EXTRACTED, AUDIT))
        handler = SyncFirstHandler(self._record(second), self._unused)
        self.second = ProcessorHarness(handler, stage=second_stage)
        self.second.processor = self._processor(self.second, second_stage, handler)
        # Closed when it is collected.
        self.registration = self.register(self.second, source)

    def _processor(self, harness: ProcessorHarness, stage: Any, handler: Any) -> RecordProcessor:
        return RecordProcessor(
            stage,
            handler,
            producer=harness.producer,  # type: ignore[arg-type]
            tables={"rows": harness.table},  # type: ignore[dict-item]
            concurrency_limit=harness.processor._concurrency_limit,
            topic_prefix="p.",
            on_finished=harness.finished.extend,
            chained_stages=self.stages,
            on_chained=lambda _record, topics: self.refunds.append(dict(topics)),
        )

    def register(self, harness: ProcessorHarness, *sources: Topic) -> ExitStack:
        def process(event: Outgoing) -> ChainedEvent | None:
            return harness.processor.run_chained(event, chained_record(event, 3))

        stack = ExitStack()
        stack.enter_context(
            self.stages.registered(sources, process, harness.processor.writer.targets)
        )
        return stack

    def _record(self, sync: Callable[[Incoming], Any]) -> Callable[[Incoming], Any]:
        def handle(record: Incoming) -> Any:
            self.seen.append(record)
            return sync(record)

        return handle

    async def _unused(self, _record: Incoming) -> Sequence[Effect]:
        raise NotImplementedError

    async def process(self) -> list[tuple[str, bytes | None]]:
        """Process a record synchronously; return the topics and values written for it."""
        processed = self.first.processor.run_sync(incoming())
        assert processed is not None
        await self.first.processor.write_batch([processed])
        return self.written

    async def process_in_task(self) -> list[tuple[str, bytes | None]]:
        await self.first.processor.run(incoming())
        return self.written

    @property
    def written(self) -> list[tuple[str, bytes | None]]:
        assert self.second.producer.written == []
        return [(each.topic, each.value) for each in self.first.producer.written]


PUBLISHED = [("p.videos.validated.v1", b"event"), ("p.audit.v1", b"accepted")]
CHAINED = [("p.audit.v1", b"accepted"), ("p.audit.v1", b"finished")]


async def test_effects_of_the_next_stage_replace_the_event_behind_those_of_the_record() -> None:
    chain = Chain(EVENT, ACCEPTED)
    assert await chain.process() == CHAINED
    assert chain.first.producer.calls == [2]
    assert chain.first.finished == [incoming()]
    assert chain.second.finished == []
    [record] = chain.seen
    assert (record.topic, record.partition, record.offset) == ("videos.validated", 3, UNWRITTEN)
    assert (record.key, record.value, record.headers) == (b"video", b"event", EVENT.headers)


async def test_record_is_not_finished_before_the_chained_effects_are_acknowledged() -> None:
    chain = Chain(EVENT, ACCEPTED)
    chain.first.producer.open.clear()
    processed = chain.first.processor.run_sync(incoming())
    assert processed is not None
    task = asyncio.create_task(chain.first.processor.write_batch([processed]))
    await asyncio.sleep(0)
    assert chain.first.finished == []
    chain.first.producer.open.set()
    await task
    assert chain.first.finished == [incoming()]


def raise_bug(_record: Incoming) -> Sequence[Effect]:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    "second",
    [
        lambda _: None,
        raise_bug,
        lambda _: [FINISHED, TableWrite("rows", "k", b"v")],
        lambda _: [Flush(), FINISHED],
        lambda _: [Outgoing(SELECTED, b"video", b"not declared")],
    ],
    ids=["has to wait", "bug", "row", "flush", "undeclared topic"],
)
async def test_event_that_cannot_be_chained_is_published(second: Any) -> None:
    chain = Chain(EVENT, ACCEPTED, second=second)
    before = count("second", "records_in_total")
    assert await chain.process() == PUBLISHED
    assert count("second", "records_in_total") == before


def count(stage: str, name: str) -> float:
    return REGISTRY.get_sample_value(f"clipmill_stage_{name}", {"stage": stage}) or 0.0


async def test_exception_of_a_chained_stage_is_no_bug_of_the_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chain = Chain(EVENT, ACCEPTED)
    chain.registration.close()

    def fail(_event: Outgoing) -> ChainedEvent | None:
        raise ZeroDivisionError

    with chain.stages.registered([VALIDATED], fail, {}):
        assert await chain.process_in_task() == PUBLISHED
    assert "an event of videos.validated is published" in caplog.text


async def test_event_behind_which_a_flush_is_is_published() -> None:
    assert await Chain(EVENT, Flush(), ACCEPTED).process() == PUBLISHED


async def test_same_event_twice_is_published_once_when_one_is_chained() -> None:
    answers = iter([[FINISHED], None])
    chain = Chain(EVENT, EVENT, second=lambda _: next(answers))
    assert await chain.process() == [PUBLISHED[0], ("p.audit.v1", b"finished")]


async def test_topic_of_a_chained_stage_is_undeclared_for_others() -> None:
    chain = Chain(Outgoing(EXTRACTED, b"video", b"bug of the first"))
    [(topic, report)] = await chain.process_in_task()
    assert topic == "p.errors.v1"
    assert b"not among the writes of the stage first" in (report or b"")


async def test_id_of_a_chained_record_is_that_of_its_event() -> None:
    chain = Chain(EVENT, ACCEPTED)
    await chain.process()
    await chain.process()
    assert [record.record_id for record in chain.seen] == ["1", "1"]


async def test_event_of_another_topic_is_published() -> None:
    assert await Chain(EVENT, ACCEPTED, source=SELECTED).process() == PUBLISHED


async def test_event_of_a_stage_that_stopped_is_published() -> None:
    chain = Chain(EVENT, ACCEPTED)
    chain.registration.close()
    assert await chain.process() == PUBLISHED


async def test_members_of_a_batch_are_published() -> None:
    chain = Chain(*[EVENT] * (EVENTS_MAX + 1))
    assert await chain.process() == [PUBLISHED[0]] * (EVENTS_MAX + 1)


async def test_record_with_a_task_chains_its_events() -> None:
    chain = Chain(TableWrite("rows", "k", b"v"), EVENT, ACCEPTED)
    assert await chain.process_in_task() == [("changelog", b"v"), *CHAINED]
    assert chain.first.table.rows == {"k": b"v"}
    assert chain.refunds == [{VALIDATED: 1}]


@pytest.mark.parametrize("in_task", [False, True])
async def test_event_is_published_when_the_cluster_refuses_chained_effects(in_task: bool) -> None:
    """So the stage that made the refused record reports it, for its own event."""
    chain = Chain(EVENT, ACCEPTED)
    chain.first.producer.refuse = lambda write: write.value == b"finished"
    if in_task:
        assert await chain.process_in_task() == PUBLISHED
        return
    processed = chain.first.processor.run_sync(incoming())
    assert processed is not None
    before = count("second", "records_in_total")
    await chain.first.processor.write_batch([processed])
    assert chain.written == PUBLISHED
    assert count("second", "records_in_total") == before


async def test_failed_store_fails_the_stage_and_publishes_no_event() -> None:
    chain = Chain(TableWrite("rows", "k", b"v"), EVENT)
    chain.first.table.error = StageFailedError("no space")
    with pytest.raises(StageFailedError):
        await chain.process_in_task()
    assert ("p.videos.validated.v1", b"event") not in chain.written
    assert chain.first.finished == []


async def test_chain_of_three_stages_writes_what_the_last_one_returns() -> None:
    extracted = Outgoing(EXTRACTED, b"video", b"extracted")
    chain = Chain(EVENT, second=lambda _: [extracted])
    third = Chain(FINISHED)
    third.stages = chain.stages
    stage = replace(STAGE, name="third", sources=(EXTRACTED,), writes=(SELECTED,))
    selected = synchronous(lambda _: [Outgoing(SELECTED, b"video", b"selected")])
    third.first.processor = third._processor(third.first, stage, selected)
    stages = ("first", "second", "third")
    before = [count(each, "records_out_total") for each in stages]
    registration = chain.register(third.first, EXTRACTED)
    assert await chain.process() == [("p.videos.selected.v1", b"selected")]
    registration.close()
    written = [count(each, "records_out_total") for each in stages]
    assert [now - then for now, then in zip(written, before, strict=True)] == [0, 0, 1]


async def test_stage_of_a_circle_is_not_entered_twice() -> None:
    chain = Chain(EVENT, second=lambda _: [EVENT])
    chain.second.processor.writer.targets[VALIDATED] = "p.videos.validated.v1"
    assert await chain.process() == [PUBLISHED[0]]
    assert len(chain.seen) == 1


async def test_stage_of_two_topics_is_not_entered_twice() -> None:
    chain = Chain(EVENT, second=lambda _: [Outgoing(EXTRACTED, b"video", b"extracted")])
    chain.registration.close()
    registration = chain.register(chain.second, VALIDATED, EXTRACTED)
    assert await chain.process() == [("p.videos.extracted.v1", b"extracted")]
    assert len(chain.seen) == 1
    registration.close()


async def test_chained_stage_counts_the_event_when_it_is_acknowledged() -> None:
    def counts() -> list[float]:
        names = ("records_in_total", "records_out_total", "duration_seconds_count")
        return [count(stage, name) for stage in ("first", "second") for name in names]

    chain = Chain(EVENT, ACCEPTED)
    before = counts()
    await chain.process()
    # One record each; the audit record of the second stage is not one of the first.
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [1.0] * 6


class Spans:
    def __init__(self) -> None:
        self.recorded: list[Any] = []

    def samples(self, _context: Any) -> bool:
        return True

    def record(self, span: Any) -> None:
        self.recorded.append(span)


async def test_trace_has_the_spans_of_both_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = Spans()
    monkeypatch.setattr(Recording, "recorder", spans)

    def event(topic: Topic, name: str) -> Outgoing:
        trace = "ab" * 16
        return seal(
            topic, "k", b"{}", kind=name, step="s", event_id=name, request_id="r", trace_id=trace
        )

    client = incoming(headers=(("traceparent", b"00-%s-%s-01" % (b"ab" * 16, b"cd" * 8)),))
    chain = Chain(second=lambda _: [event(AUDIT, "finished")])
    first = synchronous(lambda _: [event(VALIDATED, "event")])
    stage = replace(STAGE, sources=(REQUESTS,), name="first")
    chain.first.processor = chain._processor(chain.first, stage, first)
    processed = chain.first.processor.run_sync(client)
    assert processed is not None
    await chain.first.processor.write_batch([processed])
    by_name = {span.name: span for span in spans.recorded}
    names = ["send p.audit.v1", "send p.videos.validated.v1", "process p.videos.validated.v1"]
    assert [*by_name] == [*names, "process p.requests.v1"]
    sent, handed_over, second, root = by_name.values()
    assert sent.parent_id == second.context.span_id
    assert second.parent_id == handed_over.context.span_id
    assert handed_over.parent_id == root.context.span_id
    assert "messaging.kafka.offset" not in {*second.attributes, *handed_over.attributes}
