"""The line in front of a platform, with a clock that only sleeping moves."""

import asyncio
import heapq
import itertools
from contextlib import AbstractAsyncContextManager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.access.bulkhead import TaskPool
from agents.resilience.rate_limiter import (
    AGEING,
    LOOK_SECONDS,
    FairRateLimiter,
    RateLimitExceededError,
)
from agents.resilience.token_bucket import HORIZON_SECONDS, PROMISE_SECONDS_MAX, Pace


class World:
    """A line and its pool, in a time of their own."""

    def __init__(self, pace: Pace, *, patience: float = 20.0, slots: int = 100) -> None:
        self.now = 0.0
        self.pace = pace
        self.pool = TaskPool(slots)
        self.line = FairRateLimiter(
            lambda: self.pace, patience, clock=lambda: self.now, sleep=self._sleep
        )
        self.went: list[tuple[str, float]] = []
        self.looks = 0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._numbers = itertools.count()

    async def _sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.looks += 1
        woken = asyncio.Event()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._numbers), woken))
        await woken.wait()

    def ask(
        self,
        *names: str,
        takes: float = 0.0,
        returning: bool = False,
        requests: float = 1.0,
        rank: float = 0.0,
    ) -> list[asyncio.Task[None]]:
        turns = [
            self._turn(returning=returning, requests=requests, rank=rank) for _ in range(len(names))
        ]
        return [
            asyncio.create_task(self._ask(name, takes, turn))
            for name, turn in zip(names, turns, strict=True)
        ]

    async def _ask(self, name: str, takes: float, turn: AbstractAsyncContextManager[None]) -> None:
        async with turn:
            self.went.append((name, round(self.now, 6)))
            if takes:
                await self._sleep(takes)

    def _turn(
        self, *, returning: bool, requests: float, rank: float
    ) -> AbstractAsyncContextManager[None]:
        return self.line.acquire(self.pool.slot, returning=returning, requests=requests, rank=rank)

    async def pass_by(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.now + seconds
        await quiet()
        while self._sleepers and self._sleepers[0][0] <= end:
            self.now, _, woken = heapq.heappop(self._sleepers)
            woken.set()
            await quiet()
        self.now = end

    def names(self) -> str:
        return "".join(name for name, _ in self.went)

    def times(self) -> list[float]:
        return [at for _, at in self.went]


async def quiet() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


async def sent_away(task: asyncio.Task[None]) -> float:
    await quiet()
    assert task.done()
    with pytest.raises(RateLimitExceededError) as caught:
        await task
    return round(caught.value.seconds, 6)


async def test_one_after_the_other_at_the_pace() -> None:
    world = World(Pace(2))
    world.ask(*"abcde")
    await world.pass_by(10)
    assert world.went == [("a", 0.0), ("b", 0.5), ("c", 1.0), ("d", 1.5), ("e", 2.0)]


async def test_after_a_pause_a_burst_may_go_at_once_and_no_more() -> None:
    world = World(Pace(2, burst=3))
    await world.pass_by(100)
    world.ask(*"abcde")
    await world.pass_by(10)
    assert world.times() == [100, 100, 100, 100.5, 101]


async def test_a_faster_or_slower_pace_is_noticed_soon() -> None:
    world = World(Pace(0.1))
    world.ask(*"abc")
    await world.pass_by(1)
    world.pace = Pace(10)
    await world.pass_by(1)
    assert world.names() == "abc"
    assert world.times()[1] <= 1 + LOOK_SECONDS + 1 / 10


async def test_without_a_share_nobody_goes_and_nobody_is_sent_away() -> None:
    world = World(Pace(0))
    world.ask(*"ab")
    await world.pass_by(0.1)
    assert world.names() == "a"
    await world.pass_by(1_000)
    assert world.names() == "a"
    world.pace = Pace(10)
    await world.pass_by(1)
    assert world.names() == "ab"


async def test_nobody_goes_during_a_pause() -> None:
    world = World(Pace(2, paused_seconds=5))
    (task,) = world.ask("a")
    await world.pass_by(3)
    world.pace = Pace(2)
    assert world.names() == ""
    await world.pass_by(1)
    assert world.names() == "a"
    await task


async def test_who_would_wait_too_long_is_sent_away_and_told_when_to_come() -> None:
    world = World(Pace(1), patience=2)
    tasks = world.ask(*"abcdefg")
    await quiet()
    assert [await sent_away(task) for task in tasks[3:]] == [3, 4, 5, 6]
    await world.pass_by(10)
    assert world.names() == "abc"


async def test_who_returns_waits_for_those_in_the_line_only() -> None:
    world = World(Pace(1), patience=2)
    tasks = world.ask(*"abcdefg")
    await world.pass_by(3)
    assert world.names() == "abc"
    new, returning = (*world.ask("n"), *world.ask("r", returning=True))
    assert await sent_away(new) > 2
    await world.pass_by(2)
    await returning
    assert world.names() == "abcr"
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_short_line_is_told_from_a_long_one() -> None:
    world = World(Pace(1), patience=2)
    assert world.line.is_short(returning=False)
    tasks = world.ask(*"abcdef")
    await quiet()
    assert not world.line.is_short(returning=False)
    assert not world.line.is_short(returning=True)
    await world.pass_by(2)
    assert not world.line.is_short(returning=False)
    assert world.line.is_short(returning=True)
    await world.pass_by(10)
    assert world.line.is_short(returning=False)
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_waits_when_the_pace_falls_is_sent_away() -> None:
    world = World(Pace(1), patience=5)
    tasks = world.ask(*"abcd")
    await world.pass_by(0.5)
    world.pace = Pace(0.05)
    await world.pass_by(5)
    assert world.names() == "a"
    assert [seconds > 5 for seconds in [await sent_away(task) for task in tasks[1:]]] == [True] * 3


async def test_of_a_backlog_a_minute_is_sent_away_and_the_rest_waits_a_while() -> None:
    world = World(Pace(1), patience=20)
    tasks = world.ask(*(str(number) for number in range(200)))
    await quiet()
    away = [task for task in tasks if task.done() and task.exception()]
    assert HORIZON_SECONDS - 20 <= len(away) <= HORIZON_SECONDS + 1
    assert max([await sent_away(task) for task in away]) <= HORIZON_SECONDS + 1
    await world.pass_by(20.5)
    assert len(world.went) == 20 + 1
    assert sum(not task.done() for task in tasks) <= 20
    await world.pass_by(20)
    last = [await sent_away(task) for task in tasks if task.exception()]
    assert max(last) <= 200


async def test_a_long_pause_sends_everybody_away() -> None:
    world = World(Pace(1, paused_seconds=10_000), patience=5)
    (task,) = world.ask("a")
    await quiet()
    assert await sent_away(task) == PROMISE_SECONDS_MAX


async def test_who_is_cancelled_leaves_the_line() -> None:
    world = World(Pace(1))
    tasks = world.ask(*"abcd")
    await world.pass_by(0.5)
    tasks[1].cancel()
    await world.pass_by(10)
    assert world.went == [("a", 0), ("c", 1), ("d", 2)]


# Several requests at a time


async def test_who_makes_several_requests_begins_in_turn_and_those_behind_pay() -> None:
    world = World(Pace(2, burst=2))
    world.ask("a")
    world.ask("L", requests=7)
    world.ask(*"bc")
    await world.pass_by(10)
    assert world.went == [("a", 0), ("L", 0.5), ("b", 4), ("c", 4.5)]


async def test_a_large_one_goes_at_a_low_rate_too() -> None:
    world = World(Pace(0.1), patience=5)
    world.ask("L", requests=60)
    await world.pass_by(1)
    assert world.names() == "L"
    (task,) = world.ask("a")
    await world.pass_by(5)
    assert await sent_away(task) == PROMISE_SECONDS_MAX


async def test_a_large_one_in_the_line_makes_it_long() -> None:
    world = World(Pace(1), patience=5)
    tasks = [*world.ask("a"), *world.ask("L", requests=10), *world.ask("b")]
    assert await sent_away(tasks[-1]) == 11
    await world.pass_by(10)
    assert world.names() == "aL"


# With few slots


async def test_slots_that_come_free_late_let_no_more_through_than_the_pace() -> None:
    world = World(Pace(2, burst=2), slots=2)
    await world.pass_by(10)
    world.ask("a", "b", takes=30)
    await world.pass_by(1)
    world.ask(*"cdefg")
    await world.pass_by(60)
    assert world.times() == [10, 10, 40, 40, 40.5, 41, 41.5]
    assert world.names() == "abcdefg"


async def test_those_who_wait_for_a_slot_do_not_look_all_the_time() -> None:
    world = World(Pace(5, burst=1), slots=1)
    world.ask("a", takes=60)
    world.ask(*"bcdef")
    await world.pass_by(59)
    assert world.names() == "a"
    assert world.looks < 5 * 60 * 5
    await world.pass_by(10)
    assert world.names() == "abcdef"


async def test_a_slot_is_free_again_when_a_turn_ends_badly() -> None:
    world = World(Pace(100), slots=1)
    with pytest.raises(KeyError):
        async with world._turn(returning=False, requests=1.0, rank=0.0):
            raise KeyError
    world.ask("a")
    await world.pass_by(1)
    assert world.names() == "a"


async def test_a_higher_rank_is_next_whenever_it_came() -> None:
    world = World(Pace(4))
    world.ask(*"abcde")
    await world.pass_by(0.3)
    world.ask(*"xy", rank=9)
    world.ask("m", rank=5)
    await world.pass_by(10)
    assert world.names() == "abxymcde"
    assert world.times() == [number / 4 for number in range(8)], "at the pace as before"


async def test_a_low_rank_does_not_starve() -> None:
    world = World(Pace(10), patience=100)
    world.ask("low")
    world.ask("lower")
    for number in range(40):
        world.ask(str(number), rank=9)
    await world.pass_by(2)
    names = [name for name, _ in world.went]
    assert {"low", "lower"} <= set(names[: 2 * AGEING + 2])


async def test_a_higher_rank_is_not_sent_away_because_lower_ones_were() -> None:
    world = World(Pace(1), patience=5)
    tasks = world.ask(*(str(number) for number in range(60)))
    await quiet()
    assert sum(task.done() for task in tasks) > 20
    (same,) = world.ask("same")
    (higher,) = world.ask("higher", rank=1)
    await world.pass_by(2)
    assert await sent_away(same) > 5
    assert "higher" in [name for name, _ in world.went]
    assert higher.done()


async def test_a_higher_rank_waits_behind_those_of_its_own_that_were_sent_away() -> None:
    world = World(Pace(1), patience=5)
    world.ask(*(str(number) for number in range(60)), rank=1)
    await quiet()
    (same,) = world.ask("same", rank=1)
    assert await sent_away(same) > 5


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
def test_whatever_comes_it_keeps_the_pace_and_the_order(steps: list[_Step], slots: int) -> None:
    asyncio.run(_keeps_the_pace(steps, slots))


def _tokens_at_most(allowed: list[tuple[float, float, float]], begin: float, end: float) -> float:
    """Return how many tokens come in a time when the limiter sees each rate, or the next one.

    It looks every `LOOK_SECONDS`: a rate that holds for a shorter time may be missed.
    """
    spread = [(since - LOOK_SECONDS, until + LOOK_SECONDS, rate) for since, until, rate in allowed]
    edges = {edge for since, until, _ in spread for edge in (since, until)}
    moments = sorted({begin, end, *(edge for edge in edges if begin < edge < end)})
    return sum(
        (later - earlier)
        * max(rate for since, until, rate in spread if since <= earlier and later <= until)
        for earlier, later in itertools.pairwise(moments)
    )


async def _keeps_the_pace(steps: list[_Step], slots: int) -> None:
    world, allowed, tasks = World(Pace(1), slots=slots), [], []
    for number, (seconds, count, rate, takes, requests) in enumerate(steps):
        world.pace = Pace(rate)
        names = (f"{number}-{each}" for each in range(count))
        tasks += world.ask(*names, takes=takes, requests=requests)
        start = world.now
        await world.pass_by(seconds)
        allowed.append((start, world.now, rate))
    times = world.times()
    sizes = [steps[int(name.partition("-")[0])][4] for name, _ in world.went]
    for first, last in itertools.combinations(range(len(times)), 2):
        begin, end = times[first], times[last]
        came = _tokens_at_most(allowed, begin, end)
        # The last one begins with its first request, the others have come before.
        assert sum(sizes[first:last]) <= came + 1e-3
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
