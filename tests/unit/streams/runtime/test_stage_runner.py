"""Stage runner without a broker: reported state, and resources."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams.claims import Claim
from streams.priority_queue import DEFAULT_RANK
from streams.records import Effect, Incoming, Outgoing
from streams.runtime.back_pressure import BackPressure, GroupProgress
from streams.runtime.stage_runner import StageRunner
from streams.runtime.worker_services import WorkerServices
from streams.settings import Settings, StageSettings
from streams.stage import Handler, Stage, StageContext, synchronous
from streams.topics import EXTRACTED, REQUESTS, SELECTED

pytestmark = pytest.mark.usefixtures("own_settings")


async def handle(_record: Incoming) -> Sequence[Effect]:
    return ()


@asynccontextmanager
async def open_toy(_context: StageContext) -> AsyncIterator[Handler]:
    yield handle


class RunnerHarness:
    """Stage runner whose Faust app is never started."""

    def __init__(self, tmp_path: Path) -> None:
        stage = Stage("toy", (REQUESTS,), open=open_toy, on_bug=lambda *_: ())
        producer: Any = None
        self.runner = StageRunner(stage, WorkerServices(Settings(data_dir=tmp_path), producer))
        self.app = SimpleNamespace(
            crashed=False, should_stop=False, rebalancing=False, crash_reason=None, consumer=None
        )
        self.runner.app = self.app


@pytest.fixture
def harness(tmp_path: Path) -> RunnerHarness:
    return RunnerHarness(tmp_path)


async def test_failure_is_none_while_running_then_the_crash_reason(harness: RunnerHarness) -> None:
    assert harness.runner.failure() is None
    harness.app.should_stop = True
    assert str(harness.runner.failure()) == "the Faust app stopped by itself"
    harness.app.crash_reason = ValueError("why")
    assert str(harness.runner.failure()) == "why"


async def test_problem_is_missing_partitions_then_the_first_failed_check(
    harness: RunnerHarness,
) -> None:
    assert harness.runner.problem() == "waits for its partitions and tables"
    harness.runner.ready.set()
    assert harness.runner.problem() is None
    harness.runner._checks += [lambda: None, lambda: "the disk is full", lambda: "never asked"]
    assert harness.runner.problem() == "the disk is full"


async def test_failed_open_closes_the_stage(tmp_path: Path) -> None:
    closed: list[str] = []

    @asynccontextmanager
    async def open_stage(_context: StageContext) -> AsyncIterator[Handler]:
        try:
            raise OSError("no disk")
            yield
        finally:
            closed.append("stage")

    stage: Any = Stage("toy", (REQUESTS,), open=open_stage, on_bug=lambda *_: ())
    producer: Any = None
    runner = StageRunner(stage, WorkerServices(Settings(data_dir=tmp_path), producer))
    with pytest.raises(OSError, match="no disk"):
        await runner.__aenter__()
    assert closed == ["stage"]


async def test_first_consumption_failure_is_the_failure_of_the_stage(
    harness: RunnerHarness,
) -> None:
    harness.runner.consumption.fail(ValueError("first"))
    harness.runner.consumption.fail(ValueError("second"))
    assert str(harness.runner.failure()) == "first"


async def test_paused_intake_is_a_problem_and_has_no_positions_to_watch(
    harness: RunnerHarness,
) -> None:
    harness.runner.ready.set()
    harness.runner._intake.pause("disk", "the disk is full")
    assert harness.runner.problem() == "the disk is full"
    assert await harness.runner._positions() == {}


EVENT = Outgoing(EXTRACTED, b"video", b"{}")


class ChainedRunner:
    """A running stage like selection, which is chained; each test takes one condition away."""

    def __init__(self, tmp_path: Path) -> None:
        self.pressure = BackPressure(StageSettings(backlog_records=4))
        self.partition: int | None = 0
        producer: Any = SimpleNamespace(partition_of=lambda *_: self.partition)
        handler = synchronous(lambda _: [Outgoing(SELECTED, b"video", b"to download")])
        stage = Stage(
            "toy",
            (EXTRACTED,),
            open=open_toy,
            on_bug=lambda *_: (),
            writes=(SELECTED,),
            claim=lambda _: Claim(DEFAULT_RANK, (SELECTED,)),
            chained=True,
        )
        settings = Settings(data_dir=tmp_path)
        services = WorkerServices(settings, producer, back_pressure=self.pressure)
        self.runner = StageRunner(stage, services)
        self.runner.app = self.app = SimpleNamespace(rebalancing=False, consumer=None)
        self.runner._partitions._assigned = {(EXTRACTED.name, 0)}
        self.runner.ready.set()
        self.runner._processor = self.runner._build_processor(handler)

    def fill_the_next_stage(self) -> None:
        meter = self.pressure._meters[SELECTED]
        for now in (0.0, 1.0):
            meter.observe(GroupProgress(end=1_000, finished=int(now)), now)

    def chains(self, event: Outgoing = EVENT) -> bool:
        return self.runner._process_chained(event) is not None


@pytest.fixture
def chained(tmp_path: Path) -> ChainedRunner:
    return ChainedRunner(tmp_path)


async def test_running_stage_processes_a_chained_event(chained: ChainedRunner) -> None:
    assert chained.chains()


@pytest.mark.parametrize(
    "stop",
    [
        lambda chained: chained.runner.ready.clear(),
        lambda chained: setattr(chained.app, "rebalancing", True),
        lambda chained: chained.runner._intake.pause("operator", "by hand"),
        lambda chained: chained.runner.consumption.fail(ValueError("oh")),
        lambda chained: chained.runner._partitions._assigned.clear(),
        lambda chained: setattr(chained, "partition", 1),
        lambda chained: setattr(chained, "partition", None),
        lambda chained: chained.fill_the_next_stage(),
    ],
    ids=[
        *("not ready", "rebalance", "paused", "failed", "revoked", "other partition"),
        *("unknown partitions", "no capacity"),
    ],
)
async def test_stage_that_could_not_take_the_event_now_leaves_it_to_its_topic(
    chained: ChainedRunner, stop: Callable[[ChainedRunner], object]
) -> None:
    stop(chained)
    assert not chained.chains()


async def test_event_without_a_key_is_left_to_its_topic(chained: ChainedRunner) -> None:
    assert not chained.chains(Outgoing(EXTRACTED, None, b"{}"))
