"""Record processor of a stage, with a fake producer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from aiokafka.structs import RecordMetadata, TopicPartition

from schemas.errors import ClipmillError, ErrorCode
from streams.cluster.producer import RecordRefusedError, Write
from streams.cluster.record_batches import UndecodableBatch
from streams.deadletters.headers import split_headers
from streams.envelope import trace_id_of
from streams.errors import StageFailedError
from streams.observability.logs import REQUEST, TRACE
from streams.observability.metrics import REGISTRY
from streams.records import Effect, Flush, Incoming, Outgoing, TableWrite
from streams.runtime.chaining import Processed
from streams.runtime.concurrency import ConcurrencyLimit
from streams.runtime.processor import RecordProcessor, dead_letter
from streams.stage import (
    Handler,
    Slices,
    SlicingHandler,
    Stage,
    StageContext,
    SyncFirstHandler,
    synchronous,
)
from streams.topics import DEADLETTERS, ERRORS, HEARTBEATS, REQUESTS, RESULTS, VALIDATED
from tests.unit.streams.records import incoming

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def metadata_of(write: Write) -> RecordMetadata:
    partition = 0 if write.partition is None else write.partition
    topic_partition = TopicPartition(write.topic, partition)
    return RecordMetadata(write.topic, partition, topic_partition, 0, None, None, None)


class FakeProducer:
    """Producer that accepts every record that ``refuse`` does not match."""

    def __init__(self) -> None:
        self.written: list[Write] = []
        self.calls: list[int] = []
        self.refuse: Callable[[Write], bool] = lambda _: False
        self.acknowledged: set[bytes | None] = set()
        self.open = asyncio.Event()
        self.open.set()
        self.availability = asyncio.Event()
        self.availability.set()

    async def publish(self, writes: Sequence[Write]) -> list[RecordMetadata]:
        await self.open.wait()
        if any(map(self.refuse, writes)):
            error = RecordRefusedError("too large")
            error.acknowledged = [
                metadata_of(write) if write.key in self.acknowledged else None for write in writes
            ]
            raise error
        self.written += writes
        self.calls.append(len(writes))
        return [metadata_of(write) for write in writes]

    async def available(self) -> None:
        await self.availability.wait()

    @property
    def topics(self) -> list[str]:
        return [write.topic for write in self.written]


class FakeTable:
    def __init__(self) -> None:
        self.rows: dict[str, bytes | None] = {}
        self.pending: dict[str, bytes | None] = {}
        self.reads_pending = False
        self.error: Exception | None = None
        self.partitions: dict[str, int | None] = {}

    def changelog_record(self, write: TableWrite, partition: int | None) -> Write:
        return Write("changelog", write.key.encode(), write.value, partition=partition)

    def get(self, key: str) -> bytes | None:
        pending = self.pending if self.reads_pending else {}
        return pending.get(key, self.rows.get(key))

    def add_pending(self, write: TableWrite) -> None:
        self.pending[write.key] = write.value

    def clear_pending(self) -> None:
        self.pending.clear()

    def apply(self, write: TableWrite, metadata: RecordMetadata) -> None:
        if self.error is not None:
            raise self.error
        self.partitions[write.key] = metadata.partition
        self.rows[write.key] = write.value


@asynccontextmanager
async def not_opened(_context: StageContext) -> AsyncIterator[Handler]:
    raise NotImplementedError
    yield


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    return [Outgoing(ERRORS, record.key, repr(error).encode())]


STAGE = Stage("test", (REQUESTS,), open=not_opened, on_bug=on_bug)


class ProcessorHarness:
    """A `RecordProcessor` with a fake producer and table."""

    def __init__(
        self, handler: SlicingHandler, *, stage: Stage = STAGE, concurrency: int = 8
    ) -> None:
        self.producer = FakeProducer()
        self.table = FakeTable()
        self.finished: list[Incoming] = []
        self.processor = RecordProcessor(
            stage,
            handler,
            producer=self.producer,  # type: ignore[arg-type]
            tables={"rows": self.table},  # type: ignore[dict-item]
            concurrency_limit=ConcurrencyLimit(concurrency),
            topic_prefix="p.",
            on_finished=self.finished.extend,
            reply_topics=("billing",),
        )

    def start(self, *records: Incoming) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.processor.run(record)) for record in records]


def returning(*effects: Effect) -> Handler:
    async def handle(_record: Incoming) -> Sequence[Effect]:
        return effects

    return handle


def raising(error: Exception) -> Handler:
    async def handle(_record: Incoming) -> Sequence[Effect]:
        raise error

    return handle


async def yield_to_tasks(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_effects_are_published_before_the_record_is_finished() -> None:
    harness = ProcessorHarness(returning(Outgoing(VALIDATED, b"k", b"v", (("a", b"1"),))))
    await harness.processor.run(incoming())
    assert harness.producer.written == [Write("p.videos.validated.v1", b"k", b"v", (("a", b"1"),))]
    assert harness.finished == [incoming()]


@pytest.mark.parametrize(
    ("reply_to", "write"),
    [
        ("billing", Write("billing", b"k", b"v", fallback="p.results.v1")),
        ("p.audit.v1", Write("p.results.v1", b"k", b"v")),
        (None, Write("p.results.v1", b"k", b"v")),
    ],
    ids=["configured", "not configured", "none"],
)
async def test_result_is_published_to_a_configured_reply_topic(
    reply_to: str | None, write: Write
) -> None:
    harness = ProcessorHarness(returning(Outgoing(RESULTS, b"k", b"v", reply_to=reply_to)))
    await harness.processor.run(incoming())
    assert harness.producer.written == [write]


async def test_effect_on_an_undeclared_topic_is_a_bug_and_nothing_is_published() -> None:
    declared, undeclared = (Outgoing(topic, b"k", b"v") for topic in (RESULTS, VALIDATED))
    stage = replace(STAGE, writes=(RESULTS, ERRORS))
    harness = ProcessorHarness(returning(declared, undeclared), stage=stage)
    await asyncio.gather(*harness.start(incoming()))
    (report,) = harness.producer.written
    assert report.topic == "p.errors.v1"
    assert b"videos.validated is not among the writes of the stage test" in (report.value or b"")


async def test_effects_after_a_flush_wait_for_those_before_it() -> None:
    harness = ProcessorHarness(
        returning(TableWrite("rows", "k", b"1"), Flush(), Outgoing(VALIDATED, b"k", b"v"))
    )
    published: list[list[str]] = []
    publish = harness.producer.publish

    async def record_writes(writes: Sequence[Write]) -> list[RecordMetadata]:
        published.append([write.topic for write in writes])
        return await publish(writes)

    harness.producer.publish = record_writes  # type: ignore[method-assign]
    harness.producer.open.clear()
    [task] = harness.start(incoming())
    await yield_to_tasks()
    assert (published, harness.table.rows) == ([["changelog"]], {})
    harness.producer.open.set()
    await task
    assert published == [["changelog"], ["p.videos.validated.v1"]]
    assert harness.table.rows == {"k": b"1"}
    assert len(harness.finished) == 1


async def test_refusal_before_a_flush_suppresses_the_effects_after_it() -> None:
    harness = ProcessorHarness(
        returning(TableWrite("rows", "k", b"1"), Flush(), Outgoing(VALIDATED, b"k", b"v"))
    )
    harness.producer.refuse = lambda write: write.topic == "changelog"
    await harness.processor.run(incoming())
    assert harness.producer.topics == ["p.errors.v1"]
    assert harness.table.rows == {}


async def test_record_without_effects_is_finished() -> None:
    harness = ProcessorHarness(returning())
    await harness.processor.run(incoming())
    assert harness.producer.written == []
    assert len(harness.finished) == 1


async def test_record_is_not_finished_before_its_effects_are_acknowledged() -> None:
    harness = ProcessorHarness(returning(Outgoing(VALIDATED, b"k", b"v")))
    harness.producer.open.clear()
    [task] = harness.start(incoming())
    await yield_to_tasks()
    assert harness.finished == []
    harness.producer.open.set()
    await task
    assert len(harness.finished) == 1


async def test_row_is_written_to_the_partition_of_its_event_and_applied_after_ack() -> None:
    harness = ProcessorHarness(returning(TableWrite("rows", "k", b"v")))
    harness.producer.open.clear()
    [task] = harness.start(incoming(partition=3))
    await yield_to_tasks()
    assert harness.table.rows == {}
    harness.producer.open.set()
    await task
    assert harness.table.rows == {"k": b"v"}
    assert harness.table.partitions == {"k": 3}
    assert harness.producer.written == [Write("changelog", b"k", b"v", partition=3)]


async def test_row_of_housekeeping_has_no_fixed_partition() -> None:
    harness = ProcessorHarness(returning())
    assert harness.processor.writer.to_write(TableWrite("rows", "k", None)).partition is None


async def test_handler_error_is_reported_and_the_record_finished() -> None:
    harness = ProcessorHarness(raising(ZeroDivisionError("oh")))
    await harness.processor.run(incoming(key=b"mine"))
    [write] = harness.producer.written
    assert (write.topic, write.key, write.value) == (
        "p.errors.v1",
        b"mine",
        b"ZeroDivisionError('oh')",
    )
    assert len(harness.finished) == 1


async def test_error_in_the_bug_handler_gives_a_dead_letter() -> None:
    def failing_on_bug(_record: Incoming, _error: Exception) -> Sequence[Effect]:
        raise KeyError("worse")

    harness = ProcessorHarness(
        raising(ValueError("bad")), stage=replace(STAGE, on_bug=failing_on_bug)
    )
    await harness.processor.run(incoming(b"\xff", key=None))
    [write] = harness.producer.written
    assert (write.topic, write.key, write.value) == ("p.deadletters.v1", None, b"\xff")
    assert len(harness.finished) == 1


@pytest.mark.parametrize("is_sync", [False, True])
async def test_failed_store_fails_the_stage_and_no_record(is_sync: bool) -> None:
    """Also when the row of the bug report is the one that cannot be stored."""
    row = TableWrite("rows", "k", b"v")
    stage = replace(STAGE, on_bug=lambda *_: [row, Outgoing(ERRORS, b"k", b"v")])
    handler = synchronous(lambda _record: [row]) if is_sync else raising(ValueError("bad"))
    harness = ProcessorHarness(handler, stage=stage)
    harness.table.error = StageFailedError("no space")
    processed = harness.processor.run_sync(incoming())
    with pytest.raises(StageFailedError):
        await (
            harness.processor.run(incoming())
            if processed is None
            else harness.processor.write_batch([processed])
        )
    assert harness.finished == []
    assert "p.deadletters.v1" not in harness.producer.topics


async def test_acknowledged_row_beside_a_refused_record_is_applied() -> None:
    """It is in the changelog: not applied, it would leave a gap in the read offsets."""
    harness = ProcessorHarness(
        returning(TableWrite("rows", "k", b"v"), Outgoing(VALIDATED, b"large", b"large"))
    )
    harness.producer.refuse = lambda write: write.key == b"large"
    harness.producer.acknowledged = {b"k"}
    await harness.processor.run(incoming())
    assert harness.table.rows == {"k": b"v"}
    assert harness.producer.topics == ["p.errors.v1"]


async def test_too_large_record_is_reported_as_bug_and_its_row_not_applied() -> None:
    harness = ProcessorHarness(
        returning(TableWrite("rows", "k", b"v"), Outgoing(VALIDATED, b"k", b"large"))
    )
    harness.producer.refuse = lambda write: write.value == b"large"
    await harness.processor.run(incoming())
    assert harness.producer.topics == ["p.errors.v1"]
    assert harness.table.rows == {}
    assert len(harness.finished) == 1


async def test_report_that_is_too_large_gives_a_dead_letter() -> None:
    harness = ProcessorHarness(returning(Outgoing(VALIDATED, b"k", b"large")))
    harness.producer.refuse = lambda write: write.topic != "p.deadletters.v1"
    await harness.processor.run(incoming())
    assert harness.producer.topics == ["p.deadletters.v1"]
    assert len(harness.finished) == 1


async def test_dead_letter_that_is_too_large_is_written_without_its_value() -> None:
    harness = ProcessorHarness(returning(Outgoing(VALIDATED, b"k", b"large")))
    harness.producer.refuse = lambda write: bool(write.value and len(write.value) > 1_000)
    await harness.processor.run(incoming(b"x" * 2_000_000))
    await harness.processor.run(incoming(b"x" * 2_000_000))
    assert len(harness.finished) == 2


async def test_largest_unwritable_record_is_finished() -> None:
    huge = incoming(b"x" * 2_000_000, headers=[("a", b"x" * 100_000)])
    harness = ProcessorHarness(raising(ValueError("bad")))
    harness.producer.refuse = lambda write: (
        len(write.value or b"") + sum(len(value) for _, value in write.headers) > 90_000
    )
    harness.processor._stage = replace(
        STAGE, on_bug=lambda record, _: [Outgoing(ERRORS, record.key, record.value)]
    )
    await harness.processor.run(huge)
    assert harness.producer.topics == ["p.deadletters.v1"]
    assert len(harness.finished) == 1


@pytest.mark.parametrize(
    "returned",
    [
        pytest.param(None, id="None"),
        pytest.param([None], id="list with None"),
        pytest.param([TableWrite("unknown", "k", b"v")], id="unknown table"),
        pytest.param(7, id="number"),
    ],
)
async def test_invalid_handler_result_is_reported_as_bug(returned: Any) -> None:
    async def handle(_record: Incoming) -> Any:
        return returned

    harness = ProcessorHarness(handle)
    await harness.processor.run(incoming())
    assert harness.producer.topics == ["p.errors.v1"]
    assert len(harness.finished) == 1


async def test_invalid_bug_handler_result_gives_a_dead_letter() -> None:
    stage = replace(STAGE, on_bug=lambda *_: [TableWrite("unknown", "k", b"v")])
    harness = ProcessorHarness(raising(ValueError("bad")), stage=stage)
    await harness.processor.run(incoming())
    assert harness.producer.topics == ["p.deadletters.v1"]
    assert len(harness.finished) == 1


@pytest.mark.parametrize("moment", ["waiting for its turn", "in the handler", "while written"])
async def test_cancelled_record_is_not_finished(moment: str) -> None:
    release = asyncio.Event()

    async def handle(_record: Incoming) -> Sequence[Effect]:
        if moment != "while written":
            await release.wait()
        return [TableWrite("rows", "k", b"v")]

    harness = ProcessorHarness(handle, concurrency=1)
    if moment == "while written":
        harness.producer.open.clear()
    tasks = harness.start(incoming(offset=1), incoming(offset=2))
    await yield_to_tasks()
    victim = tasks[1] if moment == "waiting for its turn" else tasks[0]
    victim.cancel()
    await asyncio.gather(victim, return_exceptions=True)
    assert harness.finished == []
    assert harness.table.rows == {}
    release.set()
    harness.producer.open.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(harness.finished) == 1, "the other one continues"


async def test_concurrency_is_bounded_by_the_slots() -> None:
    running = most = 0

    async def handle(record: Incoming) -> Sequence[Effect]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await yield_to_tasks(record.offset * 7 % 5)
        running -= 1
        return ()

    harness = ProcessorHarness(handle, concurrency=3)
    await asyncio.gather(*harness.start(*(incoming(offset=number) for number in range(9))))
    assert most == 3
    assert len(harness.finished) == 9


# Slices


def slicing(*slices: Sequence[Effect] | Exception) -> SlicingHandler:
    async def make() -> Slices:
        for each in slices:
            if isinstance(each, Exception):
                raise each
            yield each

    async def handle(_record: Incoming) -> Slices:
        return make()

    return handle


A, B = Outgoing(VALIDATED, b"k", b"a"), Outgoing(VALIDATED, b"k", b"b")


async def test_each_slice_is_published_before_the_next_one_is_requested() -> None:
    harness = ProcessorHarness(slicing([A], [B]))
    turn = asyncio.Event()

    async def next_slice(_record: Incoming) -> None:
        await turn.wait()

    harness.processor._next_slice = next_slice
    [task] = harness.start(incoming())
    await yield_to_tasks()
    assert [write.value for write in harness.producer.written] == [b"a"]
    assert harness.finished == []
    turn.set()
    await task
    assert [write.value for write in harness.producer.written] == [b"a", b"b"]
    assert harness.finished == [incoming()]


async def test_no_slot_is_held_while_a_slice_is_published_or_awaited() -> None:
    harness = ProcessorHarness(slicing([A], [B]), concurrency=1)
    harness.producer.open.clear()
    tasks = harness.start(incoming(offset=1), incoming(offset=2))
    await yield_to_tasks()
    assert harness.processor._concurrency_limit.has_free_slot
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_bug_in_a_later_slice_is_reported_for_the_whole_record() -> None:
    harness = ProcessorHarness(slicing([A], ValueError("bad")))
    await harness.processor.run(incoming())
    assert harness.producer.topics == ["p.videos.validated.v1", "p.errors.v1"]
    assert len(harness.finished) == 1


async def test_effects_of_each_slice_are_observed() -> None:
    harness = ProcessorHarness(slicing([A], [B, B]))
    sizes: list[int] = []
    harness.processor._on_effects = lambda _record, effects: sizes.append(len(effects))
    await harness.processor.run(incoming())
    assert sizes == [1, 2]


async def test_log_lines_carry_the_request_of_their_record() -> None:
    seen: list[tuple[str, str]] = []

    async def handle(record: Incoming) -> Sequence[Effect]:
        await yield_to_tasks(record.offset)
        seen.append((REQUEST.get(), TRACE.get()))
        return ()

    harness = ProcessorHarness(handle)
    headers = [
        ("ce_correlationid", b"r1"),
        ("traceparent", f"00-{TRACE_ID}-{'1' * 16}-01".encode()),
    ]
    await asyncio.gather(
        *harness.start(incoming(offset=1, key=None), incoming(key=None, headers=headers))
    )
    made = trace_id_of(incoming(offset=1, key=None))
    assert seen == [("requests-3-1-1700000000500", made), ("r1", TRACE_ID)]


@pytest.mark.parametrize("header", [b"\xff", b"", b"x"])
async def test_malformed_headers_are_tolerated(header: bytes) -> None:
    harness = ProcessorHarness(returning())
    names = ("ce_correlationid", "traceparent")
    await harness.processor.run(incoming(headers=[(name, header) for name in names]))
    assert len(harness.finished) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("bad"), ErrorCode.INTERNAL_BUG),
        (ClipmillError(ErrorCode.REQUEST_INVALID, "bad"), ErrorCode.REQUEST_INVALID),
    ],
)
def test_dead_letter_has_the_original_record_and_the_error(error: Exception, code: str) -> None:
    record = incoming(b"\xff\x00", key=b"\xfe", headers=[("a", b"1"), ("a", b"\xff")])
    written = dead_letter(record, error, "validation")
    own, metadata = split_headers(written.headers)
    assert (written.topic, written.key, written.value) == (DEADLETTERS, b"\xfe", b"\xff\x00")
    assert own == (("a", b"1"), ("a", b"\xff"))
    assert metadata is not None
    assert (metadata.step, metadata.code, metadata.attempts) == ("validation", code, 1)


async def test_dead_letter_names_the_kafka_topic_of_its_origin() -> None:
    harness = ProcessorHarness(returning(dead_letter(incoming(), ValueError("bad"), "test")))
    await harness.processor.run(incoming())
    assert dict(harness.producer.written[0].headers)["kafka_dlt-original-topic"] == b"p.requests.v1"


async def test_too_many_dead_letters_pause_the_intake_in_the_same_publish() -> None:
    record = msgspec.structs.replace(incoming(), topic="videos.validated")
    harness = ProcessorHarness(returning(*[dead_letter(record, ValueError("bad"), "test")] * 101))
    await harness.processor.run(record)
    assert harness.producer.topics[-1] == "p.signals.v1"
    assert harness.producer.written[-1].key == b"intake/test"
    assert b"clipmill resume test" in (harness.producer.written[-1].value or b"")


def test_dead_letter_of_a_tombstone_has_no_value() -> None:
    assert dead_letter(incoming(None), ValueError(), "s").value is None


HEARTBEAT = msgspec.structs.replace(incoming(timestamp=4e9), topic=HEARTBEATS.name)


def sample(name: str) -> float:
    return REGISTRY.get_sample_value(f"clipmill_{name}", {"stage": "test"}) or 0.0


async def test_heartbeat_is_finished_without_the_handler_and_not_counted_as_record() -> None:
    counts = sample("stage_records_in_total"), sample("heartbeat_duration_seconds_count")
    harness = ProcessorHarness(raising(AssertionError("the handler must not see a heartbeat")))
    await harness.processor.run(HEARTBEAT)
    assert (harness.finished, harness.producer.written) == ([HEARTBEAT], [])
    after = sample("stage_records_in_total"), sample("heartbeat_duration_seconds_count")
    assert after == (counts[0], counts[1] + 1)


async def test_heartbeat_is_not_finished_while_all_handlers_hang() -> None:
    release = asyncio.Event()

    async def hang(_record: Incoming) -> Sequence[Effect]:
        await release.wait()
        return ()

    harness = ProcessorHarness(hang, concurrency=2)
    tasks = harness.start(incoming(offset=1), incoming(offset=2), HEARTBEAT)
    await yield_to_tasks()
    assert harness.finished == []
    release.set()
    await asyncio.gather(*tasks)
    assert HEARTBEAT in harness.finished


async def test_heartbeat_is_not_finished_while_the_cluster_is_unavailable() -> None:
    harness = ProcessorHarness(returning())
    harness.producer.availability.clear()
    [task] = harness.start(HEARTBEAT)
    await yield_to_tasks()
    assert harness.finished == []
    harness.producer.availability.set()
    await task
    assert harness.finished == [HEARTBEAT]


# Synchronous path


def sync_harness(
    *effects: Effect, waits: Callable[[Incoming], bool] = lambda _: False, **options: Any
) -> ProcessorHarness:
    """Return a processor whose handler returns effects, or needs to wait for some records."""

    async def handle(_record: Incoming) -> Sequence[Effect]:
        return effects

    def sync(record: Incoming) -> Sequence[Effect] | None:
        return None if waits(record) else effects

    return ProcessorHarness(SyncFirstHandler(sync, handle), **options)


def run_sync(harness: ProcessorHarness, *offsets: int) -> list[Processed]:
    found = [harness.processor.run_sync(incoming(offset=offset)) for offset in offsets]
    return [each for each in found if each is not None]


RESULT = Outgoing(VALIDATED, b"k", b"v")


async def test_effects_of_several_records_are_published_together() -> None:
    harness = sync_harness(RESULT, TableWrite("rows", "a", b"1"))
    batch = run_sync(harness, 0, 1, 2)
    assert (harness.producer.written, harness.finished) == ([], [])
    await harness.processor.write_batch(batch)
    assert harness.producer.calls == [4]
    assert [each.offset for each in harness.finished] == [0, 1, 2]
    assert harness.table.rows == {"a": b"1"}


async def test_row_that_a_later_one_of_its_batch_replaces_is_not_published() -> None:
    def sync(record: Incoming) -> Sequence[Effect]:
        value = b"%d" % record.offset
        return [TableWrite("rows", "a", value), Outgoing(VALIDATED, b"k", value)]

    harness = ProcessorHarness(synchronous(sync))
    records = [
        incoming(offset=offset, partition=partition)
        for partition, offset in ((0, 1), (1, 2), (0, 3))
    ]
    batch = [each for record in records if (each := harness.processor.run_sync(record))]
    await harness.processor.write_batch(batch)
    rows = [each for each in harness.producer.written if each.topic == "changelog"]
    assert [(row.partition, row.value) for row in rows] == [(1, b"2"), (0, b"3")]
    assert len(harness.producer.written) == 5
    assert len(harness.finished) == 3


async def test_row_behind_a_flush_replaces_none_before_it() -> None:
    row = TableWrite("rows", "a", b"1")
    harness = sync_harness(row, Flush(), row)
    await harness.processor.write_batch(run_sync(harness, 0))
    assert harness.producer.calls == [1, 1]


async def test_records_of_a_batch_are_not_finished_before_it_is_acknowledged() -> None:
    harness = sync_harness(RESULT)
    harness.producer.open.clear()
    task = asyncio.create_task(harness.processor.write_batch(run_sync(harness, 0, 1)))
    await yield_to_tasks()
    assert harness.finished == []
    harness.producer.open.set()
    await task
    assert len(harness.finished) == 2


async def test_record_that_has_to_wait_is_not_counted_twice() -> None:
    def records_in() -> float:
        return (
            REGISTRY.get_sample_value("clipmill_stage_records_in_total", {"stage": "test"}) or 0.0
        )

    harness, before = sync_harness(RESULT, waits=lambda _: True), records_in()
    assert harness.processor.run_sync(incoming()) is None
    await harness.processor.run(incoming())
    assert records_in() - before == 1.0
    assert harness.finished == [incoming()]


async def test_handler_without_a_synchronous_path_needs_a_task() -> None:
    assert ProcessorHarness(returning(RESULT)).processor.run_sync(incoming()) is None


@pytest.mark.parametrize(
    "record",
    [
        msgspec.structs.replace(incoming(), topic=HEARTBEATS.name),
        incoming(value=UndecodableBatch(b"\0")),
    ],
)
async def test_heartbeats_and_undecodable_batches_need_a_task(record: Incoming) -> None:
    assert sync_harness(RESULT).processor.run_sync(record) is None


async def test_bug_on_the_synchronous_path_is_reported_by_the_task() -> None:
    def fail(_record: Incoming) -> Sequence[Effect]:
        raise ValueError("oops")

    harness = ProcessorHarness(synchronous(fail))
    assert harness.processor.run_sync(incoming()) is None
    await harness.processor.run(incoming())
    assert harness.producer.topics == ["p.errors.v1"]
    assert harness.finished == [incoming()]


async def test_flush_in_a_batch_separates_the_effects_of_all_records() -> None:
    harness = sync_harness(TableWrite("rows", "a", b"1"), Flush(), RESULT)
    await harness.processor.write_batch(run_sync(harness, 0, 1))
    assert harness.producer.calls == [1, 2, 1]
    topic = "p.videos.validated.v1"
    assert harness.producer.topics == ["changelog", topic, "changelog", topic]


@pytest.mark.parametrize("offsets", [(0,), (0, 1, 2)])
async def test_refused_record_is_reported_for_the_record_that_caused_it(
    offsets: tuple[int, ...],
) -> None:
    def sync(record: Incoming) -> Sequence[Effect]:
        size = b"huge" if record.offset == 0 else b"small"
        return [Outgoing(VALIDATED, b"%d" % record.offset, size)]

    harness = ProcessorHarness(synchronous(sync))
    harness.producer.refuse = lambda write: write.value == b"huge"
    await harness.processor.write_batch(run_sync(harness, *offsets))
    assert harness.producer.topics == [
        "p.errors.v1",
        *["p.videos.validated.v1"] * (len(offsets) - 1),
    ]
    assert [each.offset for each in harness.finished] == list(offsets)


@pytest.mark.parametrize("returned", [5, [5], "text"])
async def test_invalid_result_of_the_synchronous_path_is_reported_as_bug(returned: Any) -> None:
    harness = ProcessorHarness(synchronous(lambda _: returned))
    if batch := run_sync(harness, 0):
        await harness.processor.write_batch(batch)
    else:
        await harness.processor.run(incoming())
    assert harness.producer.topics == ["p.errors.v1"]
    assert len(harness.finished) == 1


async def test_cancelled_batch_finishes_nothing() -> None:
    harness = sync_harness(RESULT)
    harness.producer.open.clear()
    task = asyncio.create_task(harness.processor.write_batch(run_sync(harness, 0, 1)))
    await yield_to_tasks()
    task.cancel()
    await asyncio.wait([task])
    assert (task.cancelled(), harness.finished) == (True, [])


async def test_record_behind_a_refused_one_does_not_depend_on_the_row_of_it() -> None:
    """The second record of a key is processed with the pending row of the first."""

    def sync(_record: Incoming) -> Sequence[Effect]:
        seen = harness.table.get("k") or b""
        value = b"huge" if not seen and not harness.producer.written else b"after %s" % seen
        return [TableWrite("rows", "k", b"row"), Outgoing(VALIDATED, b"k", value)]

    harness = ProcessorHarness(synchronous(sync))
    harness.producer.refuse = lambda write: write.value in {b"huge", b"row"}
    batch = []
    for offset in (0, 1):
        batch += run_sync(harness, offset)
        harness.processor.writer.add_pending(batch[-1].rows)
    assert [each.effects[-1] for each in batch] == [
        Outgoing(VALIDATED, b"k", b"huge"),
        Outgoing(VALIDATED, b"k", b"after row"),
    ]
    harness.processor.writer.clear_pending()
    harness.producer.refuse = lambda write: write.value == b"huge"
    await harness.processor.write_batch(batch)
    assert [write.value for write in harness.producer.written if write.topic != "p.errors.v1"] == [
        b"row",
        b"after ",
    ]
    assert len(harness.finished) == 2


async def test_each_record_of_a_batch_has_its_own_log_context() -> None:
    seen: list[str] = []

    def sync(_record: Incoming) -> Sequence[Effect]:
        seen.append(REQUEST.get())
        return [Outgoing(VALIDATED, b"k", b"huge")]

    def report(_record: Incoming, _error: Exception) -> Sequence[Effect]:
        seen.append(REQUEST.get())
        return []

    harness = ProcessorHarness(synchronous(sync), stage=replace(STAGE, on_bug=report))
    harness.producer.refuse = lambda _: True
    batch = [
        harness.processor.run_sync(incoming(offset=n, headers=(("ce_correlationid", b"r%d" % n),)))
        for n in (1, 2)
    ]
    await harness.processor.write_batch([each for each in batch if each is not None])
    assert seen == ["r1", "r2", "r1", "r2"]
    assert REQUEST.get() == ""
