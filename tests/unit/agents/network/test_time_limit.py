"""A bound on time, without the waits of our own."""

import asyncio

import pytest

from agents.network.time_limit import extend_limits, time_limit


async def test_what_takes_longer_is_ended() -> None:
    with pytest.raises(TimeoutError):
        async with time_limit(0.01) as limit:
            await asyncio.Event().wait()
    assert limit.expired()


async def test_a_stray_timeout_is_told_from_it() -> None:
    with pytest.raises(TimeoutError):
        async with time_limit(60) as limit:
            raise TimeoutError
    assert not limit.expired()


async def test_all_limits_around_are_extended_and_no_others() -> None:
    async with time_limit(60) as outer:
        async with time_limit(30) as ended:
            pass
        async with time_limit(10) as inner:
            before = [limit.when() or 0.0 for limit in (outer, inner, ended)]
            extend_limits(5)
            extend_limits(2)
            after = [limit.when() or 0.0 for limit in (outer, inner, ended)]
    assert [now - then for now, then in zip(after, before, strict=True)] == pytest.approx([7, 7, 0])


async def test_tasks_side_by_side_have_limits_of_their_own() -> None:
    async def extended(seconds: float) -> float:
        async with time_limit(60) as limit:
            before = limit.when() or 0.0
            await asyncio.sleep(0)
            extend_limits(seconds)
            await asyncio.sleep(0)
            return (limit.when() or 0.0) - before

    found = await asyncio.gather(extended(1), extended(2), extended(3))
    assert found == pytest.approx([1, 2, 3])


async def test_without_any_limit_nothing_is_extended() -> None:
    extend_limits(5)
    async with time_limit(60) as limit:
        assert (limit.when() or 0.0) - asyncio.get_running_loop().time() == pytest.approx(60, abs=1)


async def test_a_limit_that_has_passed_stays_passed() -> None:
    async def too_late() -> None:
        async with time_limit(0):
            try:
                await asyncio.Event().wait()
            finally:
                extend_limits(60)

    with pytest.raises(TimeoutError):
        await too_late()
