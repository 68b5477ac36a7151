import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.network.bandwidth import BURST_SECONDS, UNLIMITED, BandwidthLimiter
from agents.network.time_limit import time_limit


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
