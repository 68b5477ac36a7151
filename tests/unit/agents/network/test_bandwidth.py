"""A timeout that excludes local waits."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.network.bandwidth import (
    BURST_SECONDS,
    UNLIMITED,
    BandwidthLimiter,
    extend_limits,
    time_limit,
)


class FakeTime:
    """A clock that only `sleep` advances."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


def create_limiter(rate: float) -> tuple[BandwidthLimiter, FakeTime]:
    time = FakeTime()
    return BandwidthLimiter(rate, clock=time, sleep=time.sleep), time


@given(
    st.floats(1, 1e9),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.floats(0, 5)), min_size=1, max_size=30),
)
async def test_throughput_never_exceeds_the_rate_plus_a_burst(
    rate: float, steps: list[tuple[int, float]]
) -> None:
    bandwidth, time = create_limiter(rate)
    done: list[tuple[float, int]] = []
    for count, pause in steps:
        await bandwidth.consume(count)
        done.append((time.now, count))
        time.now += pause
    for first, (start, _) in enumerate(done):
        spent = sum(count for _, count in done[first + 1 :])
        seconds = done[-1][0] - start
        assert spent <= rate * (seconds + BURST_SECONDS) * (1 + 1e-6) + 1


async def test_rate_is_reached() -> None:
    bandwidth, time = create_limiter(1_000)
    for _ in range(100):
        await bandwidth.consume(100)
    assert time.now - 100.0 == pytest.approx(10.0 - BURST_SECONDS)


async def test_idle_time_is_credited_up_to_the_burst() -> None:
    bandwidth, time = create_limiter(1_000)
    time.now += 3_600
    await bandwidth.consume(10_000)
    assert sum(time.sleeps) == pytest.approx(10.0 - BURST_SECONDS)


async def test_burst_is_not_delayed() -> None:
    bandwidth, time = create_limiter(1_000)
    await bandwidth.consume(int(1_000 * BURST_SECONDS))
    assert time.sleeps == []


async def test_unlimited_never_waits() -> None:
    async with asyncio.timeout(1):
        await UNLIMITED.consume(10**15)


async def test_wait_extends_the_time_limits() -> None:
    bandwidth, time = create_limiter(1_000)
    async with time_limit(10) as outer, time_limit(5) as inner:
        before = (outer.when() or 0.0, inner.when() or 0.0)
        await bandwidth.consume(60_000)
        await bandwidth.consume(100)
        waited = time.now - 100.0
        assert waited > 59
        assert outer.when() == pytest.approx(before[0] + waited)
        assert inner.when() == pytest.approx(before[1] + waited)


async def test_concurrent_transfers_share_the_bandwidth_fairly() -> None:
    bandwidth = BandwidthLimiter(1_000_000)
    spent = dict.fromkeys(range(5), 0)

    async def transfer(number: int) -> None:
        while True:
            await bandwidth.consume(10_000)
            spent[number] += 10_000
            await asyncio.sleep(0)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*map(transfer, spent)), 0.3)
    assert max(spent.values()) - min(spent.values()) <= 20_000
    assert sum(spent.values()) <= 1_000_000 * (0.3 + BURST_SECONDS) * 1.2


async def test_cancelled_wait_does_not_block_others() -> None:
    bandwidth, time = create_limiter(1_000)

    async def never(_: float) -> None:
        await asyncio.Event().wait()

    bandwidth._sleep = never
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await bandwidth.consume(1_000)
    bandwidth._sleep = time.sleep
    await bandwidth.consume(1_000)
    assert sum(time.sleeps) == pytest.approx(2.0 - BURST_SECONDS)


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
