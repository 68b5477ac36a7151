"""The parts of the runner that need no broker: its state seen from outside, and its resources."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams.records import Effect, Incoming
from streams.runtime.stage_runner import StageRunner
from streams.settings import Settings
from streams.stage import Handler, Stage, StageContext
from streams.topics import REQUESTS

pytestmark = pytest.mark.usefixtures("own_settings")


async def handle(_record: Incoming) -> Sequence[Effect]:
    return ()


@asynccontextmanager
async def open_toy(_context: StageContext) -> AsyncIterator[Handler]:
    yield handle


class Bench:
    """A runner whose Faust app is never started."""

    def __init__(self, tmp_path: Path) -> None:
        stage = Stage("toy", (REQUESTS,), open=open_toy, on_bug=lambda *_: ())
        outbox: Any = None
        self.runner = StageRunner(stage, Settings(data_dir=tmp_path), outbox)
        self.app = SimpleNamespace(
            crashed=False, should_stop=False, rebalancing=False, crash_reason=None, consumer=None
        )
        self.runner.app = self.app


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


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
    runner = StageRunner(stage, Settings(data_dir=tmp_path), None)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="no disk"):
        await runner.__aenter__()
    assert closed == ["stage"]


async def test_a_broken_flow_is_the_failure_of_the_stage(bench: Bench) -> None:
    bench.runner.flow.fail(ValueError("first"))
    bench.runner.flow.fail(ValueError("second"))
    assert str(bench.runner.failure()) == "first"


async def test_a_paused_intake_is_a_problem_and_nothing_to_watch(bench: Bench) -> None:
    bench.runner.ready.set()
    bench.runner._intake.pause("disk", "the disk is full")
    assert bench.runner.problem() == "the disk is full"
    assert await bench.runner._positions() == {}
