"""Delay queue with an injected clock."""

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
from streams.runtime.delay_queue import RELEASES_MAX, DelayQueue, PackedRecord
from streams.settings import StageSettings
from streams.topics import AUDIT, SELECTED, Topic

TOPICS = ("retry.5s", "retry.1h")
ALL = [(topic, 0) for topic in TOPICS]


class DelayQueueHarness:
    """Delay queue whose released records stay in flight until ``ends`` is set."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.wall_clock_offset = 0.0
        self.released: list[tuple[int, float]] = []
        self.ends = asyncio.Event()
        self.ends.set()
        self.shared_state = SharedState()
        self.meter = Meter(StageSettings(backlog_records=8))
        self.claims: dict[int, Claim] = {}
        self.dues: dict[int, float | None] = {}
        self.queue = DelayQueue(
            TOPICS,
            due=lambda record, _now: self.dues[record.offset],
            claim=self.claim,
            gate=BackPressureGate(
                {AUDIT: self.meter, SELECTED: Meter(StageSettings())},
                lambda: 1.0,
            ),
            start=self.start_record,
            shared_state=self.shared_state,
            clock=lambda: self.now,
            wall_clock=lambda: self.now + self.wall_clock_offset,
        )
        self.running: asyncio.Task[None] | None = None

    def claim(self, record: Incoming) -> Claim:
        return self.claims.get(record.offset) or claim_of(record)

    def start_record(self, record: Incoming) -> "asyncio.Task[None]":
        self.released.append((record.offset, self.now))
        return asyncio.create_task(self.work())

    async def work(self) -> None:
        await self.ends.wait()

    def put_record(
        self, offset: int, due: float | None, *, request_id: str = "r", topic: str = "retry.5s"
    ) -> None:
        self.dues[offset] = due
        headers = (("ce_correlationid", request_id.encode()),) if request_id else ()
        self.queue.put(Incoming(topic, 0, offset, b"k", b"v", headers, self.now))

    async def advance(self, seconds: float) -> None:
        """Advance the clock and wake the queue."""
        self.now += seconds
        self.queue._wake.set()
        await yield_to_tasks()

    @property
    def offsets(self) -> list[int]:
        return [offset for offset, _ in self.released]

    def start(self) -> None:
        self.running = asyncio.create_task(self.queue.run())

    async def stop(self) -> None:
        if self.running:
            self.running.cancel()
            with suppress(asyncio.CancelledError):
                await self.running


async def yield_to_tasks(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
async def harness() -> AsyncIterator[DelayQueueHarness]:
    made = DelayQueueHarness()
    made.start()
    await yield_to_tasks()
    yield made
    made.ends.set()
    await made.stop()


async def test_records_are_released_in_due_order(harness: DelayQueueHarness) -> None:
    for offset, wait in enumerate([30, 10, 20]):
        harness.put_record(offset, harness.now + wait)
    for _ in range(3):
        await harness.advance(10)
    assert harness.released == [(1, 1_010.0), (2, 1_020.0), (0, 1_030.0)]
    assert len(harness.queue) == 0


async def test_record_is_not_released_early(harness: DelayQueueHarness) -> None:
    harness.put_record(0, harness.now + 10)
    await harness.advance(9.999)
    assert harness.released == []
    await harness.advance(0.001)
    assert harness.offsets == [0]


@pytest.mark.parametrize("due", [None, 0.0, 1_000.0])
async def test_record_that_is_due_or_has_no_due_time_is_released_at_once(
    harness: DelayQueueHarness, due: float | None
) -> None:
    harness.put_record(0, due)
    await yield_to_tasks()
    assert harness.offsets == [0]


async def test_record_is_released_by_a_real_clock() -> None:
    harness = DelayQueueHarness()
    loop = asyncio.get_running_loop()
    harness.queue._clock = harness.queue._wall_clock = loop.time
    harness.start()
    harness.put_record(0, loop.time() + 60)
    await yield_to_tasks()
    harness.put_record(1, loop.time() + 0.03)
    async with asyncio.timeout(2):
        while not harness.released:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert harness.offsets == [1]
    await harness.stop()


@pytest.mark.parametrize("jump", [-7_200.0, -3_000.0, 3_000.0])
async def test_wall_clock_jump_does_not_affect_held_records(
    harness: DelayQueueHarness, jump: float
) -> None:
    harness.put_record(0, harness.now + 10)
    harness.wall_clock_offset = jump
    harness.put_record(1, harness.now + jump + 10)
    await harness.advance(9.999)
    assert harness.released == []
    await harness.advance(0.001)
    assert sorted(harness.offsets) == [0, 1]


async def test_releases_in_flight_are_bounded(harness: DelayQueueHarness) -> None:
    harness.ends.clear()
    for offset in range(RELEASES_MAX + 50):
        harness.put_record(offset, harness.now)
    await yield_to_tasks()
    assert len(harness.released) == RELEASES_MAX
    harness.ends.set()
    await yield_to_tasks()
    assert harness.offsets == list(range(RELEASES_MAX + 50))


# Cancellation


@pytest.mark.parametrize(
    ("request_id", "key", "is_released"),
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
@pytest.mark.parametrize("signal_first", [True, False])
async def test_cancelled_record_is_released_at_once(
    harness: DelayQueueHarness, *, request_id: str, key: str, is_released: bool, signal_first: bool
) -> None:
    if signal_first:
        harness.shared_state.put(key, b"{}")
    harness.put_record(0, harness.now + 60, request_id=request_id)
    await yield_to_tasks()
    if not signal_first:
        assert harness.released == []
        harness.shared_state.put(key, b"{}")
        await yield_to_tasks()
    assert harness.offsets == ([0] if is_released else [])


async def test_cancelled_record_is_released_once(harness: DelayQueueHarness) -> None:
    harness.put_record(0, harness.now + 60, request_id="b1/7")
    for key in ("cancel/b1", "cancel/b1/7", "cancel/b1"):
        harness.shared_state.put(key, b"{}")
    await yield_to_tasks()
    await harness.advance(60)
    assert harness.offsets == [0]


async def test_deleted_signal_cancels_nothing(harness: DelayQueueHarness) -> None:
    harness.put_record(0, harness.now + 60, request_id="r1")
    harness.shared_state.put("cancel/r1", None)
    await yield_to_tasks()
    assert harness.released == []


async def test_one_signal_cancels_a_whole_batch(harness: DelayQueueHarness) -> None:
    for index in range(500):
        harness.put_record(index, harness.now + 60 + index, request_id=f"b1/{index}")
    harness.shared_state.put("cancel/b1", b"{}")
    await yield_to_tasks(30)
    assert sorted(harness.offsets) == list(range(500))
    assert harness.queue._by_key == {}


# Partitions and space


async def test_records_of_a_revoked_partition_are_dropped(harness: DelayQueueHarness) -> None:
    harness.put_record(0, harness.now + 1, topic="retry.5s")
    harness.put_record(1, harness.now + 1, topic="retry.1h")
    assert harness.queue.retain([("retry.1h", 0)]) == ["retry.5s"]
    await harness.advance(1)
    assert harness.offsets == [1]
    assert harness.queue._by_key == {}


async def test_held_bytes_of_one_topic_are_bounded(
    harness: DelayQueueHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BYTES_PER_TOPIC", 20)
    harness.put_record(0, harness.now + 1)
    waiting = asyncio.create_task(harness.queue.wait_for_space("retry.5s"))
    await yield_to_tasks()
    assert not waiting.done()
    await asyncio.wait_for(harness.queue.wait_for_space("retry.1h"), 1)
    await harness.advance(1)
    assert waiting.done()


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=30))
def test_any_plan_releases_each_record_once_and_not_early(plan: list[tuple[int, bool]]) -> None:
    asyncio.run(_check(plan))


async def _check(plan: list[tuple[int, bool]]) -> None:
    harness = DelayQueueHarness()
    harness.start()
    for offset, (wait, is_cancelled) in enumerate(plan):
        harness.put_record(offset, 1_000.0 + wait, request_id=f"r{offset}")
        if is_cancelled:
            harness.shared_state.put(f"cancel/r{offset}", b"{}")
        await harness.advance(1)
    for _ in range(51):
        await harness.advance(1)
    await harness.stop()
    assert sorted(harness.offsets) == list(range(len(plan)))
    assert all(at >= 1_000 + plan[o][0] for o, at in harness.released if not plan[o][1])
    assert len(harness.queue) == harness.queue._budgets["retry.5s"].used == 0


# Metrics


async def test_held_count_and_oldest_age_are_exported(harness: DelayQueueHarness) -> None:
    await harness.stop()
    harness.put_record(0, harness.now + 60)
    harness.now += 25
    harness.put_record(1, harness.now + 60)
    harness.start()
    await yield_to_tasks()
    assert _sample("clipmill_parked_events", "retry.5s") == 2
    assert _sample("clipmill_oldest_parked_seconds", "retry.5s") == 25
    assert _sample("clipmill_parked_events", "retry.1h") == 0
    assert _sample("clipmill_oldest_parked_seconds", "retry.1h") == 0


async def test_lateness_is_observed_for_delayed_records_only(harness: DelayQueueHarness) -> None:
    name = "clipmill_delay_lateness_seconds_count"
    before = _sample(name, "retry.1h") or 0
    harness.put_record(0, None, topic="retry.1h")
    harness.put_record(1, harness.now + 60, topic="retry.1h", request_id="taken back")
    harness.shared_state.put("cancel/taken back", b"{}")
    harness.put_record(2, harness.now - 3, topic="retry.1h")
    await yield_to_tasks()
    assert len(harness.released) == 3
    assert _sample(name, "retry.1h") == before + 1


def _sample(name: str, topic: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"delay": topic})


async def test_records_of_a_truncated_partition_are_dropped(harness: DelayQueueHarness) -> None:
    harness.put_record(0, harness.now + 1, topic="retry.5s")
    harness.put_record(1, harness.now + 1, topic="retry.1h")
    assert harness.queue.drop(("retry.1h", 0)) == ["retry.1h"]
    await harness.advance(1)
    assert harness.offsets == [0]


# Downstream capacity


def claim(rank: int, topic: Topic = AUDIT) -> Claim:
    return Claim(rank, (topic,))


async def test_due_records_are_released_within_capacity_earliest_first(
    harness: DelayQueueHarness,
) -> None:
    harness.meter.observe(GroupProgress(end=0, finished=0), 0.0)
    for offset in range(20):
        harness.claims[offset] = claim(10)
        harness.put_record(offset, 1_010.0 + (20 - offset) / 100)
    await harness.advance(11)
    assert harness.offsets == list(range(19, 11, -1)), "eight, those that were due first"
    harness.meter.observe(GroupProgress(end=8, finished=8), 1.0)
    harness.queue._gate.reset_spent()
    harness.queue.wake()
    await yield_to_tasks(40)
    assert harness.offsets == list(range(19, 3, -1))


async def test_target_without_capacity_does_not_block_another(harness: DelayQueueHarness) -> None:
    harness.meter.observe(GroupProgress(end=100, finished=0), 0.0)
    for offset, topic in enumerate((AUDIT, SELECTED)):
        harness.claims[offset] = claim(10, topic)
        harness.put_record(offset, 1_000.0)
    await yield_to_tasks(40)
    assert harness.offsets == [1]


async def test_blocked_due_record_is_released_on_cancellation(harness: DelayQueueHarness) -> None:
    harness.meter.observe(GroupProgress(end=100, finished=0), 0.0)
    harness.claims[0] = Claim(10, (AUDIT,), request="r")
    harness.put_record(0, 1_000.0)
    await yield_to_tasks()
    assert harness.offsets == []
    harness.shared_state.put("cancel/r", b"{}")
    await yield_to_tasks()
    assert harness.offsets == [0]


async def test_blocked_due_record_of_a_revoked_partition_is_dropped(
    harness: DelayQueueHarness,
) -> None:
    harness.meter.observe(GroupProgress(end=100, finished=0), 0.0)
    harness.claims[0] = claim(10)
    harness.put_record(0, 1_000.0)
    await yield_to_tasks()
    assert harness.queue.retain([]) == ["retry.5s"]
    harness.meter.observe(GroupProgress(end=100, finished=100), 0.0)
    harness.queue.wake()
    await yield_to_tasks()
    assert (harness.offsets, len(harness.queue)) == ([], 0)


headers = st.lists(
    st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.none() | st.binary()),
    max_size=5,
)


@given(st.none() | st.binary(), st.none() | st.binary(), headers, st.integers(0, 2**62))
def test_packed_record_round_trips(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]], offset: int
) -> None:
    record = Incoming("retry.5s", 3, offset, key, value, tuple(headers), 1.5)
    packed = PackedRecord.of(record)
    assert packed.unpack() == record
    assert (packed.topic, packed.partition, packed.offset) == ("retry.5s", 3, offset)


def test_repetitive_record_is_compressed() -> None:
    record = Incoming("retry.5s", 0, 0, b"k", b'{"url": "https://tiktok.com"}' * 500, (), 1.5)
    assert len(PackedRecord.of(record).packed) < 500
