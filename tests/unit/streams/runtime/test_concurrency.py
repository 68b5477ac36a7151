import asyncio

import pytest

from streams.runtime.concurrency import ConcurrencyLimit, slot_released


class ConcurrencyHarness:
    """Tasks under a concurrency limit; records how many run at once."""

    def __init__(self, count: int = 1) -> None:
        self.concurrency_limit = ConcurrencyLimit(count)
        self.working = 0
        self.most = 0
        self.response = asyncio.Event()

    async def work(self) -> None:
        async with self.concurrency_limit.acquire():
            self._begin()
            await asyncio.sleep(0)
            self.working -= 1

    async def work_and_wait(self) -> None:
        """Work, wait for the response with the slot released, and work again."""
        async with self.concurrency_limit.acquire():
            self._begin()
            self.working -= 1
            async with slot_released():
                await self.response.wait()
            self._begin()
            await asyncio.sleep(0)
            self.working -= 1

    def _begin(self) -> None:
        self.working += 1
        self.most = max(self.most, self.working)


async def in_time(work: "asyncio.Future[list[None]]") -> None:
    await asyncio.wait_for(work, 5)


@pytest.mark.parametrize("count", [1, 3])
async def test_concurrency_does_not_exceed_the_slots(count: int) -> None:
    harness = ConcurrencyHarness(count)
    await asyncio.gather(*(harness.work() for _ in range(10)))
    assert harness.most == count


async def test_task_with_a_released_slot_does_not_block_others() -> None:
    harness = ConcurrencyHarness()
    waiting = asyncio.gather(*(harness.work_and_wait() for _ in range(20)))
    for _ in range(10):
        await asyncio.wait_for(harness.work(), 5)
    harness.response.set()
    await in_time(waiting)
    assert harness.most == 1


async def test_slot_is_returned_after_failure_and_cancellation() -> None:
    harness = ConcurrencyHarness()

    async def fail() -> None:
        async with harness.concurrency_limit.acquire(), slot_released():
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        await fail()
    task = asyncio.create_task(harness.work_and_wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.gather(*(harness.work() for _ in range(5)))
    assert harness.most == 1


async def test_cancellation_while_reacquiring_loses_no_slot() -> None:
    harness = ConcurrencyHarness()
    task = asyncio.create_task(harness.work_and_wait())
    await asyncio.sleep(0)
    holding, release = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with harness.concurrency_limit.acquire():
            holding.set()
            await release.wait()

    holder = asyncio.create_task(hold())
    await holding.wait()
    harness.response.set()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done(), "it reacquires its slot before returning it"
    release.set()
    await holder
    with pytest.raises(asyncio.CancelledError):
        await task
    harness.most = 0
    await asyncio.gather(*(harness.work() for _ in range(5)))
    assert harness.most == 1


async def test_nested_release_counts_once() -> None:
    harness = ConcurrencyHarness()

    async def nested() -> None:
        async with harness.concurrency_limit.acquire(), slot_released(), slot_released():
            await harness.response.wait()

    task = asyncio.create_task(nested())
    await asyncio.wait_for(harness.work(), 5)
    first, second = (
        asyncio.create_task(harness.work_and_wait()),
        asyncio.create_task(harness.work_and_wait()),
    )
    harness.response.set()
    await asyncio.gather(task, first, second)
    await asyncio.gather(*(harness.work() for _ in range(5)))
    assert harness.most == 1


async def test_child_task_cannot_release_the_slot_of_its_parent() -> None:
    harness = ConcurrencyHarness()

    async def child() -> None:
        async with slot_released():
            await harness.response.wait()

    async def parent() -> None:
        async with harness.concurrency_limit.acquire():
            await asyncio.gather(asyncio.create_task(child()), asyncio.create_task(child()))

    task = asyncio.create_task(parent())
    for _ in range(3):
        await asyncio.sleep(0)
    other = asyncio.create_task(harness.work())
    await asyncio.sleep(0)
    assert not other.done()
    harness.response.set()
    await asyncio.gather(task, other)
    assert harness.most == 1


async def test_slot_released_outside_of_a_stage_is_a_no_op() -> None:
    async with slot_released():
        await asyncio.sleep(0)
