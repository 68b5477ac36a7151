"""Memory of concurrent uploads."""

import asyncio
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from agents.storage.object_upload import MemoryLimiter


@given(sizes=st.lists(st.integers(0, 150), max_size=30), cancelled=st.sets(st.integers(0, 29)))
def test_uploads_hold_at_most_the_limit_and_each_gets_its_turn(
    sizes: list[int], cancelled: set[int]
) -> None:
    held: dict[int, int] = {}
    most = 0

    async def upload(number: int, limiter: MemoryLimiter) -> None:
        nonlocal most
        async with limiter.hold(sizes[number]):
            held[number] = min(sizes[number], 100)
            most = max(most, sum(held.values()))
            await asyncio.sleep(0)
            del held[number]

    async def run() -> None:
        limiter = MemoryLimiter(100)
        tasks = [asyncio.create_task(upload(each, limiter)) for each in range(len(sizes))]
        await asyncio.sleep(0)
        for number in cancelled & set(range(len(sizes))) - set(held):
            tasks[number].cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        async with limiter.hold(100):
            pass

    asyncio.run(asyncio.wait_for(run(), 10))
    assert most <= 100


async def test_a_large_upload_is_not_overtaken() -> None:
    limiter, order = MemoryLimiter(10), list[str]()

    async def upload(name: str, size: int) -> None:
        async with limiter.hold(size):
            order.append(name)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for name, size in (("first", 6), ("large", 10), ("small", 1)):
            group.create_task(upload(name, size))
    assert order == ["first", "large", "small"]
