"""Sweeps and supplements, with a writer that fails as the test says."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from streams.observability.metrics import REGISTRY
from streams.records import Effect, Outgoing, TableWrite
from streams.runtime.housekeeping import SUPPLEMENTS_MAX, Housekeeping
from streams.topics import PROGRESS
from tests.unit.agents.builders import make_table


class Bench:
    def __init__(self) -> None:
        self.written: list[Effect] = []
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.ready = asyncio.Event()
        table = make_table("rows")
        table.show(TableWrite("rows", "a", b"12"))
        tables = {"rows": table}
        self.housekeeping = Housekeeping("toy", self.write, tables=tables, ready=self.ready)

    async def write(self, effects: Sequence[Effect]) -> None:
        await self.open.wait()
        if self.error:
            raise self.error
        self.written += effects

    async def sweep_until(self, done: Callable[[], object], sweep: Any) -> None:
        task = asyncio.create_task(self.housekeeping.sweep_every(0.001, sweep))
        async with asyncio.timeout(2):
            while not done():  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def bench() -> Bench:
    return Bench()


def progress(value: bytes = b"1") -> Outgoing:
    return Outgoing(PROGRESS, b"k", value)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_supplement_is_sent_without_waiting(bench: Bench) -> None:
    bench.housekeeping.publish_best_effort(progress())
    assert bench.written == []
    await turns()
    assert bench.written == [progress()]


async def test_a_lost_supplement_hurts_nobody(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.error = RuntimeError("broken")
    bench.housekeeping.publish_best_effort(progress())
    await turns()
    assert "toy: supplement lost" in caplog.text
    bench.error = None
    bench.housekeeping.publish_best_effort(progress(b"2"))
    await turns()
    assert bench.written == [progress(b"2")]


async def test_while_nothing_can_be_written_supplements_are_bounded(bench: Bench) -> None:
    bench.open.clear()
    for _ in range(SUPPLEMENTS_MAX + 5):
        bench.housekeeping.publish_best_effort(progress())
    bench.open.set()
    await turns()
    assert len(bench.written) == SUPPLEMENTS_MAX


async def test_supplements_that_wait_are_given_up_at_the_stop(bench: Bench) -> None:
    bench.open.clear()
    bench.housekeeping.publish_best_effort(progress())
    await turns()
    await bench.housekeeping.stop()
    bench.open.set()
    await turns()
    assert bench.written == []


async def test_sweeps_go_on_after_a_bug_in_one(bench: Bench) -> None:
    calls: list[int] = []

    def sweep() -> Sequence[Effect]:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("bug")
        return [progress()]

    bench.ready.set()
    await bench.sweep_until(lambda: bench.written, sweep)
    assert len(calls) > 1


async def test_nothing_is_swept_before_the_tables_are_there(bench: Bench) -> None:
    calls: list[int] = []
    writes = 0

    async def count(_effects: Sequence[Effect]) -> None:
        nonlocal writes
        writes += 1

    bench.housekeeping._write = count
    await bench.sweep_until(lambda: writes > 3, lambda: calls.append(1))
    assert calls == []


async def test_the_size_of_the_tables_is_shown(bench: Bench) -> None:
    task = asyncio.create_task(bench.housekeeping.measure_tables())
    await turns()
    task.cancel()
    await asyncio.wait([task])
    labels = {"stage": "toy", "table": "rows"}
    assert REGISTRY.get_sample_value("clipmill_table_rows", labels) == 1
    assert REGISTRY.get_sample_value("clipmill_table_bytes", labels) == 3
