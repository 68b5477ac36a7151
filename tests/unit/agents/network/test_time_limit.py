"""A timeout that excludes local waits."""

import asyncio

import pytest

from agents.network.time_limit import extend_limits, time_limit


async def test_block_beyond_the_limit_times_out() -> None:
    with pytest.raises(TimeoutError):
        async with time_limit(0.01) as limit:
            await asyncio.Event().wait()
    assert limit.expired()


async def test_other_timeout_does_not_expire_the_limit() -> None:
    with pytest.raises(TimeoutError):
        async with time_limit(60) as limit:
            raise TimeoutError
    assert not limit.expired()


async def test_enclosing_limits_are_extended_and_no_others() -> None:
    async with time_limit(60) as outer:
        async with time_limit(30) as ended:
            pass
        async with time_limit(10) as inner:
            before = [limit.when() or 0.0 for limit in (outer, inner, ended)]
            extend_limits(5)
            extend_limits(2)
            after = [limit.when() or 0.0 for limit in (outer, inner, ended)]
    assert [now - then for now, then in zip(after, before, strict=True)] == pytest.approx([7, 7, 0])


async def test_concurrent_tasks_have_their_own_limits() -> None:
    async def extended(seconds: float) -> float:
        async with time_limit(60) as limit:
            before = limit.when() or 0.0
            await asyncio.sleep(0)
            extend_limits(seconds)
            await asyncio.sleep(0)
            return (limit.when() or 0.0) - before

    found = await asyncio.gather(extended(1), extended(2), extended(3))
    assert found == pytest.approx([1, 2, 3])


async def test_extend_without_a_limit_does_nothing() -> None:
    extend_limits(5)
    async with time_limit(60) as limit:
        assert (limit.when() or 0.0) - asyncio.get_running_loop().time() == pytest.approx(60, abs=1)


async def test_expired_limit_is_not_extended() -> None:
    async def too_late() -> None:
        async with time_limit(0):
            try:
                await asyncio.Event().wait()
            finally:
                extend_limits(60)

    with pytest.raises(TimeoutError):
        await too_late()
