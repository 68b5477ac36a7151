import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.download.bounded_gather import gather_bounded


@given(count=st.integers(0, 12), limit=st.integers(1, 5))
async def test_results_are_in_order_and_concurrency_is_bounded(count: int, limit: int) -> None:
    running, running_max = 0, 0

    def work(number: int) -> Callable[[], Awaitable[int]]:
        async def run() -> int:
            nonlocal running, running_max
            running += 1
            running_max = max(running_max, running)
            for _ in range(number % 3):
                await asyncio.sleep(0)
            running -= 1
            return number

        return run

    assert await gather_bounded([work(each) for each in range(count)], limit) == list(range(count))
    assert running_max <= limit
    assert running == 0


async def test_first_failure_is_raised_and_cancels_the_others() -> None:
    cancelled: list[str] = []
    started: list[str] = []

    async def fail() -> str:
        started.append("fail")
        await asyncio.sleep(0)
        raise LookupError("first")

    async def wait(name: str) -> str:
        started.append(name)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(name)
        return name

    async def fail_when_cancelled() -> str:
        try:
            return await wait("b")
        except asyncio.CancelledError:
            raise ValueError("second") from None

    with pytest.raises(LookupError, match="first"):
        await gather_bounded(
            [fail, lambda: wait("a"), fail_when_cancelled, lambda: wait("never")],
            3,
            grace_seconds=0.0,
        )
    assert sorted(cancelled) == ["a", "b"]
    assert started == ["fail", "a", "b"]


async def test_work_in_flight_may_complete_within_the_grace_time() -> None:
    completed: list[str] = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError

    async def complete(name: str) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        completed.append(name)

    with pytest.raises(LookupError):
        await gather_bounded(
            [lambda: complete("a"), fail, lambda: complete("b"), lambda: complete("never")], 3
        )
    assert sorted(completed) == ["a", "b"]


async def test_empty_input_returns_an_empty_list() -> None:
    assert await gather_bounded([], 3) == []


async def test_cancellation_cancels_all() -> None:
    cancelled: list[int] = []

    async def wait(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(number)

    task = asyncio.create_task(gather_bounded([lambda: wait(1), lambda: wait(2)], 2))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(cancelled) == [1, 2]


async def test_surrounding_timeout_is_raised() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await gather_bounded([wait, wait], 2)
