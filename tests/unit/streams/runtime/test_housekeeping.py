"""Periodic tasks and best-effort records, with a writer that fails on demand."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from streams.errors import StageFailedError
from streams.records import Effect, Outgoing
from streams.runtime.housekeeping import BEST_EFFORT_MAX, Housekeeping
from streams.topics import PROGRESS


class HousekeepingHarness:
    def __init__(self) -> None:
        self.written: list[Effect] = []
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.ready = asyncio.Event()
        self.failures: list[BaseException] = []
        self.housekeeping = Housekeeping(
            "toy", self.write, ready=self.ready, fail=self.failures.append
        )

    async def write(self, effects: Sequence[Effect]) -> None:
        await self.open.wait()
        if self.error:
            raise self.error
        self.written += effects

    async def run_until(self, done: Callable[[], object], periodic_task: Any) -> None:
        task = asyncio.create_task(self.housekeeping.run_periodically(0.001, periodic_task))
        async with asyncio.timeout(2):
            while not done():  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def harness() -> HousekeepingHarness:
    return HousekeepingHarness()


def progress(value: bytes = b"1") -> Outgoing:
    return Outgoing(PROGRESS, b"k", value)


async def yield_to_tasks() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_best_effort_record_is_published_in_the_background(
    harness: HousekeepingHarness,
) -> None:
    harness.housekeeping.publish_best_effort(progress())
    assert harness.written == []
    await yield_to_tasks()
    assert harness.written == [progress()]


async def test_failed_best_effort_record_is_logged_and_the_next_one_published(
    harness: HousekeepingHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.error = RuntimeError("broken")
    harness.housekeeping.publish_best_effort(progress())
    await yield_to_tasks()
    assert "toy: a best-effort record is lost" in caplog.text
    harness.error = None
    harness.housekeeping.publish_best_effort(progress(b"2"))
    await yield_to_tasks()
    assert harness.written == [progress(b"2")]


async def test_pending_best_effort_records_are_bounded(harness: HousekeepingHarness) -> None:
    harness.open.clear()
    for _ in range(BEST_EFFORT_MAX + 5):
        harness.housekeeping.publish_best_effort(progress())
    harness.open.set()
    await yield_to_tasks()
    assert len(harness.written) == BEST_EFFORT_MAX


async def test_pending_best_effort_records_are_dropped_on_stop(
    harness: HousekeepingHarness,
) -> None:
    harness.open.clear()
    harness.housekeeping.publish_best_effort(progress())
    await yield_to_tasks()
    await harness.housekeeping.stop()
    harness.open.set()
    await yield_to_tasks()
    assert harness.written == []


async def test_periodic_tasks_continue_after_an_error(harness: HousekeepingHarness) -> None:
    calls: list[int] = []

    def periodic_task() -> list[list[Effect]]:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("bug")
        return [[progress()]]

    harness.ready.set()
    await harness.run_until(lambda: harness.written, periodic_task)
    assert len(calls) > 1


async def test_no_periodic_task_before_the_tables_are_ready(harness: HousekeepingHarness) -> None:
    calls: list[int] = []
    checks = iter(range(20))
    await harness.run_until(lambda: next(checks) > 10, lambda: calls.append(1))
    assert calls == []


async def test_other_tasks_run_between_slices(harness: HousekeepingHarness) -> None:
    order: list[str] = []

    def periodic_task() -> Iterator[Sequence[Effect]]:
        for name in ("a", "b", "c"):
            order.append(name)
            asyncio.get_running_loop().call_soon(order.append, f"after {name}")
            yield ()

    harness.ready.set()
    await harness.run_until(lambda: len(order) >= 6, periodic_task)
    assert order[:6] == ["a", "after a", "b", "after b", "c", "after c"]


async def test_periodic_task_ends_at_a_rebalance(harness: HousekeepingHarness) -> None:
    def periodic_task() -> Iterator[Sequence[Effect]]:
        yield [progress(b"1")]
        harness.ready.clear()
        yield [progress(b"2")]
        yield [progress(b"3")]

    harness.ready.set()
    checks = iter(range(20))
    await harness.run_until(lambda: next(checks) > 10, periodic_task)
    assert harness.written == [progress(b"1")]


async def test_failed_store_fails_the_stage() -> None:
    harness = HousekeepingHarness()
    harness.ready.set()

    def periodic_task() -> Iterator[Sequence[Effect]]:
        raise StageFailedError("no space")
        yield ()

    await harness.run_until(lambda: harness.failures, periodic_task)
    assert str(harness.failures[0]) == "no space"
