import asyncio

import pytest

from streams.runtime.concurrency import ConcurrencyLimit, aside


class Bench:
    """Workers of some slots that note what they do."""

    def __init__(self, count: int = 1) -> None:
        self.slots = ConcurrencyLimit(count)
        self.working = 0
        self.most = 0
        self.answer = asyncio.Event()

    async def work(self) -> None:
        async with self.slots.taken():
            self._begin()
            await asyncio.sleep(0)
            self.working -= 1

    async def ask(self) -> None:
        """Work, wait for somebody else aside, and work again."""
        async with self.slots.taken():
            self._begin()
            self.working -= 1
            async with aside():
                await self.answer.wait()
            self._begin()
            await asyncio.sleep(0)
            self.working -= 1

    def _begin(self) -> None:
        self.working += 1
        self.most = max(self.most, self.working)


async def in_time(work: "asyncio.Future[list[None]]") -> None:
    await asyncio.wait_for(work, 5)


@pytest.mark.parametrize("count", [1, 3])
async def test_no_more_work_than_there_are_slots(count: int) -> None:
    bench = Bench(count)
    await asyncio.gather(*(bench.work() for _ in range(10)))
    assert bench.most == count


async def test_those_who_wait_hold_up_nobody() -> None:
    bench = Bench()
    waiting = asyncio.gather(*(bench.ask() for _ in range(20)))
    for _ in range(10):
        await asyncio.wait_for(bench.work(), 5)
    bench.answer.set()
    await in_time(waiting)
    assert bench.most == 1


async def test_a_slot_comes_back_after_every_end() -> None:
    bench = Bench()

    async def fail() -> None:
        async with bench.slots.taken(), aside():
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        await fail()
    task = asyncio.create_task(bench.ask())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.gather(*(bench.work() for _ in range(5)))
    assert bench.most == 1


async def test_a_cancellation_while_coming_back_costs_no_slot() -> None:
    bench = Bench()
    asking = asyncio.create_task(bench.ask())
    await asyncio.sleep(0)
    holding, let_go = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with bench.slots.taken():
            holding.set()
            await let_go.wait()

    holder = asyncio.create_task(hold())
    await holding.wait()
    bench.answer.set()
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.sleep(0)
    assert not asking.done(), "it waits for its slot, to give it back"
    let_go.set()
    await holder
    with pytest.raises(asyncio.CancelledError):
        await asking
    bench.most = 0
    await asyncio.gather(*(bench.work() for _ in range(5)))
    assert bench.most == 1


async def test_stepping_aside_twice_is_stepping_aside_once() -> None:
    bench = Bench()

    async def nested() -> None:
        async with bench.slots.taken(), aside(), aside():
            await bench.answer.wait()

    task = asyncio.create_task(nested())
    await asyncio.wait_for(bench.work(), 5)
    first, second = asyncio.create_task(bench.ask()), asyncio.create_task(bench.ask())
    bench.answer.set()
    await asyncio.gather(task, first, second)
    await asyncio.gather(*(bench.work() for _ in range(5)))
    assert bench.most == 1


async def test_tasks_of_a_record_cannot_give_its_slot_away() -> None:
    bench = Bench()

    async def child() -> None:
        async with aside():
            await bench.answer.wait()

    async def parent() -> None:
        async with bench.slots.taken():
            await asyncio.gather(asyncio.create_task(child()), asyncio.create_task(child()))

    task = asyncio.create_task(parent())
    for _ in range(3):
        await asyncio.sleep(0)
    other = asyncio.create_task(bench.work())
    await asyncio.sleep(0)
    assert not other.done()
    bench.answer.set()
    await asyncio.gather(task, other)
    assert bench.most == 1


async def test_outside_of_a_stage_it_changes_nothing() -> None:
    async with aside():
        await asyncio.sleep(0)
