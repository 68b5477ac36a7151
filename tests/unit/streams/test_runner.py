"""The parts of the runner that need no broker: taking events in, forgetting them, housekeeping."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams.acks import SkippedOffsetsError
from streams.outbox import Write
from streams.records import Effect, Incoming, Outgoing
from streams.runner import StageRunner
from streams.settings import Settings, StageSettings
from streams.stage import Handler, Stage, StageContext
from streams.topics import ERRORS, PROGRESS, REQUESTS

pytestmark = pytest.mark.usefixtures("own_settings")

P = ("requests", 0)


class FakeOutbox:
    def __init__(self) -> None:
        self.written: list[Write] = []
        self.error: Exception | None = None

    async def publish(self, writes: Sequence[Write]) -> None:
        if self.error:
            raise self.error
        self.written += writes


PLACE = ("clipmill.requests.v1", 0)


class Consumer:
    def __init__(self) -> None:
        self.starts: dict[Any, int] = {}

    def start_of(self, tp: Any) -> int | None:
        return self.starts.get(tp)


class Bench:
    """A runner whose Faust app is never started; the test hands it the events."""

    def __init__(self, tmp_path: Path, *, window: int = 100) -> None:
        self.releases: dict[int, asyncio.Event] = {}
        self.started: list[int] = []
        self.acked: list[int] = []
        self.outbox = FakeOutbox()
        self.cancel_slowly = asyncio.Event()
        self.cancel_slowly.set()
        self.handler: Callable[[Incoming], Awaitable[Sequence[Effect]]] = self.handle
        stage = Stage(
            "toy",
            (REQUESTS,),
            open=self.open,
            on_bug=lambda record, _: [Outgoing(ERRORS, record.key, b"bug")],
        )
        settings = Settings(data_dir=tmp_path, stage=StageSettings(window=window))
        self.runner = StageRunner(stage, settings, self.outbox)  # type: ignore[arg-type]
        self.runner._work = self.runner._build_work(self.handle)
        self.app = SimpleNamespace(
            consumer_generation_id=1,
            crashed=False,
            should_stop=False,
            rebalancing=False,
            crash_reason=None,
            consumer=Consumer(),
        )
        self.runner.app = self.app

    @asynccontextmanager
    async def open(self, _context: StageContext) -> AsyncIterator[Handler]:
        yield self.handle

    async def handle(self, record: Incoming) -> Sequence[Effect]:
        self.started.append(record.offset)
        try:
            await self.releases.setdefault(record.offset, asyncio.Event()).wait()
        except asyncio.CancelledError:
            await self.cancel_slowly.wait()
            raise
        return ()

    def release(self, offset: int) -> None:
        self.releases.setdefault(offset, asyncio.Event()).set()

    async def accept(self, offset: int, *, generation: int | None = None) -> None:
        message = SimpleNamespace(
            partition=0,
            tp=PLACE,
            offset=offset,
            key=str(offset).encode(),
            value=b"{}",
            headers=(("a", b"1"),),
            timestamp=1.5,
            generation_id=self.app.consumer_generation_id if generation is None else generation,
        )
        event = SimpleNamespace(message=message, ack=lambda: self.acked.append(offset))
        async with asyncio.timeout(1):
            await self.runner._accept(REQUESTS, event)
        await turns()

    def rebalance(self, *partitions: tuple[str, int]) -> None:
        self.app.consumer_generation_id += 1
        self.runner._acks.suspend()
        self.runner._keep(set(partitions))

    @property
    def held(self) -> int:
        return len(self.runner._tasks)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.cancel_slowly.set()
    await stop(made)


async def stop(bench: Bench) -> None:
    tasks = [*bench.runner._tasks.values()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


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
    assert bench.runner._window["requests"]._value == 99
    bench.release(0)
    await turns()
    assert bench.acked == [0]
    assert bench.held == 0
    assert bench.runner._window["requests"]._value == 100
    assert bench.runner.failure() is None


async def test_a_first_event_behind_the_committed_offset_stops_the_stage(bench: Bench) -> None:
    bench.app.consumer.starts[PLACE] = 5
    await bench.accept(6)
    assert isinstance(bench.runner.failure(), SkippedOffsetsError)
    assert bench.started == []


async def test_a_gap_stops_the_stage_and_nothing_more_is_started(bench: Bench) -> None:
    await bench.accept(0)
    await bench.accept(2)
    await bench.accept(3)
    assert bench.started == [0]
    assert isinstance(bench.runner.failure(), SkippedOffsetsError)


async def test_the_window_bounds_what_is_held(tmp_path: Path) -> None:
    bench = Bench(tmp_path, window=2)
    await bench.accept(0)
    await bench.accept(1)
    with pytest.raises(TimeoutError):
        await bench.accept(2)
    bench.release(0)
    await turns()
    await bench.accept(2)
    assert bench.started == [0, 1, 2]
    await stop(bench)


async def test_events_that_are_not_started_leave_the_window_open(tmp_path: Path) -> None:
    bench = Bench(tmp_path, window=2)
    await bench.accept(0)
    for _ in range(5):
        bench.rebalance(P)
        await bench.accept(0)
        await bench.accept(7, generation=0)
    bench.release(0)
    await turns()
    assert bench.runner._window["requests"]._value == 2
    assert bench.acked == [0]


async def test_an_outbox_that_breaks_stops_the_stage(bench: Bench) -> None:
    bench.outbox.error = RuntimeError("broken")
    bench.release(0)
    await bench.accept(0)
    assert bench.acked == []
    assert isinstance(bench.runner.failure(), RuntimeError)


async def test_a_running_stage_has_no_failure(bench: Bench) -> None:
    assert bench.runner.failure() is None
    bench.app.should_stop = True
    assert str(bench.runner.failure()) == "the Faust app stopped by itself"
    bench.app.crash_reason = ValueError("why")
    assert str(bench.runner.failure()) == "why"


async def test_problems_are_the_partitions_then_the_checks_of_the_stage(bench: Bench) -> None:
    assert bench.runner.problem() == "waits for its partitions and tables"
    bench.runner.ready.set()
    assert bench.runner.problem() is None
    bench.runner._checks += [lambda: None, lambda: "the disk is full", lambda: "never asked"]
    assert bench.runner.problem() == "the disk is full"


async def test_a_lost_supplement_hurts_nobody(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.runner._supplement(Outgoing(PROGRESS, b"k", b"1"))
    await turns()
    assert [write.topic for write in bench.outbox.written] == ["clipmill.progress.v1"]
    bench.outbox.error = RuntimeError("broken")
    bench.runner._supplement(Outgoing(PROGRESS, b"k", b"2"))
    await turns()
    assert bench.runner._supplements == set()
    assert bench.runner.failure() is None
    assert "supplement lost" in caplog.text


async def test_housekeeping_goes_on_after_a_bug_in_it(bench: Bench) -> None:
    calls: list[int] = []

    def sweep() -> Sequence[Effect]:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("bug")
        return [Outgoing(PROGRESS, b"k", b"swept")]

    bench.runner.ready.set()
    task = asyncio.create_task(bench.runner._sweep_every(0.001, sweep))
    async with asyncio.timeout(2):
        while not (bench.outbox.written or bench.runner.failure()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(calls) > 1 or bench.runner.failure() is not None


async def test_housekeeping_waits_until_the_tables_are_there(bench: Bench) -> None:
    calls: list[int] = []
    task = asyncio.create_task(
        bench.runner._sweep_every(0.001, lambda: calls.append(1) or ())  # type: ignore[func-returns-value]
    )
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert calls == []


@pytest.mark.parametrize("drains", [True, False])
async def test_closing_lets_work_end_if_the_stage_drains(bench: Bench, drains: bool) -> None:
    bench.runner.stage = replace(bench.runner.stage, drains=drains)
    bench.runner.ready.set()
    await bench.accept(0)
    asyncio.get_running_loop().call_later(0.02, bench.release, 0)
    await bench.runner._finish_work()
    assert bench.acked == ([0] if drains else [])


async def test_closing_does_not_wait_longer_than_the_grace(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.runner._settings = Settings(stage=StageSettings(shutdown_grace_seconds=0.02))
    await bench.accept(0)
    async with asyncio.timeout(1):
        await bench.runner._finish_work()
    assert bench.acked == []
    assert bench.held == 0


async def test_events_that_come_while_closing_are_left_to_the_next_owner(bench: Bench) -> None:
    await bench.runner._finish_work()
    await bench.accept(0)
    assert bench.started == []


async def test_a_resource_that_cannot_open_leaves_nothing_behind(tmp_path: Path) -> None:
    closed: list[str] = []

    @asynccontextmanager
    async def open_stage(_context: StageContext) -> AsyncIterator[Handler]:
        try:
            raise OSError("no disk")
            yield
        finally:
            closed.append("stage")

    stage: Any = Stage("toy", (REQUESTS,), open=open_stage, on_bug=lambda *_: ())
    runner = StageRunner(stage, Settings(data_dir=tmp_path), FakeOutbox())  # type: ignore[arg-type]
    with pytest.raises(OSError, match="no disk"):
        await runner.__aenter__()
    assert closed == ["stage"]
