"""FairRateLimiter, on a clock that only sleeping advances."""

import asyncio
import heapq
import itertools
from contextlib import AbstractAsyncContextManager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.access.rate_limits import Bulkhead
from agents.resilience.rate_limiter import (
    AGEING,
    POLL_SECONDS,
    FairRateLimiter,
    RateLimitExceededError,
)
from agents.resilience.token_bucket import HORIZON_SECONDS, RETRY_AFTER_SECONDS_MAX, Rate


class LimiterSimulation:
    """A rate limiter and its bulkhead, in simulated time."""

    def __init__(self, rate: Rate, *, max_wait: float = 20.0, slots: int = 100) -> None:
        self.now = 0.0
        self.rate = rate
        self.bulkhead = Bulkhead(slots)
        self.limiter = FairRateLimiter(
            lambda: self.rate, max_wait, clock=lambda: self.now, sleep=self._sleep
        )
        self.admitted: list[tuple[str, float]] = []
        self.polls = 0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._numbers = itertools.count()

    async def _sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.polls += 1
        woken = asyncio.Event()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._numbers), woken))
        await woken.wait()

    def submit(
        self,
        *names: str,
        hold_seconds: float = 0.0,
        requeued: bool = False,
        requests: float = 1.0,
        rank: float = 0.0,
    ) -> list[asyncio.Task[None]]:
        permits = [
            self._permit(requeued=requeued, requests=requests, rank=rank) for _ in range(len(names))
        ]
        return [
            asyncio.create_task(self._submit(name, hold_seconds, permit))
            for name, permit in zip(names, permits, strict=True)
        ]

    async def _submit(
        self, name: str, hold_seconds: float, permit: AbstractAsyncContextManager[None]
    ) -> None:
        async with permit:
            self.admitted.append((name, round(self.now, 6)))
            if hold_seconds:
                await self._sleep(hold_seconds)

    def _permit(
        self, *, requeued: bool, requests: float, rank: float
    ) -> AbstractAsyncContextManager[None]:
        return self.limiter.acquire(
            self.bulkhead.slot, requeued=requeued, requests=requests, rank=rank
        )

    async def advance(self, seconds: float) -> None:
        end = self.now + seconds
        await run_ready_tasks()
        while self._sleepers and self._sleepers[0][0] <= end:
            self.now, _, woken = heapq.heappop(self._sleepers)
            woken.set()
            await run_ready_tasks()
        self.now = end

    def admitted_names(self) -> str:
        return "".join(name for name, _ in self.admitted)

    def admitted_times(self) -> list[float]:
        return [at for _, at in self.admitted]


async def run_ready_tasks() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


async def rejected_retry_after(task: asyncio.Task[None]) -> float:
    await run_ready_tasks()
    assert task.done()
    with pytest.raises(RateLimitExceededError) as caught:
        await task
    return round(caught.value.seconds, 6)


async def test_requests_are_admitted_in_order_at_the_rate() -> None:
    simulation = LimiterSimulation(Rate(2))
    simulation.submit(*"abcde")
    await simulation.advance(10)
    assert simulation.admitted == [("a", 0.0), ("b", 0.5), ("c", 1.0), ("d", 1.5), ("e", 2.0)]


async def test_idle_time_admits_one_burst() -> None:
    simulation = LimiterSimulation(Rate(2, burst=3))
    await simulation.advance(100)
    simulation.submit(*"abcde")
    await simulation.advance(10)
    assert simulation.admitted_times() == [100, 100, 100, 100.5, 101]


async def test_rate_change_applies_within_the_poll_interval() -> None:
    simulation = LimiterSimulation(Rate(0.1))
    simulation.submit(*"abc")
    await simulation.advance(1)
    simulation.rate = Rate(10)
    await simulation.advance(1)
    assert simulation.admitted_names() == "abc"
    assert simulation.admitted_times()[1] <= 1 + POLL_SECONDS + 1 / 10


async def test_zero_rate_neither_admits_nor_rejects() -> None:
    simulation = LimiterSimulation(Rate(0))
    simulation.submit(*"ab")
    await simulation.advance(0.1)
    assert simulation.admitted_names() == "a"
    await simulation.advance(1_000)
    assert simulation.admitted_names() == "a"
    simulation.rate = Rate(10)
    await simulation.advance(1)
    assert simulation.admitted_names() == "ab"


async def test_pause_admits_nothing() -> None:
    simulation = LimiterSimulation(Rate(2, paused_seconds=5))
    (task,) = simulation.submit("a")
    await simulation.advance(3)
    simulation.rate = Rate(2)
    assert simulation.admitted_names() == ""
    await simulation.advance(1)
    assert simulation.admitted_names() == "a"
    await task


async def test_wait_above_maximum_is_rejected_with_retry_after() -> None:
    simulation = LimiterSimulation(Rate(1), max_wait=2)
    tasks = simulation.submit(*"abcdefg")
    await run_ready_tasks()
    assert [await rejected_retry_after(task) for task in tasks[3:]] == [3, 4, 5, 6]
    await simulation.advance(10)
    assert simulation.admitted_names() == "abc"


async def test_requeued_request_waits_for_the_queue_only() -> None:
    simulation = LimiterSimulation(Rate(1), max_wait=2)
    tasks = simulation.submit(*"abcdefg")
    await simulation.advance(3)
    assert simulation.admitted_names() == "abc"
    new, requeued = (*simulation.submit("n"), *simulation.submit("r", requeued=True))
    assert await rejected_retry_after(new) > 2
    await simulation.advance(2)
    await requeued
    assert simulation.admitted_names() == "abcr"
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_would_admit_depends_on_the_queue_length() -> None:
    simulation = LimiterSimulation(Rate(1), max_wait=2)
    assert simulation.limiter.would_admit(requeued=False)
    tasks = simulation.submit(*"abcdef")
    await run_ready_tasks()
    assert not simulation.limiter.would_admit(requeued=False)
    assert not simulation.limiter.would_admit(requeued=True)
    await simulation.advance(2)
    assert not simulation.limiter.would_admit(requeued=False)
    assert simulation.limiter.would_admit(requeued=True)
    await simulation.advance(10)
    assert simulation.limiter.would_admit(requeued=False)
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_queued_requests_are_rejected_when_the_rate_falls() -> None:
    simulation = LimiterSimulation(Rate(1), max_wait=5)
    tasks = simulation.submit(*"abcd")
    await simulation.advance(0.5)
    simulation.rate = Rate(0.05)
    await simulation.advance(5)
    assert simulation.admitted_names() == "a"
    assert [
        seconds > 5 for seconds in [await rejected_retry_after(task) for task in tasks[1:]]
    ] == [True] * 3


async def test_backlog_is_rejected_up_to_the_horizon_and_the_rest_queues() -> None:
    simulation = LimiterSimulation(Rate(1), max_wait=20)
    tasks = simulation.submit(*(str(number) for number in range(200)))
    await run_ready_tasks()
    rejected = [task for task in tasks if task.done() and task.exception()]
    assert HORIZON_SECONDS - 20 <= len(rejected) <= HORIZON_SECONDS + 1
    assert max([await rejected_retry_after(task) for task in rejected]) <= HORIZON_SECONDS + 1
    await simulation.advance(20.5)
    assert len(simulation.admitted) == 20 + 1
    assert sum(not task.done() for task in tasks) <= 20
    await simulation.advance(20)
    last = [await rejected_retry_after(task) for task in tasks if task.exception()]
    assert max(last) <= 200


async def test_long_pause_rejects_all_requests() -> None:
    simulation = LimiterSimulation(Rate(1, paused_seconds=10_000), max_wait=5)
    (task,) = simulation.submit("a")
    await run_ready_tasks()
    assert await rejected_retry_after(task) == RETRY_AFTER_SECONDS_MAX


async def test_cancelled_request_leaves_the_queue() -> None:
    simulation = LimiterSimulation(Rate(1))
    tasks = simulation.submit(*"abcd")
    await simulation.advance(0.5)
    tasks[1].cancel()
    await simulation.advance(10)
    assert simulation.admitted == [("a", 0), ("c", 1), ("d", 2)]


# Requests that take several tokens


async def test_multi_token_request_starts_on_its_first_token_and_leaves_a_debt() -> None:
    simulation = LimiterSimulation(Rate(2, burst=2))
    simulation.submit("a")
    simulation.submit("L", requests=7)
    simulation.submit(*"bc")
    await simulation.advance(10)
    assert simulation.admitted == [("a", 0), ("L", 0.5), ("b", 4), ("c", 4.5)]


async def test_large_request_is_admitted_at_a_low_rate() -> None:
    simulation = LimiterSimulation(Rate(0.1), max_wait=5)
    simulation.submit("L", requests=60)
    await simulation.advance(1)
    assert simulation.admitted_names() == "L"
    (task,) = simulation.submit("a")
    await simulation.advance(5)
    assert await rejected_retry_after(task) == RETRY_AFTER_SECONDS_MAX


async def test_queued_large_request_lengthens_the_wait() -> None:
    simulation = LimiterSimulation(Rate(1), max_wait=5)
    tasks = [*simulation.submit("a"), *simulation.submit("L", requests=10), *simulation.submit("b")]
    assert await rejected_retry_after(tasks[-1]) == 11
    await simulation.advance(10)
    assert simulation.admitted_names() == "aL"


# Few bulkhead slots


async def test_slots_freed_late_do_not_exceed_the_rate() -> None:
    simulation = LimiterSimulation(Rate(2, burst=2), slots=2)
    await simulation.advance(10)
    simulation.submit("a", "b", hold_seconds=30)
    await simulation.advance(1)
    simulation.submit(*"cdefg")
    await simulation.advance(60)
    assert simulation.admitted_times() == [10, 10, 40, 40, 40.5, 41, 41.5]
    assert simulation.admitted_names() == "abcdefg"


async def test_waiting_for_a_slot_does_not_busy_poll() -> None:
    simulation = LimiterSimulation(Rate(5, burst=1), slots=1)
    simulation.submit("a", hold_seconds=60)
    simulation.submit(*"bcdef")
    await simulation.advance(59)
    assert simulation.admitted_names() == "a"
    assert simulation.polls < 5 * 60 * 5
    await simulation.advance(10)
    assert simulation.admitted_names() == "abcdef"


async def test_slot_is_released_after_an_error() -> None:
    simulation = LimiterSimulation(Rate(100), slots=1)
    with pytest.raises(KeyError):
        async with simulation._permit(requeued=False, requests=1.0, rank=0.0):
            raise KeyError
    simulation.submit("a")
    await simulation.advance(1)
    assert simulation.admitted_names() == "a"


async def test_higher_rank_is_admitted_first_regardless_of_arrival() -> None:
    simulation = LimiterSimulation(Rate(4))
    simulation.submit(*"abcde")
    await simulation.advance(0.3)
    simulation.submit(*"xy", rank=9)
    simulation.submit("m", rank=5)
    await simulation.advance(10)
    assert simulation.admitted_names() == "abxymcde"
    assert simulation.admitted_times() == [number / 4 for number in range(8)], (
        "the rate is unchanged"
    )


async def test_low_rank_does_not_starve() -> None:
    simulation = LimiterSimulation(Rate(10), max_wait=100)
    simulation.submit("low")
    simulation.submit("lower")
    for number in range(40):
        simulation.submit(str(number), rank=9)
    await simulation.advance(2)
    names = [name for name, _ in simulation.admitted]
    assert {"low", "lower"} <= set(names[: 2 * AGEING + 2])


async def test_rejections_of_lower_ranks_do_not_reject_a_higher_rank() -> None:
    simulation = LimiterSimulation(Rate(1), max_wait=5)
    tasks = simulation.submit(*(str(number) for number in range(60)))
    await run_ready_tasks()
    assert sum(task.done() for task in tasks) > 20
    (same,) = simulation.submit("same")
    (higher,) = simulation.submit("higher", rank=1)
    await simulation.advance(2)
    assert await rejected_retry_after(same) > 5
    assert "higher" in [name for name, _ in simulation.admitted]
    assert higher.done()


async def test_reservations_of_the_same_rank_precede_a_new_request() -> None:
    simulation = LimiterSimulation(Rate(1), max_wait=5)
    simulation.submit(*(str(number) for number in range(60)), rank=1)
    await run_ready_tasks()
    (same,) = simulation.submit("same", rank=1)
    assert await rejected_retry_after(same) > 5


_Step = tuple[float, int, float, float, float]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 3),
            st.integers(0, 6),
            st.floats(0.2, 50),
            st.floats(0, 2),
            st.sampled_from([1.0, 1.0, 1.0, 2.5, 20.0]),
        ),
        max_size=15,
    ),
    st.integers(1, 4),
)
def test_rate_is_never_exceeded(steps: list[_Step], slots: int) -> None:
    asyncio.run(_check_rate(steps, slots))


def _tokens_max(allowed: list[tuple[float, float, float]], begin: float, end: float) -> float:
    """Return the tokens of an interval if the limiter sees each rate, or the next one.

    It polls every `POLL_SECONDS`: a rate that holds for a shorter time may be missed.
    """
    spread = [(since - POLL_SECONDS, until + POLL_SECONDS, rate) for since, until, rate in allowed]
    edges = {edge for since, until, _ in spread for edge in (since, until)}
    moments = sorted({begin, end, *(edge for edge in edges if begin < edge < end)})
    return sum(
        (later - earlier)
        * max(rate for since, until, rate in spread if since <= earlier and later <= until)
        for earlier, later in itertools.pairwise(moments)
    )


async def _check_rate(steps: list[_Step], slots: int) -> None:
    simulation, allowed, tasks = LimiterSimulation(Rate(1), slots=slots), [], []
    for number, (seconds, count, rate, hold_seconds, requests) in enumerate(steps):
        simulation.rate = Rate(rate)
        names = (f"{number}-{each}" for each in range(count))
        tasks += simulation.submit(*names, hold_seconds=hold_seconds, requests=requests)
        start = simulation.now
        await simulation.advance(seconds)
        allowed.append((start, simulation.now, rate))
    times = simulation.admitted_times()
    sizes = [steps[int(name.partition("-")[0])][4] for name, _ in simulation.admitted]
    for first, last in itertools.combinations(range(len(times)), 2):
        begin, end = times[first], times[last]
        tokens = _tokens_max(allowed, begin, end)
        # The last request starts on its first token; the tokens of the others came before.
        assert sum(sizes[first:last]) <= tokens + 1e-3
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
