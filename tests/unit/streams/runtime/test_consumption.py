"""The flow of a stage's records: taken in, held, started once, forgotten."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams.claims import Claim, Path, claim_of
from streams.cluster.record_batches import UndecodableBatch
from streams.cluster.shared_state import SharedState
from streams.faust_driver.consumer import OffsetReset
from streams.intake import Intake
from streams.records import Incoming, Outgoing
from streams.runtime.back_pressure import BackPressureGate, GroupProgress, Meter
from streams.runtime.concurrency import ConcurrencyLimit, aside
from streams.runtime.consumption import HELD_BYTES_MAX, Consumption
from streams.runtime.offset_tracker import InOrderAcks, SkippedOffsetsError
from streams.runtime.stall_detector import Position, Watchdog
from streams.settings import StageSettings
from streams.stage import Stage
from streams.topics import AUDIT, HEARTBEATS, REQUESTS

P = ("requests", 0)
PLACE = ("clipmill.requests.v1", 0)
BEAT_PLACE = ("clipmill.heartbeats.v1", 0)


class Consumer:
    """Knows where reading goes on, and notes what may be committed."""

    def __init__(self) -> None:
        self.starts: dict[Any, int] = {}
        self.acked: list[int] = []
        self.acked_beats: list[int] = []

    def start_of(self, tp: Any) -> int | None:
        return self.starts.get(tp)

    def acknowledge(self, tp: Any, offset: int) -> None:
        (self.acked if tp == PLACE else self.acked_beats).append(offset)


class Bench:
    """A flow without Faust; the test hands it the events and ends their work."""

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
        self.consumer = Consumer()
        self.acked = self.consumer.acked
        self.app = SimpleNamespace(consumer_generation_id=1, consumer=self.consumer)
        self.acks = InOrderAcks()
        self.intake = Intake("toy")
        self.signals = SharedState()
        self.meter = Meter(StageSettings(backlog_records=4))
        self.gate = BackPressureGate({AUDIT: self.meter}, lambda: 1.0)
        self.slots = ConcurrencyLimit(concurrency)
        self.flow = Consumption(
            Stage(
                "toy",
                (REQUESTS,),
                open=lambda _: NotImplemented,
                on_bug=lambda *_: (),
                due=due,
                claim=claim,
                ordered=ordered,
            ),
            self.run,
            app=self.app,
            acks=self.acks,
            intake=self.intake,
            signals=self.signals,
            window=window,
            slots=self.slots,
            gate=self.gate,
            started_max=started_max,
        )

    async def run(self, record: Incoming) -> None:
        async with self.slots.taken():
            if record.topic != HEARTBEATS.name:
                await self._work(record)
        if record.topic == HEARTBEATS.name:
            self.flow.finished(record)

    async def _work(self, record: Incoming) -> None:
        self.started.append(record.offset)
        try:
            await self.releases.setdefault(record.offset, asyncio.Event()).wait()
        except asyncio.CancelledError:
            await self.cancel_slowly.wait()
            raise
        if self.error:
            raise self.error
        self.flow.finished(record)

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
        event = self.event(offset, generation=generation, key=key, value=value)
        async with asyncio.timeout(1):
            await self.flow.accept(REQUESTS, event)
        await turns()

    def event(
        self,
        offset: int,
        *,
        generation: int | None = None,
        key: bytes | None = None,
        value: bytes = b"{}",
    ) -> Any:
        message = SimpleNamespace(
            partition=0,
            tp=PLACE,
            offset=offset,
            key=key or str(offset).encode(),
            value=value,
            headers=(("ce_correlationid", b"r%d" % offset),),
            timestamp=1.5,
            generation_id=self.app.consumer_generation_id if generation is None else generation,
        )
        return SimpleNamespace(message=message)

    async def beat(self, offset: int, key: bytes = b"0") -> None:
        """Hand over a heartbeat."""
        event = self.event(offset, key=key)
        event.message.tp = BEAT_PLACE
        event.message.headers = ()
        async with asyncio.timeout(1):
            await self.flow.accept(HEARTBEATS, event)
        await turns()

    def rebalance(self, *partitions: tuple[str, int]) -> None:
        self.app.consumer_generation_id += 1
        self.acks.suspend()
        self.flow.keep(set(partitions))

    @property
    def held(self) -> int:
        return len(self.flow)

    @property
    def free(self) -> int:
        return self.flow._windows["requests"]._value


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    made.cancel_slowly.set()
    await made.flow.finish(0)


async def test_events_are_acknowledged_in_order_whatever_ends_first(bench: Bench) -> None:
    for offset in range(3):
        await bench.accept(offset)
    bench.release(2)
    bench.release(1)
    await turns()
    assert bench.acked == []
    bench.release(0)
    await turns()
    assert bench.acked == [0, 1, 2]
    assert bench.held == 0


async def test_an_event_of_an_older_generation_is_not_started(bench: Bench) -> None:
    await bench.accept(0, generation=0)
    assert bench.started == []


async def test_running_work_survives_a_rebalance_and_is_not_repeated(bench: Bench) -> None:
    await bench.accept(0)
    bench.rebalance(P)
    await bench.accept(0)
    assert bench.started == [0]
    bench.release(0)
    await turns()
    assert bench.acked == [0]


async def test_work_of_a_lost_partition_is_cancelled(bench: Bench) -> None:
    await bench.accept(0)
    bench.rebalance()
    await turns()
    assert bench.held == 0
    assert bench.acked == []


async def test_a_partition_that_comes_back_while_its_old_work_still_ends(bench: Bench) -> None:
    bench.cancel_slowly.clear()
    await bench.accept(0)
    bench.rebalance()
    await turns()
    bench.rebalance(P)
    await bench.accept(0)
    bench.cancel_slowly.set()
    await turns()
    assert bench.held == 1, "the new work is still known, so that it can be cancelled"
    assert bench.free == 99
    bench.release(0)
    await turns()
    assert bench.acked == [0]
    assert bench.held == 0
    assert bench.free == 100
    assert bench.flow.failure is None


async def test_a_first_event_behind_the_committed_offset_stops_the_stage(bench: Bench) -> None:
    bench.consumer.starts[PLACE] = 5
    await bench.accept(6)
    assert isinstance(bench.flow.failure, SkippedOffsetsError)
    assert bench.started == []


async def test_a_gap_stops_the_stage_and_nothing_more_is_started(bench: Bench) -> None:
    await bench.accept(0)
    await bench.accept(2)
    await bench.accept(3)
    assert bench.started == [0]
    assert isinstance(bench.flow.failure, SkippedOffsetsError)


async def test_the_window_bounds_what_is_held() -> None:
    bench = Bench(window=2)
    await bench.accept(0)
    await bench.accept(1)
    with pytest.raises(TimeoutError):
        await bench.accept(2)
    bench.release(0)
    await turns()
    await bench.accept(2)
    assert bench.started == [0, 1, 2]
    await bench.flow.finish(0)


async def test_events_that_are_not_started_leave_the_window_open() -> None:
    bench = Bench(window=2)
    await bench.accept(0)
    for _ in range(5):
        bench.rebalance(P)
        await bench.accept(0)
        await bench.accept(7, generation=0)
    bench.release(0)
    await turns()
    assert bench.free == 2
    assert bench.acked == [0]


async def test_work_that_breaks_stops_the_stage(bench: Bench) -> None:
    bench.error = RuntimeError("broken")
    bench.release(0)
    await bench.accept(0)
    assert bench.acked == []
    assert isinstance(bench.flow.failure, RuntimeError)


@pytest.mark.parametrize(("grace", "acked"), [(1.0, [0]), (0.0, [])])
async def test_closing_lets_work_end_within_the_grace(
    bench: Bench, grace: float, acked: list[int]
) -> None:
    await bench.accept(0)
    asyncio.get_running_loop().call_later(0.02, bench.release, 0)
    await bench.flow.finish(grace)
    assert bench.acked == acked
    assert bench.held == 0


async def test_closing_does_not_wait_longer_than_the_grace(bench: Bench) -> None:
    await bench.accept(0)
    async with asyncio.timeout(1):
        await bench.flow.finish(0.02)
    assert (bench.acked, bench.held) == ([], 0)


async def test_events_that_come_while_closing_are_left_to_the_next_owner(bench: Bench) -> None:
    await bench.flow.finish(0)
    await bench.accept(0)
    assert bench.started == []


# A paused intake


async def test_while_the_intake_is_paused_records_wait_and_work_goes_on(bench: Bench) -> None:
    await bench.accept(0)
    bench.intake.pause("disk", "the disk is full")
    with pytest.raises(TimeoutError):
        await bench.accept(1)
    bench.release(0)
    await turns()
    assert bench.acked == [0]
    bench.intake.resume("disk")
    bench.release(1)
    await bench.accept(1)
    assert bench.started == bench.acked == [0, 1]
    assert bench.free == 100


async def test_a_rebalance_while_the_intake_is_paused_loses_nothing(bench: Bench) -> None:
    bench.intake.pause("disk", "the disk is full")
    waiting = asyncio.create_task(bench.accept(0))
    await turns()
    bench.rebalance(P)
    bench.intake.resume("disk")
    await waiting
    bench.release(0)
    await bench.accept(0)
    assert bench.started == bench.acked == [0]


# Records that wait until they are due


@pytest.fixture
async def waiting() -> AsyncIterator[Bench]:
    """A flow whose records are due when their test lets them."""
    made = Bench(window=3, due=lambda record, _now: 0.0 if record.offset >= 10 else 1e12)
    made.flow.start()
    yield made
    await made.flow.finish(0)


async def test_what_is_not_due_is_held_without_a_task(waiting: Bench) -> None:
    await waiting.accept(0)
    assert (waiting.started, waiting.held, waiting.free) == ([], 0, 2)
    assert waiting.acks.in_flight(P) == 1


async def test_what_is_held_keeps_the_watchdog_calm(waiting: Bench) -> None:
    moments = iter([0.0, 10.0, 1_000.0])
    watchdog = Watchdog(1, lambda: next(moments))
    await waiting.accept(0)
    for _ in range(3):
        position = Position(
            end=9,
            committed=0,
            delivered=waiting.acks.delivered(P),
            in_flight=waiting.acks.in_flight(P),
        )
        watchdog.observe({P: position})


async def test_what_is_due_overtakes_but_is_not_acknowledged_before(waiting: Bench) -> None:
    await waiting.accept(9)
    await waiting.accept(10)
    waiting.release(9, 10)
    await turns()
    assert (waiting.started, waiting.acked) == ([10], [])
    waiting.signals.put("cancel/r9", b"{}")
    await turns()
    assert (waiting.started, waiting.acked, waiting.free) == ([10, 9], [9, 10], 3)


async def test_what_is_held_outlasts_a_rebalance_and_is_not_held_twice(waiting: Bench) -> None:
    await waiting.accept(0)
    waiting.rebalance(P)
    await waiting.accept(0)
    assert waiting.flow.room is not None
    assert (len(waiting.flow.room), waiting.free) == (1, 2)


async def test_what_is_held_of_a_lost_partition_is_forgotten(waiting: Bench) -> None:
    await waiting.accept(0)
    await waiting.accept(1)
    waiting.rebalance()
    assert waiting.flow.room is not None
    assert (len(waiting.flow.room), waiting.free, waiting.started) == (0, 3, [])
    waiting.rebalance(P)
    await waiting.accept(0)
    assert len(waiting.flow.room) == 1


async def test_the_window_bounds_what_waits(waiting: Bench) -> None:
    for offset in range(3):
        await waiting.accept(offset)
    with pytest.raises(TimeoutError):
        await waiting.accept(3)


async def test_closing_lets_nothing_out_of_the_waiting_room(waiting: Bench) -> None:
    await waiting.accept(0)
    await waiting.flow.finish(1)
    waiting.signals.put("cancel/r0", b"{}")
    await turns()
    assert waiting.started == []


async def test_an_alarm_clock_that_breaks_stops_the_stage(waiting: Bench) -> None:
    def broken(_record: Incoming) -> Any:
        raise RuntimeError("broken")

    assert waiting.flow.room is not None
    waiting.flow.room._go = broken
    await waiting.accept(10)
    assert waiting.flow.failure is not None


# Which record is next


def ranked(*ranks: int, path: Path = (), cost: int = 1) -> Callable[[Incoming], Claim]:
    """Return claims with these ranks by offset."""

    def claim(record: Incoming) -> Claim:
        return Claim(ranks[record.offset], path, cost, request=f"r{record.offset}")

    return claim


@pytest.fixture
async def benches() -> AsyncIterator[Callable[..., Bench]]:
    """Makes flows that are closed after the test."""
    made: list[Bench] = []

    def make(**options: Any) -> Bench:
        made.append(Bench(**options))
        made[-1].flow.start()
        return made[-1]

    yield make
    for bench in made:
        bench.cancel_slowly.set()
        await bench.flow.finish(0)


Benches = Callable[..., Bench]


async def test_of_what_is_held_the_highest_rank_is_started_first(benches: Benches) -> None:
    bench = benches(concurrency=1, claim=ranked(5, 5, 7, 5, 9))
    for offset in range(5):
        await bench.accept(offset)
    for offset in (0, 4, 2, 1, 3):
        assert bench.started[-1] == offset
        bench.release(offset)
        await turns()
    assert bench.acked == [0, 1, 2, 3, 4]


async def test_records_of_one_key_are_worked_on_in_order_and_one_at_a_time(
    benches: Benches,
) -> None:
    bench = benches(claim=ranked(0, 1, 9))
    for offset in range(3):
        await bench.accept(offset, key=b"k")
    for offset in range(3):
        assert bench.started == list(range(offset + 1))
        bench.release(offset)
        await turns()


async def test_an_unordered_stage_works_on_one_key_side_by_side(benches: Benches) -> None:
    bench = benches(ordered=False)
    await bench.accept(0, key=b"k")
    await bench.accept(1, key=b"k")
    assert bench.started == [0, 1]


async def test_a_key_that_waits_takes_no_slot(benches: Benches) -> None:
    bench = benches(concurrency=2)
    for offset in range(5):
        await bench.accept(offset, key=b"slow")
    await bench.accept(5, key=b"quick")
    assert bench.started == [0, 5]


async def test_no_more_are_started_than_there_are_slots_or_may_be(benches: Benches) -> None:
    few_slots, few_started = benches(concurrency=2), benches(started_max=3)
    for offset in range(6):
        await few_slots.accept(offset)
        await few_started.accept(offset)
    assert few_slots.started == [0, 1]
    assert few_started.started == [0, 1, 2]


async def test_without_room_nothing_is_started_until_there_is(benches: Benches) -> None:
    bench = benches(claim=ranked(10, 10, path=(AUDIT,)))
    bench.meter.observe(GroupProgress(end=100, finished=0), 0.0)
    await bench.accept(0)
    await bench.accept(1)
    assert bench.started == []
    bench.meter.observe(GroupProgress(end=100, finished=99), 1.0)
    bench.flow.use_room()
    await turns()
    assert bench.started == [0, 1]


async def test_a_bug_in_a_claim_stops_no_record(
    benches: Benches, caplog: pytest.LogCaptureFixture
) -> None:
    bench = benches(claim=ranked(1))
    await bench.accept(0)
    await bench.accept(1)
    assert bench.started == [0, 1]
    assert "requests-0-1" in caplog.text


async def test_a_high_rank_passes_where_lower_ones_are_held_back(benches: Benches) -> None:
    bench = benches(claim=ranked(10, 19, path=(AUDIT,)))
    bench.meter.observe(GroupProgress(end=4, finished=0), 0.0)
    await bench.accept(0)
    await bench.accept(1)
    assert bench.started == [1]


@pytest.mark.parametrize("early", [False, True])
async def test_a_cancelled_record_is_started_at_once_without_room(
    benches: Benches, *, early: bool
) -> None:
    bench = benches(claim=ranked(19, 0, path=(AUDIT,)))
    bench.meter.observe(GroupProgress(end=100, finished=0), 0.0)
    if early:
        bench.signals.put("cancel/r1", b"{}")
    await bench.accept(0)
    await bench.accept(1)
    bench.signals.put("cancel/r1", None)
    bench.signals.put("cancel/r1", b"{}")
    await turns()
    assert bench.started == [1]


async def test_what_is_held_is_not_started_while_the_intake_is_paused(benches: Benches) -> None:
    bench = benches(concurrency=1)
    await bench.accept(0)
    await bench.accept(1)
    bench.intake.pause("disk", "the disk is full")
    bench.release(0)
    await turns()
    assert (bench.started, bench.acked) == ([0], [0])
    bench.intake.resume("disk")
    await turns()
    assert bench.started == [0, 1]


async def test_what_is_held_of_a_lost_partition_is_left_to_its_owner(benches: Benches) -> None:
    bench = benches(concurrency=1, window=3)
    for offset in range(3):
        await bench.accept(offset)
    bench.rebalance()
    await turns()
    assert (bench.started, bench.held, bench.free) == ([0], 0, 3)
    bench.rebalance(P)
    for offset in range(3):
        await bench.accept(offset)
        bench.release(offset)
    await turns()
    assert bench.acked == [0, 1, 2]


async def test_what_is_held_outlasts_a_rebalance_and_is_started_once(benches: Benches) -> None:
    bench = benches(concurrency=1)
    await bench.accept(0)
    await bench.accept(1)
    bench.rebalance(P)
    await bench.accept(0)
    await bench.accept(1)
    bench.release(0, 1)
    await turns()
    assert (bench.started, bench.acked) == ([0, 1], [0, 1])


async def test_closing_starts_nothing_that_is_held(benches: Benches) -> None:
    bench = benches(concurrency=1)
    await bench.accept(0)
    await bench.accept(1)
    asyncio.get_running_loop().call_later(0.02, bench.release, 0)
    await bench.flow.finish(1)
    assert (bench.started, bench.acked) == ([0], [0])


async def test_the_bytes_that_are_held_are_bounded(benches: Benches) -> None:
    bench = benches(concurrency=1)
    large = b"x" * (HELD_BYTES_MAX // 2)
    for offset in range(3):
        await bench.accept(offset, value=large)
    with pytest.raises(TimeoutError):
        await bench.accept(3, value=b"")
    bench.release(0)
    await turns()
    await bench.accept(3, value=b"")
    assert bench.acks.in_flight(P) == 3


async def test_a_task_that_is_cancelled_before_it_begins_gives_its_slot_back(
    benches: Benches,
) -> None:
    bench = benches(concurrency=1)
    await bench.flow.accept(REQUESTS, bench.event(0))
    bench.rebalance()
    await turns()
    bench.rebalance(P)
    await bench.accept(0)
    assert bench.started == [0]


# Slices


class Slicing(Bench):
    """Each record has as many slices as its value says."""

    async def run(self, record: Incoming) -> None:
        for left in range(int(record.value or b"0"), -1, -1):
            async with self.slots.taken():
                self.started += [record.offset] * (left > 0)
            if left:
                await self.flow.next_turn(record)
        self.acks.finish((record.topic, record.partition), record.offset)


async def test_a_higher_rank_gets_in_between_two_slices() -> None:
    bench = Slicing(concurrency=1, claim=ranked(1, 1, 9))
    blocked = bench.slots.reserve()
    assert blocked is not None
    for offset, slices in enumerate((b"3", b"2", b"1")):
        await bench.accept(offset, value=slices)
    blocked.release()
    await turns(60)
    assert bench.started[0] == 2
    assert sorted(bench.started) == [0, 0, 0, 1, 1, 2]
    assert bench.acked == [0, 1, 2]
    assert bench.slots.reserve() is not None


async def test_slices_wait_for_room() -> None:
    bench = Slicing(claim=ranked(10, path=(AUDIT,), cost=4))
    bench.meter.observe(GroupProgress(end=0, finished=0), 0.0)
    await bench.accept(0, value=b"3")
    assert bench.started == [0]
    for number in (2, 3):
        bench.meter.observe(GroupProgress(end=0, finished=0), 1.0)
        bench.gate.measured()
        bench.flow.use_room()
        await turns()
        assert len(bench.started) == number
    await bench.flow.finish(0)


async def test_slices_of_started_records_do_not_wait_for_the_end_of_each_other() -> None:
    bench = Slicing(started_max=2, claim=ranked(1, 1, 1))
    for offset in range(3):
        await bench.accept(offset, value=b"4")
    await turns(60)
    assert bench.acked == [0, 1, 2]


@pytest.mark.parametrize("has_turn", [False, True])
async def test_a_record_that_is_cancelled_between_slices_loses_no_slot(*, has_turn: bool) -> None:
    bench = Slicing(concurrency=1, claim=ranked(10, path=(AUDIT,), cost=4))
    bench.meter.observe(GroupProgress(end=0, finished=0), 0.0)
    await bench.accept(0, value=b"9")
    assert bench.started == [0]
    if has_turn:
        bench.meter.observe(GroupProgress(end=0, finished=0), 1.0)
        bench.gate.measured()
        bench.flow.use_room()
    bench.rebalance()
    await turns()
    assert (bench.started, bench.held) == ([0], 0)
    assert bench.slots.reserve() is not None


async def test_what_a_record_leads_to_beyond_its_claim_is_charged() -> None:
    bench = Bench(claim=ranked(10, 10, path=(AUDIT,)))
    bench.meter.observe(GroupProgress(end=1, finished=0), 0.0)
    await bench.accept(0)
    record = Incoming("requests", 0, 0, b"0", b"", (), 1.5)
    bench.flow.charge(record, [Outgoing(AUDIT, None, None)] * 5)
    await bench.accept(1)
    assert bench.started == [0]
    await bench.flow.finish(0)


async def test_a_record_that_steps_aside_lets_the_next_one_start(benches: Benches) -> None:
    bench = benches(concurrency=1)
    answer = asyncio.Event()

    async def ask(record: Incoming) -> None:
        async with bench.slots.taken():
            bench.started.append(record.offset)
            async with aside():
                await answer.wait()

    bench.flow._run = ask
    for offset in range(3):
        await bench.accept(offset)
    assert bench.started == [0, 1, 2]
    answer.set()
    await turns(40)
    assert bench.held == 0
    assert bench.slots.reserve() is not None


# Logs that are other ones now

RESET = OffsetReset(TP("clipmill.requests.v1", 0), expected=120, start=0, end=5, reason="truncated")


async def test_work_of_a_truncated_log_goes_on_and_acknowledges_nothing(bench: Bench) -> None:
    await bench.accept(0)
    bench.flow.restart(REQUESTS, RESET)
    await bench.accept(0, key=b"new")
    assert (bench.started, bench.held) == ([0, 0], 2)
    [old] = bench.flow._orphans
    new = bench.flow._tasks[P, 0]
    bench.release(0)
    await turns()
    assert old.done()
    assert new.done()
    assert bench.acked == [0], "that of the new record"
    assert (bench.held, bench.free) == (0, 100)


async def test_records_that_are_held_of_a_truncated_log_are_dropped(benches: Benches) -> None:
    bench = benches(concurrency=1)
    await bench.accept(0)
    await bench.accept(1)
    bench.flow.restart(REQUESTS, RESET)
    await bench.accept(0, key=b"new")
    bench.release(0)
    await turns()
    assert (bench.started, bench.acked, bench.free) == ([0, 0], [0], 100)


async def test_closing_cancels_the_work_of_a_truncated_log(bench: Bench) -> None:
    await bench.accept(0)
    bench.flow.restart(REQUESTS, RESET)
    await bench.flow.finish(0)
    assert (bench.acked, bench.held) == ([], 0)


async def test_records_that_wait_in_a_truncated_log_are_dropped(waiting: Bench) -> None:
    await waiting.accept(0)
    waiting.flow.restart(REQUESTS, RESET)
    assert waiting.flow.room is not None
    assert (len(waiting.flow.room), waiting.free) == (0, 3)


async def test_offsets_without_records_are_passed_over(bench: Bench) -> None:
    await bench.accept(0)
    bench.flow.pass_over(REQUESTS, TP(*PLACE), 1, 3)
    await bench.accept(3)
    bench.release(0, 3)
    await turns()
    assert bench.acked == [0, 2, 3]
    assert bench.flow.failure is None


async def test_batch_that_cannot_be_decoded_does_not_wait_until_it_is_due(waiting: Bench) -> None:
    await waiting.accept(0, value=UndecodableBatch(b"x"))
    assert waiting.started == [0]
    waiting.release(0)


def beats(bench: Bench) -> list[int]:
    return bench.consumer.acked_beats


async def test_a_heartbeat_is_answered_while_all_records_that_may_be_held_are() -> None:
    bench = Bench(window=3, concurrency=2)
    for offset in range(3):
        await bench.accept(offset)
    await bench.beat(0)
    assert beats(bench) == [], "both slots are taken"
    bench.release(0)
    await turns()
    assert beats(bench) == [0]
    assert bench.started == [0, 1, 2]
    await bench.flow.finish(0)


async def test_a_heartbeat_is_answered_before_records_that_wait(bench: Bench) -> None:
    for offset in range(20):
        await bench.accept(offset)
    await bench.beat(0)
    bench.release(0)
    await turns()
    assert (beats(bench), bench.started) == ([0], list(range(9)))


async def test_no_heartbeat_waits_for_a_record_of_the_same_key(bench: Bench) -> None:
    await bench.accept(0, key=b"0")
    await bench.beat(0, key=b"0")
    assert beats(bench) == [0]


async def test_no_heartbeat_waits_until_fewer_bytes_are_held() -> None:
    bench = Bench(concurrency=1)
    await bench.accept(0)
    await bench.accept(1, value=b"x" * HELD_BYTES_MAX)
    await bench.beat(0)
    bench.release(0)
    await turns()
    assert beats(bench) == [0]
    await bench.flow.finish(0)


async def test_no_heartbeat_is_answered_while_the_intake_is_paused(bench: Bench) -> None:
    bench.intake.pause("disk", "is full")
    beat = asyncio.create_task(bench.beat(0))
    await turns()
    assert beats(bench) == []
    bench.intake.resume("disk")
    await beat
    assert beats(bench) == [0]


async def test_a_heartbeat_passes_the_waiting_room_at_once() -> None:
    def due(record: Incoming, _now: float) -> float:
        assert record.topic == REQUESTS.name
        return 4e9

    bench = Bench(due=due, ordered=False)
    bench.flow.start()
    await bench.accept(0)
    await bench.beat(0)
    assert (beats(bench), bench.started) == ([0], [])
    await bench.flow.finish(0)
