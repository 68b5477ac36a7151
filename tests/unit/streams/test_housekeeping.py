"""Sweeps and supplements, with a writer that fails as the test says."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from streams import housekeeping as module
from streams.housekeeping import SUPPLEMENTS_MAX, Housekeeping
from streams.records import Effect, Outgoing
from streams.topics import PROGRESS


class Bench:
    def __init__(self) -> None:
        self.written: list[Effect] = []
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.ready = asyncio.Event()
        self.table: list[int] = [1, 2]
        tables: Any = {"rows": self.table}
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
    bench.housekeeping.supplement(progress())
    assert bench.written == []
    await turns()
    assert bench.written == [progress()]


async def test_a_lost_supplement_hurts_nobody(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.error = RuntimeError("broken")
    bench.housekeeping.supplement(progress())
    await turns()
    assert "toy: supplement lost" in caplog.text
    bench.error = None
    bench.housekeeping.supplement(progress(b"2"))
    await turns()
    assert bench.written == [progress(b"2")]


async def test_while_nothing_can_be_written_supplements_are_bounded(bench: Bench) -> None:
    bench.open.clear()
    for _ in range(SUPPLEMENTS_MAX + 5):
        bench.housekeeping.supplement(progress())
    bench.open.set()
    await turns()
    assert len(bench.written) == SUPPLEMENTS_MAX


async def test_supplements_that_wait_are_given_up_at_the_stop(bench: Bench) -> None:
    bench.open.clear()
    bench.housekeeping.supplement(progress())
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
    rows: list[str] = []

    def note(_stage: str, _table: str) -> Any:
        rows.append("looked")
        return _Gauge()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TABLE_ROWS", type("Gauge", (), {"labels": staticmethod(note)}))
        await bench.sweep_until(lambda: len(rows) > 3, lambda: calls.append(1))
    assert calls == []


class _Gauge:
    def set(self, rows: int) -> None:
        assert rows == 2
