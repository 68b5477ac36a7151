"""Heartbeats, on a clock that the test moves and with stages that answer as it says."""

import asyncio
import json
from collections.abc import Mapping, Sequence

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import RecordMetadata, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from streams.cluster.producer import Write
from streams.observability.health import Health
from streams.observability.metrics import REGISTRY
from streams.runtime.heartbeats import PART, Heartbeats, StagePartition, Unanswered, unanswered
from streams.settings import HeartbeatSettings
from streams.topics import HEARTBEATS, Topic

DEFAULTS = HeartbeatSettings()
LIMIT = DEFAULTS.limit_seconds
INTERVAL = DEFAULTS.interval_seconds
LONG = 2 * LIMIT // INTERVAL * INTERVAL


class Bench:
    """Two partitions and two stages, which answer at once as long as they are not stopped."""

    def __init__(self, settings: HeartbeatSettings = DEFAULTS) -> None:
        self.now = 1_000.0
        self.mine = {0, 1}
        self.ends = [0, 0]
        self.written: list[Write] = []
        self.stopped: set[StagePartition] = set()
        self.answered: dict[StagePartition, int] = {}
        self.away = False
        self.settings = settings
        self.heartbeats = Heartbeats(
            settings,
            step="monitor",
            topic_prefix="p.",
            publish=self.publish,
            committed=self.committed,
            partitions=lambda: self.mine,
            stages={"ledger", "download"},
            clock=lambda: self.now,
        )

    async def publish(self, writes: Sequence[Write]) -> list[RecordMetadata]:
        self.written += writes
        return [self._place(write.topic, write.partition or 0) for write in writes]

    def _place(self, topic: str, partition: int) -> RecordMetadata:
        offset, self.ends[partition] = self.ends[partition], self.ends[partition] + 1
        place = TopicPartition(topic, partition)
        return RecordMetadata(topic, partition, place, offset, None, None, None)

    async def committed(self, stage: str, topic: Topic) -> Mapping[int, int]:
        assert topic is HEARTBEATS
        if self.away:
            raise KafkaConnectionError("no broker")
        for partition, end in enumerate(self.ends):
            if (stage, partition) not in self.stopped:
                self.answered[stage, partition] = end
        return {number: self.answered.get((stage, number), -1) for number in (0, 1)}

    async def run(self, seconds: float) -> None:
        """Let time go by, with a beat after each interval."""
        for _ in range(round(seconds / self.settings.interval_seconds)):
            self.now += self.settings.interval_seconds
            await self.heartbeats.beat()


@pytest.fixture
def bench() -> Bench:
    return Bench()


SENT = {0: 10, 1: 20}
A, B = ("a", 0), ("a", 1)


@pytest.mark.parametrize(
    ("before", "committed", "found"),
    [
        ({}, {0: 11, 1: 21}, {}),
        ({}, {0: 10, 1: 21}, {A: Unanswered(10, 5.0)}),
        ({}, {0: -1, 1: -1}, {A: Unanswered(-1, 5.0), B: Unanswered(-1, 5.0)}),
        ({A: Unanswered(10, 1.0)}, {0: 10, 1: 21}, {A: Unanswered(10, 1.0)}),
        ({A: Unanswered(9, 1.0)}, {0: 10, 1: 21}, {A: Unanswered(10, 5.0)}),
        ({A: Unanswered(10, 1.0)}, {0: 11, 1: 21}, {}),
        ({A: Unanswered(10, 1.0)}, {0: 11, 1: 20}, {B: Unanswered(20, 5.0)}),
    ],
    ids=["all", "one", "none ever", "still", "earlier ones", "again", "another"],
)
def test_a_partition_that_commits_none_waits_since_the_first(
    before: dict[StagePartition, Unanswered],
    committed: dict[int, int],
    found: dict[StagePartition, Unanswered],
) -> None:
    assert unanswered(before, SENT, {"a": committed}, since=5.0) == found


async def test_each_partition_of_this_worker_gets_a_heartbeat(bench: Bench) -> None:
    await bench.heartbeats.beat()
    assert [(w.topic, w.key, w.partition) for w in bench.written] == [
        ("p.heartbeats.v1", b"0", 0),
        ("p.heartbeats.v1", b"1", 1),
    ]
    assert json.loads(bench.written[0].value or b"").keys() == {"at"}
    assert dict(bench.written[0].headers)["ce_source"] == b"/clipmill/monitor"
    bench.mine = {1}
    await bench.heartbeats.beat()
    bench.mine = set()
    await bench.heartbeats.beat()
    assert [write.partition for write in bench.written[2:]] == [1]


async def test_stages_that_answer_have_no_age_and_no_problem(bench: Bench) -> None:
    await bench.run(60)
    assert bench.heartbeats.age("ledger") == 0.0
    assert bench.heartbeats.problems() == {}


async def test_a_partition_that_stands_still_is_named_with_its_stage_until_it_moves(
    bench: Bench,
) -> None:
    await bench.run(LONG)
    bench.stopped = {("download", 1)}
    await bench.run(LONG)
    text = bench.heartbeats.problems()["download"]
    assert text == f"answers no heartbeat for {LONG:.0f} s, on partition 1"
    assert bench.heartbeats.problems().keys() == {"download"}
    assert (bench.heartbeats.age("download"), bench.heartbeats.age("ledger")) == (LONG, 0.0)
    bench.stopped.clear()
    await bench.run(INTERVAL)
    assert bench.heartbeats.problems() == {}
    assert bench.heartbeats.age("download") == 0.0


async def test_a_stage_that_runs_nowhere_is_named(bench: Bench) -> None:
    bench.stopped = {("ledger", 0), ("ledger", 1)}
    await bench.run(LONG)
    assert bench.heartbeats.problems()["ledger"].endswith("on partition 0, 1")


@given(phase=st.floats(0, INTERVAL, exclude_max=True))
def test_a_stage_that_stops_at_any_moment_is_seen_within_30_seconds(phase: float) -> None:
    """With a scrape every 5 s, and rules that are evaluated as often."""
    bench = Bench()

    async def course() -> float:
        await bench.run(LONG)
        # The heartbeat of the last beat was answered, the next one will not be.
        bench.answered["ledger", 0] = bench.ends[0]
        bench.stopped = {("ledger", 0)}
        stopped_at = bench.now + phase
        while not bench.heartbeats.problems():
            await bench.run(INTERVAL)
        return bench.now - stopped_at

    assert asyncio.run(course()) <= 30 - 5 - 5


async def test_a_stage_that_works_through_earlier_heartbeats_is_not_named(bench: Bench) -> None:
    bench.stopped = {("ledger", 0)}
    for done in range(30):
        await bench.run(INTERVAL)
        bench.answered["ledger", 0] = done // 2
        assert "ledger" not in bench.heartbeats.problems()


@pytest.mark.parametrize("away", [False, True], ids=["this process", "the cluster"])
async def test_a_pause_of_the_observer_is_not_blamed_on_the_stages(
    bench: Bench, *, away: bool
) -> None:
    """The first observation may come before anybody has had the time to answer."""
    await bench.run(LONG)
    bench.stopped = {("ledger", 0)}
    await bench.run(INTERVAL)
    bench.away = away
    bench.now += 600
    if away:
        with pytest.raises(KafkaConnectionError):
            await bench.heartbeats.beat()
        assert bench.heartbeats.problems().keys() == {PART}
    assert bench.heartbeats.age("ledger") < LIMIT
    bench.away = False
    await bench.heartbeats.beat()
    assert bench.heartbeats.problems() == {}


async def test_partitions_that_another_worker_has_now_are_not_observed(bench: Bench) -> None:
    bench.stopped = {("ledger", 0)}
    await bench.run(LONG)
    assert bench.heartbeats.problems()
    bench.mine = {1}
    await bench.run(INTERVAL)
    assert bench.heartbeats.problems() == {}


async def test_health_and_metrics_follow_as_long_as_heartbeats_are_sent() -> None:
    bench = Bench(HeartbeatSettings(interval_seconds=0.001, limit_seconds=2))
    bench.stopped = {("ledger", 1)}
    health, age = Health(), {"stage": "ledger"}
    async with bench.heartbeats.sending(health):
        async with asyncio.timeout(5):
            while not health.degraded():
                bench.now += 0.1
                await asyncio.sleep(0.001)
        assert health.degraded().keys() == {"ledger"}
        assert health.problems() == {}
        assert (REGISTRY.get_sample_value("clipmill_heartbeat_age_seconds", age) or 0) >= 2
    assert health.degraded() == {}
    assert REGISTRY.get_sample_value("clipmill_heartbeat_age_seconds", age) is None


async def test_a_cluster_that_is_away_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(HeartbeatSettings(interval_seconds=0.001))
    bench.away = True
    async with bench.heartbeats.sending(Health()):
        await asyncio.sleep(0.02)
        bench.away = False
        async with asyncio.timeout(5):
            while not bench.written:  # noqa: ASYNC110  (a fake that sets no event)
                await asyncio.sleep(0.001)
    assert len(caplog.records) == 1
