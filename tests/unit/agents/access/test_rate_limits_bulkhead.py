import asyncio

import pytest

from agents.access.rate_limits import Bulkhead
from streams.priority_queue import AGEING, DEFAULT_RANK


class BulkheadHarness:
    """A bulkhead, and named tasks that hold a slot until they are released."""

    def __init__(self, limit: int = 2) -> None:
        self.bulkhead = Bulkhead(limit)
        self.started: list[str] = []
        self.releases: dict[str, asyncio.Event] = {}

    async def start(self, name: str, rank: int = DEFAULT_RANK) -> asyncio.Task[None]:
        self.releases[name] = asyncio.Event()
        task = asyncio.create_task(self._hold(name, rank))
        await run_ready_tasks()
        return task

    @property
    def counts(self) -> tuple[int, int]:
        return self.bulkhead.running, self.bulkhead.waiting

    async def _hold(self, name: str, rank: int) -> None:
        async with self.bulkhead.slot(rank):
            self.started.append(name)
            await self.releases[name].wait()

    async def release(self, *names: str) -> None:
        for name in names:
            self.releases[name].set()
        await run_ready_tasks()


async def run_ready_tasks() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_limit_is_enforced_and_waiters_are_served_in_fifo_order() -> None:
    harness = BulkheadHarness()
    for name in "abcde":
        await harness.start(name)
    assert harness.started == ["a", "b"]
    assert harness.counts == (2, 3)
    await harness.release("b")
    assert harness.started == ["a", "b", "c"]
    await harness.release("a", "c")
    assert harness.started == ["a", "b", "c", "d", "e"]
    await harness.release("d", "e")
    assert harness.counts == (0, 0)


async def test_waiter_cancelled_in_the_queue_takes_no_slot() -> None:
    harness = BulkheadHarness(1)
    await harness.start("a")
    waiting = await harness.start("b")
    await harness.start("c")
    waiting.cancel()
    await run_ready_tasks()
    assert harness.counts == (1, 1)
    await harness.release("a")
    assert harness.started == ["a", "c"]
    await harness.release("c")
    await harness.start("d")
    assert harness.started == ["a", "c", "d"]
    await harness.release("d")


async def test_slot_is_released_after_an_error() -> None:
    harness = BulkheadHarness(1)
    with pytest.raises(KeyError):
        async with harness.bulkhead.slot():
            raise KeyError
    await harness.start("a")
    assert harness.started == ["a"]
    await harness.release("a")
    assert harness.counts == (0, 0)


async def test_higher_rank_is_served_first_regardless_of_arrival() -> None:
    harness = BulkheadHarness(1)
    await harness.start("a")
    for name, rank in (("b", 1), ("c", 9), ("d", 5), ("e", 9)):
        await harness.start(name, rank)
    for name in "acedb":
        assert harness.started[-1] == name
        await harness.release(name)


async def test_low_rank_does_not_starve() -> None:
    harness = BulkheadHarness(1)
    await harness.start("low", 0)
    await harness.start("lower", 0)
    for number in range(AGEING):
        await harness.start(str(number), 9)
        await harness.release(harness.started[-1])
    assert "lower" in harness.started
    await harness.release(*harness.releases)


async def test_waiter_cancelled_after_handover_releases_its_slot() -> None:
    harness = BulkheadHarness(1)
    await harness.start("a")
    waiting = await harness.start("b")
    harness.releases["a"].set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    await run_ready_tasks()
    await harness.start("c")
    assert harness.started[-1] == "c"
    await harness.release("c")
