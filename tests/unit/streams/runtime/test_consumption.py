"""Consumption of a stage, with its dispatcher and tasks: records are accepted, held, started once,
and acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextvars import Context
from itertools import islice, pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streams.claims import Claim, TopicPath, claim_of
from streams.cluster.record_batches import UndecodableBatch
from streams.cluster.shared_state import SharedState
from streams.faust_driver.app import to_incoming
from streams.faust_driver.consumer import OffsetReset
from streams.intake import Intake
from streams.records import Effect, Incoming, Outgoing, TableWrite
from streams.runtime import dispatcher, write_batches
from streams.runtime.back_pressure import BackPressureGate, GroupProgress, Meter
from streams.runtime.chaining import Processed
from streams.runtime.concurrency import ConcurrencyLimit, slot_released
from streams.runtime.consumption import Consumption
from streams.runtime.dispatcher import HELD_BYTES_MAX
from streams.runtime.offset_tracker import OffsetTracker, SkippedOffsetsError
from streams.runtime.stall_detector import Position, StallDetector
from streams.runtime.write_batches import BATCH_RECORDS
from streams.settings import StageSettings
from streams.stage import Stage
from streams.topics import AUDIT, HEARTBEATS, REQUESTS
from streams.tracing.scope import Scope

P = ("requests", 0)
TOPIC_PARTITION = ("clipmill.requests.v1", 0)
HEARTBEAT_PARTITION = ("clipmill.heartbeats.v1", 0)


class FakeConsumer:
    """Consumer with given start offsets; records the acknowledged offsets."""

    def __init__(self) -> None:
        self.starts: dict[Any, int] = {}
        self.flow_active = True
        self.acked: list[int] = []
        self.acked_heartbeats: list[int] = []

    def start_offset(self, tp: Any) -> int | None:
        return self.starts.get(tp)

    def acknowledge(self, tp: Any, offset: int) -> None:
        (self.acked if tp == TOPIC_PARTITION else self.acked_heartbeats).append(offset)


class Pending:
    """Pending rows of the open batch."""

    def __init__(self) -> None:
        self.pending: list[TableWrite] = []

    def add_pending(self, rows: Sequence[TableWrite]) -> None:
        self.pending += rows

    def clear_pending(self) -> None:
        self.pending.clear()


class ConsumptionHarness:
    """Consumption without Faust; a test delivers events and releases their processing."""

    def __init__(
        self,
        *,
        window: int = 100,
        due: Any = None,
        concurrency: int = 8,
        started_max: int = 100,
        claim: Any = claim_of,
        ordered: bool = True,
    ) -> None:
        self.releases: dict[int, asyncio.Event] = {}
        self.started: list[int] = []
        self.cancel_slowly = asyncio.Event()
        self.cancel_slowly.set()
        self.error: Exception | None = None
        self.warnings: list[str] = []
        self.consumer = FakeConsumer()
        self.acked = self.consumer.acked
        self.app = SimpleNamespace(consumer_generation_id=1, consumer=self.consumer)
        self.offsets = OffsetTracker()
        self.intake = Intake("toy")
        self.shared_state = SharedState()
        self.meter = Meter(StageSettings(backlog_records=4))
        self.gate = BackPressureGate({AUDIT: self.meter}, lambda: 1.0)
        self.concurrency_limit = ConcurrencyLimit(concurrency)
        self.consumption = Consumption(
            Stage(
                "toy",
                (REQUESTS,),
                open=lambda _: NotImplemented,
                on_bug=lambda *_: (),
                due=due,
                claim=claim,
                ordered=ordered,
            ),
            app=self.app,
            offsets=self.offsets,
            intake=self.intake,
            shared_state=self.shared_state,
            window=window,
            concurrency_limit=self.concurrency_limit,
            gate=self.gate,
            started_max=started_max,
            warn=self.warnings.append,
        )
        self.tasks = self.consumption.dispatcher.tasks
        self.writer = Pending()
        self.tasks.processor = self

    def run_sync(self, _record: Incoming) -> Processed | None:
        return None

    async def write_batch(self, batch: Sequence[Processed]) -> None:
        raise NotImplementedError

    async def run(self, record: Incoming) -> None:
        async with self.concurrency_limit.acquire():
            if record.topic != HEARTBEATS.name:
                await self._work(record)
        if record.topic == HEARTBEATS.name:
            self.consumption.acknowledge([record])

    async def _work(self, record: Incoming) -> None:
        self.started.append(record.offset)
        try:
            await self.releases.setdefault(record.offset, asyncio.Event()).wait()
        except asyncio.CancelledError:
            await self.cancel_slowly.wait()
            raise
        if self.error:
            raise self.error
        self.consumption.acknowledge([record])

    def release(self, *offsets: int) -> None:
        for offset in offsets:
            self.releases.setdefault(offset, asyncio.Event()).set()

    async def accept(
        self,
        offset: int,
        *,
        generation: int | None = None,
        key: bytes | None = None,
        value: bytes = b"{}",
    ) -> None:
        polled = self.polled(offset, key=key, value=value)
        now = self.app.consumer_generation_id
        async with asyncio.timeout(1):
            await self.consumption.accept(
                REQUESTS, TOPIC_PARTITION, polled, now if generation is None else generation
            )
        await yield_to_tasks()

    def polled(self, offset: int, *, key: bytes | None = None, value: bytes = b"{}") -> Any:
        return SimpleNamespace(
            partition=0,
            offset=offset,
            key=key or str(offset).encode(),
            value=value,
            headers=(("ce_correlationid", b"r%d" % offset),),
            timestamp=1_500,
        )

    async def heartbeat(self, offset: int, key: bytes = b"0") -> None:
        """Deliver a heartbeat."""
        polled = self.polled(offset, key=key)
        polled.headers = ()
        async with asyncio.timeout(1):
            await self.consumption.accept(
                HEARTBEATS, HEARTBEAT_PARTITION, polled, self.app.consumer_generation_id
            )
        await yield_to_tasks()

    def rebalance(self, *partitions: tuple[str, int]) -> None:
        self.app.consumer_generation_id += 1
        self.offsets.suspend()
        self.consumption.retain(set(partitions))

    @property
    def held(self) -> int:
        return len(self.tasks) + len(self.tasks._orphans)

    @property
    def free(self) -> int:
        return self.consumption._windows["requests"]._value


async def yield_to_tasks(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
async def harness() -> AsyncIterator[ConsumptionHarness]:
    made = ConsumptionHarness()
    yield made
    made.cancel_slowly.set()
    await made.consumption.drain(0)


async def test_events_are_acknowledged_in_offset_order(harness: ConsumptionHarness) -> None:
    for offset in range(3):
        await harness.accept(offset)
    harness.release(2)
    harness.release(1)
    await yield_to_tasks()
    assert harness.acked == []
    harness.release(0)
    await yield_to_tasks()
    assert harness.acked == [0, 1, 2]
    assert harness.held == 0


async def test_event_of_an_older_generation_is_not_started(harness: ConsumptionHarness) -> None:
    await harness.accept(0, generation=0)
    assert harness.started == []


async def test_in_flight_record_survives_a_rebalance_and_is_not_restarted(
    harness: ConsumptionHarness,
) -> None:
    await harness.accept(0)
    harness.rebalance(P)
    await harness.accept(0)
    assert harness.started == [0]
    harness.release(0)
    await yield_to_tasks()
    assert harness.acked == [0]


async def test_record_accepted_during_a_rebalance_is_read_again() -> None:
    """As when the agent waits for space while the partitions are revoked."""
    harness = ConsumptionHarness(window=1)
    await harness.accept(0)
    accepting = asyncio.create_task(harness.accept(1))
    await yield_to_tasks()
    harness.offsets.suspend()
    harness.consumer.flow_active = False
    harness.release(0)
    await accepting
    assert (harness.started, harness.consumption.failure, harness.free) == ([0], None, 1)
    harness.consumer.flow_active = True
    harness.rebalance(P)
    harness.release(1)
    await harness.accept(0)
    await harness.accept(1)
    assert (harness.started, harness.acked) == ([0, 1], [0, 1])
    await harness.consumption.drain(0)


async def test_in_flight_record_of_a_revoked_partition_is_cancelled(
    harness: ConsumptionHarness,
) -> None:
    await harness.accept(0)
    harness.rebalance()
    await yield_to_tasks()
    assert harness.held == 0
    assert harness.acked == []


async def test_partition_reassigned_while_its_old_task_is_still_cancelling(
    harness: ConsumptionHarness,
) -> None:
    harness.cancel_slowly.clear()
    await harness.accept(0)
    harness.rebalance()
    await yield_to_tasks()
    harness.rebalance(P)
    await harness.accept(0)
    harness.cancel_slowly.set()
    await yield_to_tasks()
    assert harness.held == 1, "the new task is still tracked, so that it can be cancelled"
    assert harness.free == 99
    harness.release(0)
    await yield_to_tasks()
    assert harness.acked == [0]
    assert harness.held == 0
    assert harness.free == 100
    assert harness.consumption.failure is None


async def test_first_event_beyond_the_committed_offset_fails_the_stage(
    harness: ConsumptionHarness,
) -> None:
    harness.consumer.starts[TOPIC_PARTITION] = 5
    await harness.accept(6)
    assert isinstance(harness.consumption.failure, SkippedOffsetsError)
    assert harness.started == []


async def test_offset_gap_fails_the_stage_and_starts_nothing_more(
    harness: ConsumptionHarness,
) -> None:
    await harness.accept(0)
    await harness.accept(2)
    await harness.accept(3)
    assert harness.started == [0]
    assert isinstance(harness.consumption.failure, SkippedOffsetsError)


async def test_window_bounds_the_held_records() -> None:
    harness = ConsumptionHarness(window=2)
    await harness.accept(0)
    await harness.accept(1)
    with pytest.raises(TimeoutError):
        await harness.accept(2)
    harness.release(0)
    await yield_to_tasks()
    await harness.accept(2)
    assert harness.started == [0, 1, 2]
    await harness.consumption.drain(0)


async def test_events_that_are_not_started_take_no_window() -> None:
    harness = ConsumptionHarness(window=2)
    await harness.accept(0)
    for _ in range(5):
        harness.rebalance(P)
        await harness.accept(0)
        await harness.accept(7, generation=0)
    harness.release(0)
    await yield_to_tasks()
    assert harness.free == 2
    assert harness.acked == [0]


async def test_processing_error_fails_the_stage(harness: ConsumptionHarness) -> None:
    harness.error = RuntimeError("broken")
    harness.release(0)
    await harness.accept(0)
    assert harness.acked == []
    assert isinstance(harness.consumption.failure, RuntimeError)


@pytest.mark.parametrize(("grace", "acked"), [(1.0, [0]), (0.0, [])])
async def test_drain_lets_records_finish_within_the_grace_period(
    harness: ConsumptionHarness, grace: float, acked: list[int]
) -> None:
    await harness.accept(0)
    asyncio.get_running_loop().call_later(0.02, harness.release, 0)
    await harness.consumption.drain(grace)
    assert harness.acked == acked
    assert harness.held == 0


async def test_drain_does_not_wait_beyond_the_grace_period(harness: ConsumptionHarness) -> None:
    await harness.accept(0)
    async with asyncio.timeout(1):
        await harness.consumption.drain(0.02)
    assert (harness.acked, harness.held) == ([], 0)


async def test_events_after_drain_are_not_started(harness: ConsumptionHarness) -> None:
    await harness.consumption.drain(0)
    await harness.accept(0)
    assert harness.started == []


# A paused intake


async def test_paused_intake_blocks_new_records_while_started_ones_finish(
    harness: ConsumptionHarness,
) -> None:
    await harness.accept(0)
    harness.intake.pause("disk", "the disk is full")
    with pytest.raises(TimeoutError):
        await harness.accept(1)
    harness.release(0)
    await yield_to_tasks()
    assert harness.acked == [0]
    harness.intake.resume("disk")
    harness.release(1)
    await harness.accept(1)
    assert harness.started == harness.acked == [0, 1]
    assert harness.free == 100


async def test_rebalance_during_a_pause_loses_no_record(harness: ConsumptionHarness) -> None:
    harness.intake.pause("disk", "the disk is full")
    accepting = asyncio.create_task(harness.accept(0))
    await yield_to_tasks()
    harness.rebalance(P)
    harness.intake.resume("disk")
    await accepting
    harness.release(0)
    await harness.accept(0)
    assert harness.started == harness.acked == [0]


# Delayed records


@pytest.fixture
async def delayed() -> AsyncIterator[ConsumptionHarness]:
    """Consumption whose records below offset 10 are never due."""
    made = ConsumptionHarness(
        window=3, due=lambda record, _now: 0.0 if record.offset >= 10 else 1e12
    )
    made.consumption.start()
    yield made
    await made.consumption.drain(0)


async def test_record_that_is_not_due_is_held_without_a_task(delayed: ConsumptionHarness) -> None:
    await delayed.accept(0)
    assert (delayed.started, delayed.held, delayed.free) == ([], 0, 2)
    assert delayed.offsets.in_flight(P) == 1


async def test_delayed_records_do_not_count_as_stalled(delayed: ConsumptionHarness) -> None:
    moments = iter([0.0, 10.0, 1_000.0])
    detector = StallDetector(1, lambda: next(moments))
    await delayed.accept(0)
    for _ in range(3):
        position = Position(
            end=9,
            committed=0,
            delivered=delayed.offsets.delivered(P),
            in_flight=delayed.offsets.in_flight(P),
        )
        detector.observe({P: position})


async def test_due_record_overtakes_but_is_acknowledged_in_order(
    delayed: ConsumptionHarness,
) -> None:
    await delayed.accept(9)
    await delayed.accept(10)
    delayed.release(9, 10)
    await yield_to_tasks()
    assert (delayed.started, delayed.acked) == ([10], [])
    delayed.shared_state.put("cancel/r9", b"{}")
    await yield_to_tasks()
    assert (delayed.started, delayed.acked, delayed.free) == ([10, 9], [9, 10], 3)


async def test_delayed_record_survives_a_rebalance_and_is_held_once(
    delayed: ConsumptionHarness,
) -> None:
    await delayed.accept(0)
    delayed.rebalance(P)
    await delayed.accept(0)
    assert delayed.consumption.delay_queue is not None
    assert (len(delayed.consumption.delay_queue), delayed.free) == (1, 2)


async def test_delayed_records_of_a_revoked_partition_are_dropped(
    delayed: ConsumptionHarness,
) -> None:
    await delayed.accept(0)
    await delayed.accept(1)
    delayed.rebalance()
    assert delayed.consumption.delay_queue is not None
    assert (len(delayed.consumption.delay_queue), delayed.free, delayed.started) == (0, 3, [])
    delayed.rebalance(P)
    await delayed.accept(0)
    assert len(delayed.consumption.delay_queue) == 1


async def test_window_bounds_the_delayed_records(delayed: ConsumptionHarness) -> None:
    for offset in range(3):
        await delayed.accept(offset)
    with pytest.raises(TimeoutError):
        await delayed.accept(3)


async def test_drain_starts_no_delayed_record(delayed: ConsumptionHarness) -> None:
    await delayed.accept(0)
    await delayed.consumption.drain(1)
    delayed.shared_state.put("cancel/r0", b"{}")
    await yield_to_tasks()
    assert delayed.started == []


async def test_error_in_the_delay_queue_fails_the_stage(delayed: ConsumptionHarness) -> None:
    def broken(_record: Incoming) -> Any:
        raise RuntimeError("broken")

    assert delayed.consumption.delay_queue is not None
    delayed.consumption.delay_queue._start = broken
    await delayed.accept(10)
    assert delayed.consumption.failure is not None


# Order of records


def ranked(*ranks: int, path: TopicPath = (), cost: int = 1) -> Callable[[Incoming], Claim]:
    """Return claims with these ranks by offset."""

    def claim(record: Incoming) -> Claim:
        return Claim(ranks[record.offset], path, cost, request=f"r{record.offset}")

    return claim


@pytest.fixture
async def make_harness() -> AsyncIterator[Callable[..., ConsumptionHarness]]:
    """Return a factory of harnesses that are drained after the test."""
    made: list[ConsumptionHarness] = []

    def make(**options: Any) -> ConsumptionHarness:
        made.append(ConsumptionHarness(**options))
        made[-1].consumption.start()
        return made[-1]

    yield make
    for harness in made:
        harness.cancel_slowly.set()
        await harness.consumption.drain(0)


HarnessFactory = Callable[..., ConsumptionHarness]


async def test_held_record_with_the_highest_rank_is_started_first(
    make_harness: HarnessFactory,
) -> None:
    harness = make_harness(concurrency=1, claim=ranked(5, 5, 7, 5, 9))
    for offset in range(5):
        await harness.accept(offset)
    for offset in (0, 4, 2, 1, 3):
        assert harness.started[-1] == offset
        harness.release(offset)
        await yield_to_tasks()
    assert harness.acked == [0, 1, 2, 3, 4]


async def test_records_of_one_key_are_processed_in_order_one_at_a_time(
    make_harness: HarnessFactory,
) -> None:
    harness = make_harness(claim=ranked(0, 1, 9))
    for offset in range(3):
        await harness.accept(offset, key=b"k")
    for offset in range(3):
        assert harness.started == list(range(offset + 1))
        harness.release(offset)
        await yield_to_tasks()


async def test_unordered_stage_processes_one_key_concurrently(make_harness: HarnessFactory) -> None:
    harness = make_harness(ordered=False)
    await harness.accept(0, key=b"k")
    await harness.accept(1, key=b"k")
    assert harness.started == [0, 1]


async def test_record_that_waits_for_its_key_takes_no_slot(make_harness: HarnessFactory) -> None:
    harness = make_harness(concurrency=2)
    for offset in range(5):
        await harness.accept(offset, key=b"slow")
    await harness.accept(5, key=b"quick")
    assert harness.started == [0, 5]


async def test_started_records_are_bounded_by_slots_and_started_max(
    make_harness: HarnessFactory,
) -> None:
    few_slots, few_started = make_harness(concurrency=2), make_harness(started_max=3)
    for offset in range(6):
        await few_slots.accept(offset)
        await few_started.accept(offset)
    assert few_slots.started == [0, 1]
    assert few_started.started == [0, 1, 2]


async def test_records_are_started_only_with_downstream_capacity(
    make_harness: HarnessFactory,
) -> None:
    harness = make_harness(claim=ranked(10, 10, path=(AUDIT,)))
    harness.meter.observe(GroupProgress(end=100, finished=0), 0.0)
    await harness.accept(0)
    await harness.accept(1)
    assert harness.started == []
    harness.meter.observe(GroupProgress(end=100, finished=99), 1.0)
    harness.consumption.on_capacity()
    await yield_to_tasks()
    assert harness.started == [0, 1]


async def test_error_in_a_claim_is_logged_and_the_record_started(
    make_harness: HarnessFactory, caplog: pytest.LogCaptureFixture
) -> None:
    harness = make_harness(claim=ranked(1))
    await harness.accept(0)
    await harness.accept(1)
    assert harness.started == [0, 1]
    assert "requests-0-1" in caplog.text


async def test_high_rank_is_started_while_lower_ranks_are_blocked(
    make_harness: HarnessFactory,
) -> None:
    harness = make_harness(claim=ranked(10, 19, path=(AUDIT,)))
    harness.meter.observe(GroupProgress(end=4, finished=0), 0.0)
    await harness.accept(0)
    await harness.accept(1)
    assert harness.started == [1]


@pytest.mark.parametrize("early", [False, True])
async def test_cancelled_record_is_started_at_once_without_capacity(
    make_harness: HarnessFactory, *, early: bool
) -> None:
    harness = make_harness(claim=ranked(19, 0, path=(AUDIT,)))
    harness.meter.observe(GroupProgress(end=100, finished=0), 0.0)
    if early:
        harness.shared_state.put("cancel/r1", b"{}")
    await harness.accept(0)
    await harness.accept(1)
    harness.shared_state.put("cancel/r1", None)
    harness.shared_state.put("cancel/r1", b"{}")
    await yield_to_tasks()
    assert harness.started == [1]


async def test_held_record_is_not_started_while_the_intake_is_paused(
    make_harness: HarnessFactory,
) -> None:
    harness = make_harness(concurrency=1)
    await harness.accept(0)
    await harness.accept(1)
    harness.intake.pause("disk", "the disk is full")
    harness.release(0)
    await yield_to_tasks()
    assert (harness.started, harness.acked) == ([0], [0])
    harness.intake.resume("disk")
    await yield_to_tasks()
    assert harness.started == [0, 1]


async def test_held_records_of_a_revoked_partition_are_dropped(
    make_harness: HarnessFactory,
) -> None:
    harness = make_harness(concurrency=1, window=3)
    for offset in range(3):
        await harness.accept(offset)
    harness.rebalance()
    await yield_to_tasks()
    assert (harness.started, harness.held, harness.free) == ([0], 0, 3)
    harness.rebalance(P)
    for offset in range(3):
        await harness.accept(offset)
        harness.release(offset)
    await yield_to_tasks()
    assert harness.acked == [0, 1, 2]


async def test_held_record_survives_a_rebalance_and_is_started_once(
    make_harness: HarnessFactory,
) -> None:
    harness = make_harness(concurrency=1)
    await harness.accept(0)
    await harness.accept(1)
    harness.rebalance(P)
    await harness.accept(0)
    await harness.accept(1)
    harness.release(0, 1)
    await yield_to_tasks()
    assert (harness.started, harness.acked) == ([0, 1], [0, 1])


async def test_drain_starts_no_held_record(make_harness: HarnessFactory) -> None:
    harness = make_harness(concurrency=1)
    await harness.accept(0)
    await harness.accept(1)
    asyncio.get_running_loop().call_later(0.02, harness.release, 0)
    await harness.consumption.drain(1)
    assert (harness.started, harness.acked) == ([0], [0])


async def test_held_bytes_are_bounded(make_harness: HarnessFactory) -> None:
    harness = make_harness(concurrency=1)
    large = b"x" * (HELD_BYTES_MAX // 2)
    for offset in range(3):
        await harness.accept(offset, value=large)
    with pytest.raises(TimeoutError):
        await harness.accept(3, value=b"")
    harness.release(0)
    await yield_to_tasks()
    await harness.accept(3, value=b"")
    assert harness.offsets.in_flight(P) == 3


async def test_task_cancelled_before_it_runs_returns_its_slot(
    make_harness: HarnessFactory,
) -> None:
    harness = make_harness(concurrency=1)
    await harness.consumption.accept(REQUESTS, TOPIC_PARTITION, harness.polled(0), 1)
    harness.rebalance()
    await yield_to_tasks()
    harness.rebalance(P)
    await harness.accept(0)
    assert harness.started == [0]


# Slices


class SlicingHarness(ConsumptionHarness):
    """Consumption of records with as many slices as their value."""

    async def run(self, record: Incoming) -> None:
        for left in range(int(record.value or b"0"), -1, -1):
            async with self.concurrency_limit.acquire():
                self.started += [record.offset] * (left > 0)
            if left:
                await self.consumption.dispatcher.next_slice(record)
        self.offsets.finish((record.topic, record.partition), record.offset)


async def test_higher_rank_is_started_between_two_slices() -> None:
    harness = SlicingHarness(concurrency=1, claim=ranked(1, 1, 9))
    blocked = harness.concurrency_limit.reserve()
    for offset, slices in enumerate((b"3", b"2", b"1")):
        await harness.accept(offset, value=slices)
    blocked.release()
    await yield_to_tasks(60)
    assert harness.started[0] == 2
    assert sorted(harness.started) == [0, 0, 0, 1, 1, 2]
    assert harness.acked == [0, 1, 2]
    assert harness.concurrency_limit.has_free_slot


async def test_slices_wait_for_downstream_capacity() -> None:
    harness = SlicingHarness(claim=ranked(10, path=(AUDIT,), cost=4))
    harness.meter.observe(GroupProgress(end=0, finished=0), 0.0)
    await harness.accept(0, value=b"3")
    assert harness.started == [0]
    for number in (2, 3):
        harness.meter.observe(GroupProgress(end=0, finished=0), 1.0)
        harness.gate.reset_spent()
        harness.consumption.on_capacity()
        await yield_to_tasks()
        assert len(harness.started) == number
    await harness.consumption.drain(0)


async def test_slices_of_started_records_interleave() -> None:
    harness = SlicingHarness(started_max=2, claim=ranked(1, 1, 1))
    for offset in range(3):
        await harness.accept(offset, value=b"4")
    await yield_to_tasks(60)
    assert harness.acked == [0, 1, 2]


@pytest.mark.parametrize("has_turn", [False, True])
async def test_record_cancelled_between_slices_loses_no_slot(*, has_turn: bool) -> None:
    harness = SlicingHarness(concurrency=1, claim=ranked(10, path=(AUDIT,), cost=4))
    harness.meter.observe(GroupProgress(end=0, finished=0), 0.0)
    await harness.accept(0, value=b"9")
    assert harness.started == [0]
    if has_turn:
        harness.meter.observe(GroupProgress(end=0, finished=0), 1.0)
        harness.gate.reset_spent()
        harness.consumption.on_capacity()
    harness.rebalance()
    await yield_to_tasks()
    assert (harness.started, harness.held) == ([0], 0)
    assert harness.concurrency_limit.has_free_slot


async def test_cancelled_slice_leaks_no_slot_before_its_task_runs() -> None:
    harness = SlicingHarness(concurrency=1, claim=ranked(10, path=(AUDIT,), cost=4))
    harness.meter.observe(GroupProgress(end=0, finished=0), 0.0)
    await harness.accept(0, value=b"9")
    harness.meter.observe(GroupProgress(end=0, finished=0), 1.0)
    harness.gate.reset_spent()
    harness.rebalance()
    harness.consumption.on_capacity()
    await yield_to_tasks()
    assert (harness.started, harness.held) == ([0], 0)
    assert harness.concurrency_limit.has_free_slot


async def test_output_beyond_the_claim_is_charged() -> None:
    harness = ConsumptionHarness(claim=ranked(10, 10, path=(AUDIT,)))
    harness.meter.observe(GroupProgress(end=1, finished=0), 0.0)
    await harness.accept(0)
    record = Incoming("requests", 0, 0, b"0", b"", (), 1.5)
    harness.consumption.dispatcher.charge(record, [Outgoing(AUDIT, None, None)] * 5)
    await harness.accept(1)
    assert harness.started == [0]
    await harness.consumption.drain(0)


async def test_record_with_a_released_slot_lets_the_next_one_start(
    make_harness: HarnessFactory,
) -> None:
    harness = make_harness(concurrency=1)
    response = asyncio.Event()

    async def run_with_slot_released(record: Incoming) -> None:
        async with harness.concurrency_limit.acquire():
            harness.started.append(record.offset)
            async with slot_released():
                await response.wait()

    harness.run = run_with_slot_released  # type: ignore[method-assign]
    for offset in range(3):
        await harness.accept(offset)
    assert harness.started == [0, 1, 2]
    response.set()
    await yield_to_tasks(40)
    assert harness.held == 0
    assert harness.concurrency_limit.has_free_slot


# Truncated logs

RESET = OffsetReset(TP("clipmill.requests.v1", 0), expected=120, start=0, end=5, reason="truncated")


async def test_task_of_a_truncated_log_continues_and_acknowledges_nothing(
    harness: ConsumptionHarness,
) -> None:
    await harness.accept(0)
    harness.consumption.reset_partition(REQUESTS, RESET)
    await harness.accept(0, key=b"new")
    assert (harness.started, harness.held) == ([0, 0], 2)
    [old] = harness.tasks._orphans
    new = harness.tasks._tasks[P, 0]
    harness.release(0)
    await yield_to_tasks()
    assert old.done()
    assert new.done()
    assert harness.acked == [0], "that of the new record"
    assert (harness.held, harness.free) == (0, 100)


async def test_held_records_of_a_truncated_log_are_dropped(make_harness: HarnessFactory) -> None:
    harness = make_harness(concurrency=1)
    await harness.accept(0)
    await harness.accept(1)
    harness.consumption.reset_partition(REQUESTS, RESET)
    await harness.accept(0, key=b"new")
    harness.release(0)
    await yield_to_tasks()
    assert (harness.started, harness.acked, harness.free) == ([0, 0], [0], 100)


async def test_drain_cancels_tasks_of_a_truncated_log(harness: ConsumptionHarness) -> None:
    await harness.accept(0)
    harness.consumption.reset_partition(REQUESTS, RESET)
    await harness.consumption.drain(0)
    assert (harness.acked, harness.held) == ([], 0)


async def test_delayed_records_of_a_truncated_log_are_dropped(delayed: ConsumptionHarness) -> None:
    await delayed.accept(0)
    delayed.consumption.reset_partition(REQUESTS, RESET)
    assert delayed.consumption.delay_queue is not None
    assert (len(delayed.consumption.delay_queue), delayed.free) == (0, 3)


async def test_offsets_without_records_are_skipped(harness: ConsumptionHarness) -> None:
    await harness.accept(0)
    harness.consumption.skip_gap(REQUESTS, TP(*TOPIC_PARTITION), 1, 3)
    await harness.accept(3)
    harness.release(0, 3)
    await yield_to_tasks()
    assert harness.acked == [0, 2, 3]
    assert harness.consumption.failure is None


class Polls:
    """Stream of a Faust agent that delivers one poll of one record."""

    def __init__(self, record: Any) -> None:
        self._record = record

    def noack(self) -> "Polls":
        return self

    async def events(self) -> AsyncIterator[Any]:
        polled = SimpleNamespace(partitions={TP(*TOPIC_PARTITION): [self._record]}, generation_id=1)
        yield SimpleNamespace(message=polled)


async def test_subscription_accepts_polls_and_applies_gaps_and_resets(
    harness: ConsumptionHarness,
) -> None:
    agents: dict[str, Any] = {}
    harness.app.topic = lambda name, **_: name
    harness.app.agent = lambda channel, name: (
        lambda body: agents.update({f"{channel} {name}": body})
    )
    harness.consumption.subscribe({TOPIC_PARTITION[0]: REQUESTS}, 1)
    [(name, body)] = agents.items()
    assert name == f"{TOPIC_PARTITION[0]} toy:requests"
    assert not harness.consumption.has_read

    value = UndecodableBatch(b"x")
    value.reason, value.first_offset, value.next_offset = "broken", 0, 1
    record = harness.polled(0, value=value)
    record.topic = TOPIC_PARTITION[0]
    await body(Polls(record))
    await yield_to_tasks()
    assert harness.consumption.has_read
    assert harness.started == [0]
    assert harness.warnings == [f"{TOPIC_PARTITION[0]}-0: {value.problem}"]

    consumer: Any = harness.consumer
    consumer.on_gap(TP(*TOPIC_PARTITION), 1, 3)
    harness.release(0)
    await yield_to_tasks()
    assert harness.acked == [0, 2]
    consumer.on_offset_reset(RESET)
    assert harness.warnings[1:] == [RESET.problem]


async def test_undecodable_batch_is_started_without_delay(delayed: ConsumptionHarness) -> None:
    await delayed.accept(0, value=UndecodableBatch(b"x"))
    assert delayed.started == [0]
    delayed.release(0)


def acked_heartbeats(harness: ConsumptionHarness) -> list[int]:
    return harness.consumer.acked_heartbeats


async def test_heartbeat_is_acknowledged_with_a_full_window() -> None:
    harness = ConsumptionHarness(window=3, concurrency=2)
    for offset in range(3):
        await harness.accept(offset)
    await harness.heartbeat(0)
    assert acked_heartbeats(harness) == [], "both slots are taken"
    harness.release(0)
    await yield_to_tasks()
    assert acked_heartbeats(harness) == [0]
    assert harness.started == [0, 1, 2]
    await harness.consumption.drain(0)


async def test_heartbeat_is_acknowledged_before_waiting_records(
    harness: ConsumptionHarness,
) -> None:
    for offset in range(20):
        await harness.accept(offset)
    await harness.heartbeat(0)
    harness.release(0)
    await yield_to_tasks()
    assert (acked_heartbeats(harness), harness.started) == ([0], list(range(9)))


async def test_heartbeat_does_not_wait_for_a_record_of_the_same_key(
    harness: ConsumptionHarness,
) -> None:
    await harness.accept(0, key=b"0")
    await harness.heartbeat(0, key=b"0")
    assert acked_heartbeats(harness) == [0]


async def test_heartbeat_does_not_wait_for_the_byte_limit() -> None:
    harness = ConsumptionHarness(concurrency=1)
    await harness.accept(0)
    await harness.accept(1, value=b"x" * HELD_BYTES_MAX)
    await harness.heartbeat(0)
    harness.release(0)
    await yield_to_tasks()
    assert acked_heartbeats(harness) == [0]
    await harness.consumption.drain(0)


async def test_heartbeat_is_not_acknowledged_while_the_intake_is_paused(
    harness: ConsumptionHarness,
) -> None:
    harness.intake.pause("disk", "is full")
    heartbeat = asyncio.create_task(harness.heartbeat(0))
    await yield_to_tasks()
    assert acked_heartbeats(harness) == []
    harness.intake.resume("disk")
    await heartbeat
    assert acked_heartbeats(harness) == [0]


async def test_heartbeat_bypasses_the_delay_queue() -> None:
    def due(record: Incoming, _now: float) -> float:
        assert record.topic == REQUESTS.name
        return 4e9

    harness = ConsumptionHarness(due=due, ordered=False)
    harness.consumption.start()
    await harness.accept(0)
    await harness.heartbeat(0)
    assert (acked_heartbeats(harness), harness.started) == ([0], [])
    await harness.consumption.drain(0)


# Synchronous processing


class SyncHarness(ConsumptionHarness):
    """Consumption whose records need no task; a test releases the writes of batches.

    Attributes:
        processed: offsets, in order.
        batches: offsets of each batch whose effects are being written.
        waits: offsets of records that need a task.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.processed: list[int] = []
        self.batches: list[list[int]] = []
        self.waits: set[int] = set()
        self.effects: list[Effect] = []
        self.rows: list[TableWrite] = []
        self.acknowledged = asyncio.Event()
        self.acknowledged.set()

    def run_sync(self, record: Incoming) -> Processed | None:
        if record.topic == HEARTBEATS.name or record.offset in self.waits:
            return None
        self.processed.append(record.offset)
        scope = cast(Scope, None)
        return Processed(record, self.effects, scope, 0, 0.0, Context(), self.rows)

    async def write_batch(self, batch: Sequence[Processed]) -> None:
        self.batches.append([each.record.offset for each in batch])
        await self.acknowledged.wait()
        if self.error:
            raise self.error
        self.consumption.acknowledge([each.record for each in batch])

    async def deliver(self, *offsets: int, partition: int = 0, key: bytes | None = None) -> None:
        """Deliver records in one iteration of the event loop, as from one poll."""
        async with asyncio.timeout(1):
            for offset in offsets:
                polled = self.polled(offset, key=key)
                polled.partition = partition
                tp = (TOPIC_PARTITION[0], partition)
                await self.consumption.accept(REQUESTS, tp, polled, self.app.consumer_generation_id)


@pytest.fixture
async def sync() -> AsyncIterator[SyncHarness]:
    made = SyncHarness()
    yield made
    made.acknowledged.set()
    await made.consumption.drain(1)


async def test_records_of_one_poll_are_written_together(sync: SyncHarness) -> None:
    await sync.deliver(0, 1, 2)
    await yield_to_tasks()
    assert (sync.processed, sync.batches) == ([0, 1, 2], [[0, 1, 2]])
    assert (sync.acked, sync.held, sync.free) == ([0, 1, 2], 0, 100)
    await sync.deliver(3)
    await yield_to_tasks()
    assert sync.acked == [0, 1, 2, 3]


async def test_records_of_all_partitions_are_written_together(sync: SyncHarness) -> None:
    await sync.deliver(0, 1)
    await sync.deliver(0, partition=1)
    await yield_to_tasks()
    assert sync.batches == [[0, 1, 0]]


async def test_record_that_waits_is_acknowledged_in_order_with_those_that_do_not(
    sync: SyncHarness,
) -> None:
    sync.waits = {1}
    await sync.deliver(0, 1, 2)
    await yield_to_tasks()
    assert (sync.batches, sync.started, sync.acked) == ([[0, 2]], [1], [0])
    sync.release(1)
    await yield_to_tasks()
    assert sync.acked == [0, 1, 2]


async def test_records_in_flight_count_until_their_batch_is_written(sync: SyncHarness) -> None:
    sync.acknowledged.clear()
    await sync.deliver(0, 1, 2)
    await yield_to_tasks()
    assert (sync.acked, sync.held, sync.free) == ([], 3, 97)


async def test_records_of_one_key_without_rows_are_written_together(sync: SyncHarness) -> None:
    await sync.deliver(0, 1, 2, key=b"same")
    await yield_to_tasks()
    assert (sync.processed, sync.batches, sync.acked) == ([0, 1, 2], [[0, 1, 2]], [0, 1, 2])


@pytest.mark.parametrize("count", [2, BATCH_RECORDS])
async def test_rows_are_pending_until_their_batch_is_closed(sync: SyncHarness, count: int) -> None:
    sync.acknowledged.clear()
    sync.rows = [TableWrite("rows", "same", b"")]
    await sync.deliver(*range(count), key=b"same")
    assert sync.processed == [*range(count)]
    assert len(sync.writer.pending) == (count if count < BATCH_RECORDS else 0)
    await yield_to_tasks()
    assert (sync.batches, sync.writer.pending) == ([[*range(count)]], [])


async def test_record_of_a_key_that_is_being_written_waits(sync: SyncHarness) -> None:
    sync.acknowledged.clear()
    await sync.deliver(0, key=b"same")
    await yield_to_tasks()
    await sync.deliver(1, 2, key=b"same")
    await yield_to_tasks()
    assert sync.processed == [0]
    sync.acknowledged.set()
    await yield_to_tasks()
    assert (sync.batches, sync.acked) == ([[0], [1, 2]], [0, 1, 2])


async def test_record_that_needs_a_task_waits_for_the_batch_of_its_key(sync: SyncHarness) -> None:
    sync.waits = {1}
    sync.acknowledged.clear()
    await sync.deliver(0, 1, 2, key=b"same")
    await yield_to_tasks()
    assert (sync.processed, sync.started) == ([0], [])
    sync.acknowledged.set()
    await yield_to_tasks()
    assert (sync.batches, sync.started) == ([[0]], [1])
    sync.release(1)
    await yield_to_tasks()
    assert (sync.batches, sync.acked) == ([[0], [2]], [0, 1, 2])


async def test_records_that_join_a_batch_claim_capacity() -> None:
    sync = SyncHarness(claim=ranked(10, 10, 10, path=(AUDIT,)))
    sync.meter.observe(GroupProgress(end=3, finished=0), 0.0)
    await sync.deliver(0, 1, 2, key=b"same")
    await yield_to_tasks()
    assert sync.processed == [0]
    sync.meter.observe(GroupProgress(end=4, finished=4), 1.0)
    sync.consumption.on_capacity()
    await yield_to_tasks()
    assert sync.batches == [[0], [1, 2]]
    await sync.consumption.drain(1)


async def test_lower_rank_of_a_key_does_not_pass_a_higher_one_of_another() -> None:
    sync = SyncHarness(claim=ranked(9, 5, 7))
    sync.intake.pause("test", "")
    polled = [sync.polled(n, key=key) for n, key in enumerate((b"a", b"a", b"b"))]
    for each in polled:
        sync.consumption.dispatcher.submit(to_incoming(REQUESTS, each))
    sync.intake.resume("test")
    await yield_to_tasks()
    assert sync.processed == [0, 2, 1]


async def test_synchronous_record_keeps_no_slot() -> None:
    sync = SyncHarness(concurrency=1)
    sync.acknowledged.clear()
    await sync.deliver(0, 1, 2)
    assert sync.processed == [0, 1, 2]
    assert sync.concurrency_limit.has_free_slot
    sync.acknowledged.set()
    await sync.consumption.drain(1)


async def test_synchronous_record_waits_while_all_slots_are_taken() -> None:
    sync = SyncHarness(concurrency=1)
    sync.waits = {0}
    await sync.accept(0)
    await sync.deliver(1)
    assert sync.processed == []
    sync.release(0)
    await yield_to_tasks()
    assert sync.acked == [0, 1]


async def test_unwritten_records_are_bounded() -> None:
    sync = SyncHarness(started_max=3)
    sync.acknowledged.clear()
    await sync.deliver(*range(5))
    assert sync.processed == [0, 1, 2]
    sync.acknowledged.set()
    await yield_to_tasks()
    assert sync.acked == [0, 1, 2, 3, 4]


async def test_batches_are_bounded(monkeypatch: pytest.MonkeyPatch, sync: SyncHarness) -> None:
    monkeypatch.setattr(write_batches, "BATCH_RECORDS", 2)
    await sync.deliver(*range(5))
    await yield_to_tasks()
    assert sync.batches == [[0, 1], [2, 3], [4]]
    assert sync.acked == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("key", [None, b"same"])
async def test_event_loop_is_free_between_the_rounds_of_a_long_queue(
    monkeypatch: pytest.MonkeyPatch, key: bytes | None
) -> None:
    monkeypatch.setattr(dispatcher, "SYNC_RECORDS", 2)
    sync = SyncHarness(concurrency=1)
    sync.waits = {0}
    await sync.deliver(0)
    await sync.deliver(*range(1, 6), key=key)
    sync.release(0)
    counts = [0]
    for _ in range(20):
        await asyncio.sleep(0)
        counts.append(len(sync.processed))
    assert max(later - earlier for earlier, later in pairwise(counts)) <= 3
    assert sync.acked == [0, 1, 2, 3, 4, 5]


async def test_batch_of_a_revoked_partition_is_cancelled(sync: SyncHarness) -> None:
    sync.acknowledged.clear()
    await sync.deliver(0, partition=1)
    await yield_to_tasks()
    sync.rebalance(P)
    await yield_to_tasks()
    assert (sync.held, sync.free) == (0, 100)


async def test_records_in_the_batch_of_a_revoked_partition_are_written_again(
    sync: SyncHarness,
) -> None:
    sync.acknowledged.clear()
    await sync.deliver(0, 1)
    await sync.deliver(0, partition=1)
    await yield_to_tasks()
    sync.rebalance(P)
    await yield_to_tasks()
    assert (sync.batches, sync.held) == ([[0, 1, 0], [0, 1]], 2)
    await sync.deliver(0, 1, 2)
    sync.acknowledged.set()
    await yield_to_tasks()
    assert (sync.processed, sync.acked) == ([0, 1, 0, 2], [0, 1, 2])
    assert (sync.held, sync.free) == (0, 100)


async def test_orphan_in_the_batch_of_a_revoked_partition_is_written_again(
    sync: SyncHarness,
) -> None:
    sync.acknowledged.clear()
    await sync.deliver(0)
    await sync.deliver(0, partition=1)
    await yield_to_tasks()
    sync.consumption.reset_partition(REQUESTS, RESET)
    sync.rebalance()
    await yield_to_tasks()
    sync.acknowledged.set()
    await yield_to_tasks()
    assert (sync.batches, sync.acked) == ([[0, 0], [0]], [])
    assert (sync.held, sync.free) == (0, 100)


async def test_batch_cancelled_before_it_began_is_not_extended(sync: SyncHarness) -> None:
    await sync.deliver(0, 1)
    sync.rebalance()
    sync.consumer.starts[TOPIC_PARTITION] = 0
    await sync.deliver(0, 1)
    await yield_to_tasks()
    assert sync.batches == [[0, 1]]
    assert (sync.acked, sync.held, sync.free) == ([0, 1], 0, 100)


async def test_batch_survives_a_rebalance_and_is_not_processed_again(sync: SyncHarness) -> None:
    sync.acknowledged.clear()
    await sync.deliver(0, 1)
    await yield_to_tasks()
    sync.rebalance(P)
    await sync.deliver(0, 1, 2)
    sync.acknowledged.set()
    await yield_to_tasks()
    assert (sync.processed, sync.acked) == ([0, 1, 2], [0, 1, 2])


async def test_batch_of_a_truncated_log_acknowledges_nothing(sync: SyncHarness) -> None:
    sync.acknowledged.clear()
    await sync.deliver(0, 1)
    await yield_to_tasks()
    sync.consumption.reset_partition(REQUESTS, RESET)
    sync.acknowledged.set()
    await yield_to_tasks()
    assert (sync.acked, sync.held, sync.free) == ([], 0, 100)


async def test_error_in_a_batch_fails_the_stage(sync: SyncHarness) -> None:
    sync.error = ValueError("oops")
    await sync.deliver(0)
    await yield_to_tasks()
    assert isinstance(sync.consumption.failure, ValueError)
    assert sync.acked == []


async def test_drain_waits_for_batches(sync: SyncHarness) -> None:
    sync.acknowledged.clear()
    await sync.deliver(0, 1)
    draining = asyncio.create_task(sync.consumption.drain(5))
    await yield_to_tasks()
    sync.acknowledged.set()
    await draining
    assert sync.acked == [0, 1]


async def test_synchronous_output_beyond_the_claim_is_charged() -> None:
    sync = SyncHarness(claim=ranked(10, 10, path=(AUDIT,)))
    sync.meter.observe(GroupProgress(end=1, finished=0), 0.0)
    sync.effects = [Outgoing(AUDIT, None, None)] * 5
    await sync.deliver(0, 1)
    assert sync.processed == [0]
    await sync.consumption.drain(1)


@given(
    waits=st.sets(st.integers(0, 11)),
    keys=st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=12, max_size=12),
    rounds=st.lists(st.integers(1, 4), min_size=12),
)
def test_all_records_are_acknowledged_in_order_and_each_key_is_processed_in_order(
    waits: set[int], keys: list[bytes], rounds: list[int]
) -> None:
    async def check() -> None:
        sync = SyncHarness(concurrency=2)
        sync.waits = waits
        sync.release(*range(12))
        offsets = iter(range(12))
        for size in rounds:
            for offset in islice(offsets, size):
                await sync.deliver(offset, key=keys[offset])
            await asyncio.sleep(0)
        await yield_to_tasks(200)
        assert sync.acked == list(range(12))
        assert sorted([*sync.processed, *sync.started]) == list(range(12))
        for key in set(keys):
            own = [n for n in range(12) if keys[n] == key]
            assert [n for n in sync.processed if n in own] == [n for n in own if n not in waits]
            assert [n for n in sync.started if n in own] == [n for n in own if n in waits]
        assert sync.held == 0

    asyncio.run(check())
