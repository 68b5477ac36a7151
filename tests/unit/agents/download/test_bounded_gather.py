import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.download.bounded_gather import gather_bounded


@given(count=st.integers(0, 12), at_a_time=st.integers(1, 5))
async def test_all_come_in_their_order_and_not_too_many_at_a_time(
    count: int, at_a_time: int
) -> None:
    running, most = 0, 0

    def work(number: int) -> Callable[[], Awaitable[int]]:
        async def run() -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            for _ in range(number % 3):
                await asyncio.sleep(0)
            running -= 1
            return number

        return run

    assert await gather_bounded([work(each) for each in range(count)], at_a_time) == list(
        range(count)
    )
    assert most <= at_a_time
    assert running == 0


async def test_the_first_failure_is_that_of_all_and_stops_the_others() -> None:
    stopped: list[str] = []
    begun: list[str] = []

    async def fail() -> str:
        begun.append("fail")
        await asyncio.sleep(0)
        raise LookupError("first")

    async def wait(name: str) -> str:
        begun.append(name)
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(name)
        return name

    async def fail_when_stopped() -> str:
        try:
            return await wait("b")
        except asyncio.CancelledError:
            raise ValueError("second") from None

    with pytest.raises(LookupError, match="first"):
        await gather_bounded(
            [fail, lambda: wait("a"), fail_when_stopped, lambda: wait("never")],
            3,
            grace_seconds=0.0,
        )
    assert sorted(stopped) == ["a", "b"]
    assert begun == ["fail", "a", "b"]


async def test_what_is_under_way_may_come_to_its_end() -> None:
    ended: list[str] = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError

    async def end(name: str) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        ended.append(name)

    with pytest.raises(LookupError):
        await gather_bounded([lambda: end("a"), fail, lambda: end("b"), lambda: end("never")], 3)
    assert sorted(ended) == ["a", "b"]


async def test_nothing_to_do_is_done() -> None:
    assert await gather_bounded([], 3) == []


async def test_whoever_is_stopped_stops_all() -> None:
    stopped: list[int] = []

    async def wait(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(number)

    task = asyncio.create_task(gather_bounded([lambda: wait(1), lambda: wait(2)], 2))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(stopped) == [1, 2]


async def test_a_timeout_around_it_is_a_timeout() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await gather_bounded([wait, wait], 2)
