"""Stage runner without a broker: reported state, and resources."""

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


class RunnerHarness:
    """Stage runner whose Faust app is never started."""

    def __init__(self, tmp_path: Path) -> None:
        stage = Stage("toy", (REQUESTS,), open=open_toy, on_bug=lambda *_: ())
        producer: Any = None
        self.runner = StageRunner(stage, Settings(data_dir=tmp_path), producer)
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
    runner = StageRunner(stage, Settings(data_dir=tmp_path), None)  # type: ignore[arg-type]
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
