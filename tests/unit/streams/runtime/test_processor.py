"""The work of a stage, with an outbox that the test holds in its hand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiokafka.structs import RecordMetadata, TopicPartition

from schemas.errors import ClipmillError, ErrorCode
from streams.cluster.producer import RecordRefusedError, Write
from streams.deadletters.headers import split_headers
from streams.envelope import trace_id_of
from streams.observability.logs import REQUEST, TRACE
from streams.observability.metrics import REGISTRY
from streams.records import Effect, Flush, Incoming, Outgoing, TableWrite
from streams.runtime.concurrency import ConcurrencyLimit
from streams.runtime.processor import RecordProcessor, dead_letter
from streams.stage import Handler, Slices, SlicingHandler, Stage, StageContext
from streams.topics import DEADLETTERS, ERRORS, HEARTBEATS, REQUESTS, RESULTS, VALIDATED
from tests.unit.streams.records import incoming

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def placed(write: Write) -> RecordMetadata:
    partition = 0 if write.partition is None else write.partition
    place = TopicPartition(write.topic, partition)
    return RecordMetadata(write.topic, partition, place, 0, None, None, None)


class FakeOutbox:
    """Takes everything, except what the test says."""

    def __init__(self) -> None:
        self.written: list[Write] = []
        self.refuse: Callable[[Write], bool] = lambda _: False
        self.open = asyncio.Event()
        self.open.set()
        self.free = asyncio.Event()
        self.free.set()

    async def publish(self, writes: Sequence[Write]) -> list[RecordMetadata]:
        await self.open.wait()
        for write in writes:
            if self.refuse(write):
                raise RecordRefusedError(f"too large for {write.topic}")
        self.written += writes
        return [placed(write) for write in writes]

    async def available(self) -> None:
        await self.free.wait()

    @property
    def topics(self) -> list[str]:
        return [write.topic for write in self.written]


class FakeTable:
    def __init__(self) -> None:
        self.rows: dict[str, bytes | None] = {}
        self.partitions: dict[str, int | None] = {}

    def changelog(self, write: TableWrite, partition: int | None) -> Write:
        return Write("changelog", write.key.encode(), write.value, partition=partition)

    def show(self, write: TableWrite, place: RecordMetadata) -> None:
        self.partitions[write.key] = place.partition
        self.rows[write.key] = write.value


@asynccontextmanager
async def _never(_context: StageContext) -> AsyncIterator[Handler]:
    raise NotImplementedError
    yield


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    return [Outgoing(ERRORS, record.key, repr(error).encode())]


STAGE = Stage("test", (REQUESTS,), open=_never, on_bug=on_bug)


class Bench:
    """A `RecordProcessor` and everything around it."""

    def __init__(
        self, handler: SlicingHandler, *, stage: Stage = STAGE, concurrency: int = 8
    ) -> None:
        self.outbox = FakeOutbox()
        self.table = FakeTable()
        self.finished: list[Incoming] = []
        self.work = RecordProcessor(
            stage,
            handler,
            outbox=self.outbox,  # type: ignore[arg-type]
            tables={"rows": self.table},  # type: ignore[dict-item]
            slots=ConcurrencyLimit(concurrency),
            topic_prefix="p.",
            finished=self.finished.append,
            reply_topics=("billing",),
        )

    def start(self, *records: Incoming) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.work.run(record)) for record in records]


def returning(*effects: Effect) -> Handler:
    async def handle(_record: Incoming) -> Sequence[Effect]:
        return effects

    return handle


def raising(error: Exception) -> Handler:
    async def handle(_record: Incoming) -> Sequence[Effect]:
        raise error

    return handle


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_everything_returned_is_written_then_reported() -> None:
    bench = Bench(returning(Outgoing(VALIDATED, b"k", b"v", (("a", b"1"),))))
    await bench.work.run(incoming())
    assert bench.outbox.written == [Write("p.videos.validated.v1", b"k", b"v", (("a", b"1"),))]
    assert bench.finished == [incoming()]


@pytest.mark.parametrize(
    ("reply_to", "write"),
    [
        ("billing", Write("billing", b"k", b"v", fallback="p.results.v1")),
        ("p.audit.v1", Write("p.results.v1", b"k", b"v")),
        (None, Write("p.results.v1", b"k", b"v")),
    ],
    ids=["configured", "not configured", "none"],
)
async def test_a_result_goes_to_a_reply_topic_that_is_configured(
    reply_to: str | None, write: Write
) -> None:
    bench = Bench(returning(Outgoing(RESULTS, b"k", b"v", reply_to=reply_to)))
    await bench.work.run(incoming())
    assert bench.outbox.written == [write]


async def test_what_stands_behind_a_barrier_waits_for_what_stands_before_it() -> None:
    bench = Bench(
        returning(TableWrite("rows", "k", b"1"), Flush(), Outgoing(VALIDATED, b"k", b"v"))
    )
    asked: list[list[str]] = []
    publish = bench.outbox.publish

    async def note(writes: Sequence[Write]) -> list[RecordMetadata]:
        asked.append([write.topic for write in writes])
        return await publish(writes)

    bench.outbox.publish = note  # type: ignore[method-assign]
    bench.outbox.open.clear()
    [task] = bench.start(incoming())
    await turns()
    assert (asked, bench.table.rows) == ([["changelog"]], {})
    bench.outbox.open.set()
    await task
    assert asked == [["changelog"], ["p.videos.validated.v1"]]
    assert bench.table.rows == {"k": b"1"}
    assert len(bench.finished) == 1


async def test_what_is_refused_before_a_barrier_lets_nothing_behind_it_out() -> None:
    bench = Bench(
        returning(TableWrite("rows", "k", b"1"), Flush(), Outgoing(VALIDATED, b"k", b"v"))
    )
    bench.outbox.refuse = lambda write: write.topic == "changelog"
    await bench.work.run(incoming())
    assert bench.outbox.topics == ["p.errors.v1"]
    assert bench.table.rows == {}


async def test_nothing_to_write_is_finished_too() -> None:
    bench = Bench(returning())
    await bench.work.run(incoming())
    assert bench.outbox.written == []
    assert len(bench.finished) == 1


async def test_nothing_is_reported_before_it_is_acknowledged() -> None:
    bench = Bench(returning(Outgoing(VALIDATED, b"k", b"v")))
    bench.outbox.open.clear()
    [task] = bench.start(incoming())
    await turns()
    assert bench.finished == []
    bench.outbox.open.set()
    await task
    assert len(bench.finished) == 1


async def test_a_row_goes_to_the_partition_of_its_event_and_is_seen_when_acknowledged() -> None:
    bench = Bench(returning(TableWrite("rows", "k", b"v")))
    bench.outbox.open.clear()
    [task] = bench.start(incoming(partition=3))
    await turns()
    assert bench.table.rows == {}
    bench.outbox.open.set()
    await task
    assert bench.table.rows == {"k": b"v"}
    assert bench.table.partitions == {"k": 3}
    assert bench.outbox.written == [Write("changelog", b"k", b"v", partition=3)]


async def test_a_row_of_housekeeping_goes_where_its_key_belongs() -> None:
    bench = Bench(returning())
    assert bench.work.to_write(TableWrite("rows", "k", None)).partition is None


async def test_a_bug_becomes_records_and_the_record_is_finished() -> None:
    bench = Bench(raising(ZeroDivisionError("oh")))
    await bench.work.run(incoming(key=b"mine"))
    [write] = bench.outbox.written
    assert (write.topic, write.key, write.value) == (
        "p.errors.v1",
        b"mine",
        b"ZeroDivisionError('oh')",
    )
    assert len(bench.finished) == 1


async def test_a_bug_in_the_bug_handler_ends_in_the_dead_letters() -> None:
    def worse(_record: Incoming, _error: Exception) -> Sequence[Effect]:
        raise KeyError("worse")

    bench = Bench(raising(ValueError("bad")), stage=replace(STAGE, on_bug=worse))
    await bench.work.run(incoming(b"\xff", key=None))
    [write] = bench.outbox.written
    assert (write.topic, write.key, write.value) == ("p.deadletters.v1", None, b"\xff")
    assert len(bench.finished) == 1


async def test_a_record_that_is_too_large_becomes_a_bug_and_its_row_is_not_shown() -> None:
    bench = Bench(returning(TableWrite("rows", "k", b"v"), Outgoing(VALIDATED, b"k", b"large")))
    bench.outbox.refuse = lambda write: write.value == b"large"
    await bench.work.run(incoming())
    assert bench.outbox.topics == ["p.errors.v1"]
    assert bench.table.rows == {}
    assert len(bench.finished) == 1


async def test_a_record_too_large_to_report_does_not_stop_the_stage() -> None:
    bench = Bench(returning(Outgoing(VALIDATED, b"k", b"large")))
    bench.outbox.refuse = lambda write: write.topic != "p.deadletters.v1"
    await bench.work.run(incoming())
    assert bench.outbox.topics == ["p.deadletters.v1"]
    assert len(bench.finished) == 1


async def test_a_record_too_large_for_the_dead_letters_is_kept_without_its_value() -> None:
    bench = Bench(returning(Outgoing(VALIDATED, b"k", b"large")))
    bench.outbox.refuse = lambda write: bool(write.value and len(write.value) > 1_000)
    await bench.work.run(incoming(b"x" * 2_000_000))
    await bench.work.run(incoming(b"x" * 2_000_000))
    assert len(bench.finished) == 2


async def test_the_largest_record_that_nobody_can_write_is_finished() -> None:
    huge = incoming(b"x" * 2_000_000, headers=[("a", b"x" * 100_000)])
    bench = Bench(raising(ValueError("bad")))
    bench.outbox.refuse = lambda write: (
        len(write.value or b"") + sum(len(value) for _, value in write.headers) > 90_000
    )
    bench.work._stage = replace(
        STAGE, on_bug=lambda record, _: [Outgoing(ERRORS, record.key, record.value)]
    )
    await bench.work.run(huge)
    assert bench.outbox.topics == ["p.deadletters.v1"]
    assert len(bench.finished) == 1


@pytest.mark.parametrize(
    "returned",
    [
        pytest.param(None, id="nothing at all"),
        pytest.param([None], id="no effect"),
        pytest.param([TableWrite("unknown", "k", b"v")], id="a table that it does not have"),
        pytest.param(7, id="a number"),
    ],
)
async def test_a_handler_that_returns_nonsense_is_a_bug(returned: Any) -> None:
    async def handle(_record: Incoming) -> Any:
        return returned

    bench = Bench(handle)
    await bench.work.run(incoming())
    assert bench.outbox.topics == ["p.errors.v1"]
    assert len(bench.finished) == 1


async def test_a_bug_handler_that_returns_nonsense_ends_in_the_dead_letters() -> None:
    stage = replace(STAGE, on_bug=lambda *_: [TableWrite("unknown", "k", b"v")])
    bench = Bench(raising(ValueError("bad")), stage=stage)
    await bench.work.run(incoming())
    assert bench.outbox.topics == ["p.deadletters.v1"]
    assert len(bench.finished) == 1


@pytest.mark.parametrize("moment", ["waiting for its turn", "in the handler", "while written"])
async def test_cancelled_work_is_never_reported(moment: str) -> None:
    release = asyncio.Event()

    async def handle(_record: Incoming) -> Sequence[Effect]:
        if moment != "while written":
            await release.wait()
        return [TableWrite("rows", "k", b"v")]

    bench = Bench(handle, concurrency=1)
    if moment == "while written":
        bench.outbox.open.clear()
    tasks = bench.start(incoming(offset=1), incoming(offset=2))
    await turns()
    victim = tasks[1] if moment == "waiting for its turn" else tasks[0]
    victim.cancel()
    await asyncio.gather(victim, return_exceptions=True)
    assert bench.finished == []
    assert bench.table.rows == {}
    release.set()
    bench.outbox.open.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(bench.finished) == 1, "the other one goes on"


async def test_no_more_records_are_worked_on_than_there_are_slots() -> None:
    running = most = 0

    async def handle(record: Incoming) -> Sequence[Effect]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await turns(record.offset * 7 % 5)
        running -= 1
        return ()

    bench = Bench(handle, concurrency=3)
    await asyncio.gather(*bench.start(*(incoming(offset=number) for number in range(9))))
    assert most == 3
    assert len(bench.finished) == 9


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


async def test_each_slice_is_written_before_the_next_one_is_made() -> None:
    bench = Bench(slicing([A], [B]))
    turn = asyncio.Event()

    async def next_turn(_record: Incoming) -> None:
        await turn.wait()

    bench.work._next_turn = next_turn
    [task] = bench.start(incoming())
    await turns()
    assert [write.value for write in bench.outbox.written] == [b"a"]
    assert bench.finished == []
    turn.set()
    await task
    assert [write.value for write in bench.outbox.written] == [b"a", b"b"]
    assert bench.finished == [incoming()]


async def test_no_slot_is_held_while_a_slice_is_written_or_waited_for() -> None:
    bench = Bench(slicing([A], [B]), concurrency=1)
    bench.outbox.open.clear()
    tasks = bench.start(incoming(offset=1), incoming(offset=2))
    await turns()
    assert bench.work._slots.reserve() is not None
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_bug_in_a_later_slice_is_reported_for_the_whole_record() -> None:
    bench = Bench(slicing([A], ValueError("bad")))
    await bench.work.run(incoming())
    assert bench.outbox.topics == ["p.videos.validated.v1", "p.errors.v1"]
    assert len(bench.finished) == 1


async def test_what_is_written_of_each_slice_is_told() -> None:
    bench = Bench(slicing([A], [B, B]))
    sizes: list[int] = []
    bench.work._wrote = lambda _record, effects: sizes.append(len(effects))
    await bench.work.run(incoming())
    assert sizes == [1, 2]


async def test_log_lines_carry_the_request_of_their_record() -> None:
    seen: list[tuple[str, str]] = []

    async def handle(record: Incoming) -> Sequence[Effect]:
        await turns(record.offset)
        seen.append((REQUEST.get(), TRACE.get()))
        return ()

    bench = Bench(handle)
    headers = [
        ("ce_correlationid", b"r1"),
        ("traceparent", f"00-{TRACE_ID}-{'1' * 16}-01".encode()),
    ]
    await asyncio.gather(
        *bench.start(incoming(offset=1, key=None), incoming(key=None, headers=headers))
    )
    made = trace_id_of(incoming(offset=1, key=None))
    assert seen == [("requests-3-1-1700000000500", made), ("r1", TRACE_ID)]


@pytest.mark.parametrize("header", [b"\xff", b"", b"x"])
async def test_hostile_headers_do_no_harm(header: bytes) -> None:
    bench = Bench(returning())
    names = ("ce_correlationid", "traceparent")
    await bench.work.run(incoming(headers=[(name, header) for name in names]))
    assert len(bench.finished) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("bad"), ErrorCode.INTERNAL_BUG),
        (ClipmillError(ErrorCode.REQUEST_INVALID, "bad"), ErrorCode.REQUEST_INVALID),
    ],
)
def test_a_dead_letter_is_the_record_as_it_was_and_why(error: Exception, code: str) -> None:
    record = incoming(b"\xff\x00", key=b"\xfe", headers=[("a", b"1"), ("a", b"\xff")])
    letter = dead_letter(record, error, "validation")
    own, facts = split_headers(letter.headers)
    assert (letter.topic, letter.key, letter.value) == (DEADLETTERS, b"\xfe", b"\xff\x00")
    assert own == (("a", b"1"), ("a", b"\xff"))
    assert facts is not None
    assert (facts.step, facts.code, facts.attempts) == ("validation", code, 1)


async def test_a_dead_letter_names_its_origin_as_it_is_called_on_kafka() -> None:
    bench = Bench(returning(dead_letter(incoming(), ValueError("bad"), "test")))
    await bench.work.run(incoming())
    assert dict(bench.outbox.written[0].headers)["kafka_dlt-original-topic"] == b"p.requests.v1"


async def test_too_many_dead_letters_stop_the_intake_in_the_same_breath() -> None:
    record = replace(incoming(), topic="videos.validated")
    bench = Bench(returning(*[dead_letter(record, ValueError("bad"), "test")] * 101))
    await bench.work.run(record)
    assert bench.outbox.topics[-1] == "p.signals.v1"
    assert bench.outbox.written[-1].key == b"intake/test"
    assert b"clipmill resume test" in (bench.outbox.written[-1].value or b"")


def test_a_tombstone_stays_one_as_a_dead_letter() -> None:
    assert dead_letter(incoming(None), ValueError(), "s").value is None


BEAT = replace(incoming(timestamp=4e9), topic=HEARTBEATS.name)


def sample(name: str) -> float:
    return REGISTRY.get_sample_value(f"clipmill_{name}", {"stage": "test"}) or 0.0


async def test_a_heartbeat_is_finished_without_the_handler_and_counts_as_no_record() -> None:
    counts = sample("stage_records_in_total"), sample("heartbeat_duration_seconds_count")
    bench = Bench(raising(AssertionError("a heartbeat is no work")))
    await bench.work.run(BEAT)
    assert (bench.finished, bench.outbox.written) == ([BEAT], [])
    after = sample("stage_records_in_total"), sample("heartbeat_duration_seconds_count")
    assert after == (counts[0], counts[1] + 1)


async def test_no_heartbeat_is_finished_while_all_handlers_hang() -> None:
    release = asyncio.Event()

    async def hang(_record: Incoming) -> Sequence[Effect]:
        await release.wait()
        return ()

    bench = Bench(hang, concurrency=2)
    tasks = bench.start(incoming(offset=1), incoming(offset=2), BEAT)
    await turns()
    assert bench.finished == []
    release.set()
    await asyncio.gather(*tasks)
    assert BEAT in bench.finished


async def test_no_heartbeat_is_finished_while_the_cluster_takes_no_records() -> None:
    bench = Bench(returning())
    bench.outbox.free.clear()
    [task] = bench.start(BEAT)
    await turns()
    assert bench.finished == []
    bench.outbox.free.set()
    await task
    assert bench.finished == [BEAT]
