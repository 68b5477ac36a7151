"""The flow of a stage's records: taken in, held, started once, forgotten."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from streams.acks import InOrderAcks, SkippedOffsetsError
from streams.flow import Flow
from streams.intake import Intake
from streams.records import Incoming
from streams.signals import Signals
from streams.stage import Stage
from streams.topics import REQUESTS
from streams.watchdog import Position, Watchdog

P = ("requests", 0)
PLACE = ("clipmill.requests.v1", 0)


class Consumer:
    """Knows where reading goes on, and notes what may be committed."""

    def __init__(self) -> None:
        self.starts: dict[Any, int] = {}
        self.acked: list[int] = []

    def start_of(self, tp: Any) -> int | None:
        return self.starts.get(tp)

    def acknowledge(self, tp: Any, offset: int) -> None:
        assert tp == PLACE
        self.acked.append(offset)


class Bench:
    """A flow without Faust; the test hands it the events and ends their work."""

    def __init__(self, *, window: int = 100, due: Any = None) -> None:
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
        self.signals = Signals()
        self.flow = Flow(
            Stage("toy", (REQUESTS,), open=lambda _: NotImplemented, on_bug=lambda *_: (), due=due),
            self.run,
            app=self.app,
            acks=self.acks,
            intake=self.intake,
            signals=self.signals,
            window=window,
        )

    async def run(self, record: Incoming) -> None:
        self.started.append(record.offset)
        try:
            await self.releases.setdefault(record.offset, asyncio.Event()).wait()
        except asyncio.CancelledError:
            await self.cancel_slowly.wait()
            raise
        if self.error:
            raise self.error
        self.acks.finish((record.topic, record.partition), record.offset)

    def release(self, *offsets: int) -> None:
        for offset in offsets:
            self.releases.setdefault(offset, asyncio.Event()).set()

    async def accept(self, offset: int, *, generation: int | None = None) -> None:
        message = SimpleNamespace(
            partition=0,
            tp=PLACE,
            offset=offset,
            key=str(offset).encode(),
            value=b"{}",
            headers=(("ce_correlationid", b"r%d" % offset),),
            timestamp=1.5,
            generation_id=self.app.consumer_generation_id if generation is None else generation,
        )
        async with asyncio.timeout(1):
            await self.flow.accept(REQUESTS, SimpleNamespace(message=message))
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
    made = Bench(window=3, due=lambda record: 0.0 if record.offset >= 10 else 1e12)
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
