"""The waiting room, on a clock that the test moves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.claims import Claim, claim_of
from streams.cluster.shared_state import SharedState
from streams.observability.metrics import REGISTRY
from streams.records import Incoming
from streams.runtime import delay_queue as module
from streams.runtime.back_pressure import BackPressureGate, GroupProgress, Meter
from streams.runtime.delay_queue import LEAVING, DelayQueue
from streams.settings import StageSettings
from streams.topics import AUDIT, SELECTED, Topic

TOPICS = ("retry.5s", "retry.1h")
ALL = [(topic, 0) for topic in TOPICS]


class Bench:
    """A room; what leaves it stays in work until the test ends it."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.set_by = 0.0
        self.left: list[tuple[int, float]] = []
        self.ends = asyncio.Event()
        self.ends.set()
        self.signals = SharedState()
        self.meter = Meter(StageSettings(backlog_records=8))
        self.claims: dict[int, Claim] = {}
        self.dues: dict[int, float | None] = {}
        self.room = DelayQueue(
            TOPICS,
            due=lambda record, _now: self.dues[record.offset],
            claim=self.claim,
            gate=BackPressureGate(
                {AUDIT: self.meter, SELECTED: Meter(StageSettings())},
                lambda: 1.0,
            ),
            go=self.go,
            signals=self.signals,
            clock=lambda: self.now,
            wall_clock=lambda: self.now + self.set_by,
        )
        self.running: asyncio.Task[None] | None = None

    def claim(self, record: Incoming) -> Claim:
        return self.claims.get(record.offset) or claim_of(record)

    def go(self, record: Incoming) -> "asyncio.Task[None]":
        self.left.append((record.offset, self.now))
        return asyncio.create_task(self.work())

    async def work(self) -> None:
        await self.ends.wait()

    def enter(
        self, offset: int, due: float | None, *, owner: str = "r", topic: str = "retry.5s"
    ) -> None:
        self.dues[offset] = due
        headers = (("ce_correlationid", owner.encode()),) if owner else ()
        self.room.enter(Incoming(topic, 0, offset, b"k", b"v", headers, self.now))

    async def move(self, seconds: float) -> None:
        """Move the clock; whoever waits looks at it again."""
        self.now += seconds
        self.room._earlier.set()
        await turns()

    @property
    def offsets(self) -> list[int]:
        return [offset for offset, _ in self.left]

    def start(self) -> None:
        self.running = asyncio.create_task(self.room.run())

    async def stop(self) -> None:
        if self.running:
            self.running.cancel()
            with suppress(asyncio.CancelledError):
                await self.running


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    made.start()
    await turns()
    yield made
    made.ends.set()
    await made.stop()


async def test_records_leave_in_the_order_in_which_they_are_due(bench: Bench) -> None:
    for offset, wait in enumerate([30, 10, 20]):
        bench.enter(offset, bench.now + wait)
    for _ in range(3):
        await bench.move(10)
    assert bench.left == [(1, 1_010.0), (2, 1_020.0), (0, 1_030.0)]
    assert len(bench.room) == 0


async def test_none_leaves_early(bench: Bench) -> None:
    bench.enter(0, bench.now + 10)
    await bench.move(9.999)
    assert bench.left == []
    await bench.move(0.001)
    assert bench.offsets == [0]


@pytest.mark.parametrize("due", [None, 0.0, 1_000.0])
async def test_what_is_due_or_does_not_say_when_leaves_at_once(
    bench: Bench, due: float | None
) -> None:
    bench.enter(0, due)
    await turns()
    assert bench.offsets == [0]


async def test_a_real_clock_wakes_it() -> None:
    bench = Bench()
    loop = asyncio.get_running_loop()
    bench.room._clock = bench.room._wall_clock = loop.time
    bench.start()
    bench.enter(0, loop.time() + 60)
    await turns()
    bench.enter(1, loop.time() + 0.03)
    async with asyncio.timeout(2):
        while not bench.left:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert bench.offsets == [1]
    await bench.stop()


@pytest.mark.parametrize("jump", [-7_200.0, -3_000.0, 3_000.0])
async def test_what_is_held_does_not_notice_that_the_wall_clock_is_set(
    bench: Bench, jump: float
) -> None:
    bench.enter(0, bench.now + 10)
    bench.set_by = jump
    bench.enter(1, bench.now + jump + 10)
    await bench.move(9.999)
    assert bench.left == []
    await bench.move(0.001)
    assert sorted(bench.offsets) == [0, 1]


async def test_of_thousands_due_at_once_few_are_on_their_way(bench: Bench) -> None:
    bench.ends.clear()
    for offset in range(LEAVING + 50):
        bench.enter(offset, bench.now)
    await turns()
    assert len(bench.left) == LEAVING
    bench.ends.set()
    await turns()
    assert bench.offsets == list(range(LEAVING + 50))


# Taken back


@pytest.mark.parametrize(
    ("owner", "key", "leaves"),
    [
        ("r1", "cancel/r1", True),
        ("r1", "cancel/r2", False),
        ("b1/7", "cancel/b1/7", True),
        ("b1/7", "cancel/b1", True),
        ("b1/7", "cancel/b1/8", False),
        ("b1/7/replay-1", "cancel/b1", True),
        ("r1/replay-1", "cancel/r1/replay-1", True),
        ("r1/replay-1", "cancel/r1", False),
        ("", "cancel/", False),
    ],
)
@pytest.mark.parametrize("before", [True, False])
async def test_what_is_taken_back_leaves_at_once(
    bench: Bench, *, owner: str, key: str, leaves: bool, before: bool
) -> None:
    if before:
        bench.signals.put(key, b"{}")
    bench.enter(0, bench.now + 60, owner=owner)
    await turns()
    if not before:
        assert bench.left == []
        bench.signals.put(key, b"{}")
        await turns()
    assert bench.offsets == ([0] if leaves else [])


async def test_what_is_taken_back_leaves_once(bench: Bench) -> None:
    bench.enter(0, bench.now + 60, owner="b1/7")
    for key in ("cancel/b1", "cancel/b1/7", "cancel/b1"):
        bench.signals.put(key, b"{}")
    await turns()
    await bench.move(60)
    assert bench.offsets == [0]


async def test_a_signal_that_is_deleted_takes_nothing_back(bench: Bench) -> None:
    bench.enter(0, bench.now + 60, owner="r1")
    bench.signals.put("cancel/r1", None)
    await turns()
    assert bench.left == []


async def test_a_whole_batch_leaves_by_one_signal(bench: Bench) -> None:
    for index in range(500):
        bench.enter(index, bench.now + 60 + index, owner=f"b1/{index}")
    bench.signals.put("cancel/b1", b"{}")
    await turns(30)
    assert sorted(bench.offsets) == list(range(500))
    assert bench.room._by_key == {}


# Partitions and space


async def test_records_of_a_lost_partition_are_forgotten(bench: Bench) -> None:
    bench.enter(0, bench.now + 1, topic="retry.5s")
    bench.enter(1, bench.now + 1, topic="retry.1h")
    assert bench.room.retain([("retry.1h", 0)]) == ["retry.5s"]
    await bench.move(1)
    assert bench.offsets == [1]
    assert bench.room._by_key == {}


async def test_bytes_of_one_topic_are_bounded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BYTES_PER_TOPIC", 20)
    bench.enter(0, bench.now + 1)
    waiting = asyncio.create_task(bench.room.space("retry.5s"))
    await turns()
    assert not waiting.done()
    await asyncio.wait_for(bench.room.space("retry.1h"), 1)
    await bench.move(1)
    assert waiting.done()


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=30))
def test_whatever_comes_each_leaves_once_and_not_early(plan: list[tuple[int, bool]]) -> None:
    asyncio.run(_check(plan))


async def _check(plan: list[tuple[int, bool]]) -> None:
    bench = Bench()
    bench.start()
    for offset, (wait, taken_back) in enumerate(plan):
        bench.enter(offset, 1_000.0 + wait, owner=f"r{offset}")
        if taken_back:
            bench.signals.put(f"cancel/r{offset}", b"{}")
        await bench.move(1)
    for _ in range(51):
        await bench.move(1)
    await bench.stop()
    assert sorted(bench.offsets) == list(range(len(plan)))
    assert all(at >= 1_000 + plan[o][0] for o, at in bench.left if not plan[o][1])
    assert len(bench.room) == bench.room._space["retry.5s"].taken == 0


# Metrics


async def test_how_many_wait_and_for_how_long_is_reported(bench: Bench) -> None:
    await bench.stop()
    bench.enter(0, bench.now + 60)
    bench.now += 25
    bench.enter(1, bench.now + 60)
    bench.start()
    await turns()
    assert _sample("clipmill_parked_events", "retry.5s") == 2
    assert _sample("clipmill_oldest_parked_seconds", "retry.5s") == 25
    assert _sample("clipmill_parked_events", "retry.1h") == 0
    assert _sample("clipmill_oldest_parked_seconds", "retry.1h") == 0


async def test_lateness_counts_only_what_had_to_wait(bench: Bench) -> None:
    name = "clipmill_delay_lateness_seconds_count"
    before = _sample(name, "retry.1h") or 0
    bench.enter(0, None, topic="retry.1h")
    bench.enter(1, bench.now + 60, topic="retry.1h", owner="taken back")
    bench.signals.put("cancel/taken back", b"{}")
    bench.enter(2, bench.now - 3, topic="retry.1h")
    await turns()
    assert len(bench.left) == 3
    assert _sample(name, "retry.1h") == before + 1


def _sample(name: str, topic: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"delay": topic})


async def test_records_of_a_partition_with_another_log_are_dropped(bench: Bench) -> None:
    bench.enter(0, bench.now + 1, topic="retry.5s")
    bench.enter(1, bench.now + 1, topic="retry.1h")
    assert bench.room.drop(("retry.1h", 0)) == ["retry.1h"]
    await bench.move(1)
    assert bench.offsets == [0]


# Room in front of the stages that they go to


def claim(rank: int, topic: Topic = AUDIT) -> Claim:
    return Claim(rank, (topic,))


async def test_what_is_due_leaves_as_there_is_room_earliest_first(bench: Bench) -> None:
    bench.meter.observe(GroupProgress(end=0, finished=0), 0.0)
    for offset in range(20):
        bench.claims[offset] = claim(10)
        bench.enter(offset, 1_010.0 + (20 - offset) / 100)
    await bench.move(11)
    assert bench.offsets == list(range(19, 11, -1)), "eight, and those that were due first"
    bench.meter.observe(GroupProgress(end=8, finished=8), 1.0)
    bench.room._gate.measured()
    bench.room.look()
    await turns(40)
    assert bench.offsets == list(range(19, 3, -1))


async def test_one_target_without_room_holds_up_no_other(bench: Bench) -> None:
    bench.meter.observe(GroupProgress(end=100, finished=0), 0.0)
    for offset, topic in enumerate((AUDIT, SELECTED)):
        bench.claims[offset] = claim(10, topic)
        bench.enter(offset, 1_000.0)
    await turns(40)
    assert bench.offsets == [1]


async def test_what_is_due_and_held_back_leaves_when_it_is_cancelled(bench: Bench) -> None:
    bench.meter.observe(GroupProgress(end=100, finished=0), 0.0)
    bench.claims[0] = Claim(10, (AUDIT,), request="r")
    bench.enter(0, 1_000.0)
    await turns()
    assert bench.offsets == []
    bench.signals.put("cancel/r", b"{}")
    await turns()
    assert bench.offsets == [0]


async def test_what_is_due_and_held_back_of_a_lost_partition_is_forgotten(bench: Bench) -> None:
    bench.meter.observe(GroupProgress(end=100, finished=0), 0.0)
    bench.claims[0] = claim(10)
    bench.enter(0, 1_000.0)
    await turns()
    assert bench.room.retain([]) == ["retry.5s"]
    bench.meter.observe(GroupProgress(end=100, finished=100), 0.0)
    bench.room.look()
    await turns()
    assert (bench.offsets, len(bench.room)) == ([], 0)
