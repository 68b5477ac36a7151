import asyncio

import pytest

from agents.access.bulkhead import TaskPool
from streams.priority_queue import AGEING, DEFAULT_RANK


class Kit:
    """A pool, and whoever wants a slot."""

    def __init__(self, limit: int = 2) -> None:
        self.pool = TaskPool(limit)
        self.begun: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}

    async def want(self, name: str, rank: int = DEFAULT_RANK) -> asyncio.Task[None]:
        self.ends[name] = asyncio.Event()
        task = asyncio.create_task(self._hold(name, rank))
        await quiet()
        return task

    @property
    def counts(self) -> tuple[int, int]:
        return self.pool.running, self.pool.waiting

    async def _hold(self, name: str, rank: int) -> None:
        async with self.pool.slot(rank):
            self.begun.append(name)
            await self.ends[name].wait()

    async def end(self, *names: str) -> None:
        for name in names:
            self.ends[name].set()
        await quiet()


async def quiet() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_than_the_limit_at_a_time_first_come_first_served() -> None:
    kit = Kit()
    for name in "abcde":
        await kit.want(name)
    assert kit.begun == ["a", "b"]
    assert kit.counts == (2, 3)
    await kit.end("b")
    assert kit.begun == ["a", "b", "c"]
    await kit.end("a", "c")
    assert kit.begun == ["a", "b", "c", "d", "e"]
    await kit.end("d", "e")
    assert kit.counts == (0, 0)


async def test_who_is_cancelled_while_waiting_takes_no_slot() -> None:
    kit = Kit(1)
    await kit.want("a")
    waiting = await kit.want("b")
    await kit.want("c")
    waiting.cancel()
    await quiet()
    assert kit.counts == (1, 1)
    await kit.end("a")
    assert kit.begun == ["a", "c"]
    await kit.end("c")
    await kit.want("d")
    assert kit.begun == ["a", "c", "d"]
    await kit.end("d")


async def test_a_slot_is_free_again_after_an_error() -> None:
    kit = Kit(1)
    with pytest.raises(KeyError):
        async with kit.pool.slot():
            raise KeyError
    await kit.want("a")
    assert kit.begun == ["a"]
    await kit.end("a")
    assert kit.counts == (0, 0)


async def test_a_higher_rank_is_next_whenever_it_came() -> None:
    kit = Kit(1)
    await kit.want("a")
    for name, rank in (("b", 1), ("c", 9), ("d", 5), ("e", 9)):
        await kit.want(name, rank)
    for name in "acedb":
        assert kit.begun[-1] == name
        await kit.end(name)


async def test_a_low_rank_does_not_starve() -> None:
    kit = Kit(1)
    await kit.want("low", 0)
    await kit.want("lower", 0)
    for number in range(AGEING):
        await kit.want(str(number), 9)
        await kit.end(kit.begun[-1])
    assert "lower" in kit.begun
    await kit.end(*kit.ends)


async def test_who_is_cancelled_with_its_slot_just_given_gives_it_back() -> None:
    kit = Kit(1)
    await kit.want("a")
    waiting = await kit.want("b")
    kit.ends["a"].set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    await quiet()
    await kit.want("c")
    assert kit.begun[-1] == "c"
    await kit.end("c")
