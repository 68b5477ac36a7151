import asyncio

import pytest

from agents.resilience.task_pool import TaskPool


class Kit:
    """A pool, and whoever wants a slot."""

    def __init__(self, limit: int = 2) -> None:
        self.pool = TaskPool(limit)
        self.begun: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}

    async def want(self, name: str) -> asyncio.Task[None]:
        self.ends[name] = asyncio.Event()
        task = asyncio.create_task(self._hold(name))
        await quiet()
        return task

    @property
    def counts(self) -> tuple[int, int]:
        return self.pool.running, self.pool.waiting

    async def _hold(self, name: str) -> None:
        async with self.pool.slot():
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
