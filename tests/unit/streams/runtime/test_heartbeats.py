"""Heartbeats with an injected clock and given acknowledgements of the stages."""

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
from streams.runtime.heartbeats import COMPONENT, Heartbeats, StagePartition, Unanswered, unanswered
from streams.settings import HeartbeatSettings
from streams.topics import HEARTBEATS, Topic

DEFAULTS = HeartbeatSettings()
LIMIT = DEFAULTS.limit_seconds
INTERVAL = DEFAULTS.interval_seconds
LONG = 2 * LIMIT // INTERVAL * INTERVAL


class HeartbeatHarness:
    """Heartbeats to two stages on two partitions; a stage acknowledges at once unless stopped."""

    def __init__(self, settings: HeartbeatSettings = DEFAULTS) -> None:
        self.now = 1_000.0
        self.assigned = {0, 1}
        self.ends = [0, 0]
        self.written: list[Write] = []
        self.stopped: set[StagePartition] = set()
        self.acknowledged: dict[StagePartition, int] = {}
        self.is_unavailable = False
        self.settings = settings
        self.heartbeats = Heartbeats(
            settings,
            step="monitor",
            topic_prefix="p.",
            publish=self.publish,
            committed=self.committed,
            partitions=lambda: self.assigned,
            stages={"ledger", "download"},
            clock=lambda: self.now,
        )

    async def publish(self, writes: Sequence[Write]) -> list[RecordMetadata]:
        self.written += writes
        return [self._append(write.topic, write.partition or 0) for write in writes]

    def _append(self, topic: str, partition: int) -> RecordMetadata:
        offset, self.ends[partition] = self.ends[partition], self.ends[partition] + 1
        topic_partition = TopicPartition(topic, partition)
        return RecordMetadata(topic, partition, topic_partition, offset, None, None, None)

    async def committed(self, stage: str, topic: Topic) -> Mapping[int, int]:
        assert topic is HEARTBEATS
        if self.is_unavailable:
            raise KafkaConnectionError("no broker")
        for partition, end in enumerate(self.ends):
            if (stage, partition) not in self.stopped:
                self.acknowledged[stage, partition] = end
        return {number: self.acknowledged.get((stage, number), -1) for number in (0, 1)}

    async def run(self, seconds: float) -> None:
        """Advance the clock, with a beat after each interval."""
        for _ in range(round(seconds / self.settings.interval_seconds)):
            self.now += self.settings.interval_seconds
            await self.heartbeats.beat()


@pytest.fixture
def harness() -> HeartbeatHarness:
    return HeartbeatHarness()


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
    ids=[
        "all acknowledged",
        "one pending",
        "never acknowledged",
        "still pending",
        "pending after progress",
        "acknowledged again",
        "another pending",
    ],
)
def test_unanswered_partition_keeps_the_time_of_its_first_pending_heartbeat(
    before: dict[StagePartition, Unanswered],
    committed: dict[int, int],
    found: dict[StagePartition, Unanswered],
) -> None:
    assert unanswered(before, SENT, {"a": committed}, since=5.0) == found


async def test_heartbeat_is_sent_to_each_assigned_partition(harness: HeartbeatHarness) -> None:
    await harness.heartbeats.beat()
    assert [(w.topic, w.key, w.partition) for w in harness.written] == [
        ("p.heartbeats.v1", b"0", 0),
        ("p.heartbeats.v1", b"1", 1),
    ]
    assert json.loads(harness.written[0].value or b"").keys() == {"at"}
    assert dict(harness.written[0].headers)["ce_source"] == b"/clipmill/monitor"
    harness.assigned = {1}
    await harness.heartbeats.beat()
    harness.assigned = set()
    await harness.heartbeats.beat()
    assert [write.partition for write in harness.written[2:]] == [1]


async def test_acknowledging_stages_have_no_age_and_no_problem(harness: HeartbeatHarness) -> None:
    await harness.run(60)
    assert harness.heartbeats.age("ledger") == 0.0
    assert harness.heartbeats.problems() == {}


async def test_stalled_partition_is_reported_with_its_stage_until_it_progresses(
    harness: HeartbeatHarness,
) -> None:
    await harness.run(LONG)
    harness.stopped = {("download", 1)}
    await harness.run(LONG)
    text = harness.heartbeats.problems()["download"]
    assert text == f"has committed no heartbeat for {LONG:.0f} s, on partition 1"
    assert harness.heartbeats.problems().keys() == {"download"}
    assert (harness.heartbeats.age("download"), harness.heartbeats.age("ledger")) == (LONG, 0.0)
    harness.stopped.clear()
    await harness.run(INTERVAL)
    assert harness.heartbeats.problems() == {}
    assert harness.heartbeats.age("download") == 0.0


async def test_stage_without_a_worker_is_reported(harness: HeartbeatHarness) -> None:
    harness.stopped = {("ledger", 0), ("ledger", 1)}
    await harness.run(LONG)
    assert harness.heartbeats.problems()["ledger"].endswith("on partition 0, 1")


@given(phase=st.floats(0, INTERVAL, exclude_max=True))
def test_stopped_stage_is_reported_within_30_seconds(phase: float) -> None:
    """Includes a scrape every 5 s, and rule evaluation every 5 s."""
    harness = HeartbeatHarness()

    async def seconds_until_reported() -> float:
        await harness.run(LONG)
        # The last heartbeat was acknowledged, the next one will not be.
        harness.acknowledged["ledger", 0] = harness.ends[0]
        harness.stopped = {("ledger", 0)}
        stopped_at = harness.now + phase
        while not harness.heartbeats.problems():
            await harness.run(INTERVAL)
        return harness.now - stopped_at

    assert asyncio.run(seconds_until_reported()) <= 30 - 5 - 5


async def test_stage_that_catches_up_on_heartbeats_is_not_reported(
    harness: HeartbeatHarness,
) -> None:
    harness.stopped = {("ledger", 0)}
    for done in range(30):
        await harness.run(INTERVAL)
        harness.acknowledged["ledger", 0] = done // 2
        assert "ledger" not in harness.heartbeats.problems()


@pytest.mark.parametrize("is_unavailable", [False, True], ids=["this process", "the cluster"])
async def test_pause_of_the_observer_is_not_attributed_to_the_stages(
    harness: HeartbeatHarness, *, is_unavailable: bool
) -> None:
    """The first observation may precede any acknowledgement."""
    await harness.run(LONG)
    harness.stopped = {("ledger", 0)}
    await harness.run(INTERVAL)
    harness.is_unavailable = is_unavailable
    harness.now += 600
    if is_unavailable:
        with pytest.raises(KafkaConnectionError):
            await harness.heartbeats.beat()
        assert harness.heartbeats.problems().keys() == {COMPONENT}
    assert harness.heartbeats.age("ledger") < LIMIT
    harness.is_unavailable = False
    await harness.heartbeats.beat()
    assert harness.heartbeats.problems() == {}


async def test_partitions_assigned_to_another_worker_are_not_observed(
    harness: HeartbeatHarness,
) -> None:
    harness.stopped = {("ledger", 0)}
    await harness.run(LONG)
    assert harness.heartbeats.problems()
    harness.assigned = {1}
    await harness.run(INTERVAL)
    assert harness.heartbeats.problems() == {}


async def test_health_and_metrics_are_reported_while_heartbeats_are_sent() -> None:
    harness = HeartbeatHarness(HeartbeatSettings(interval_seconds=0.001, limit_seconds=2))
    harness.stopped = {("ledger", 1)}
    health, age = Health(), {"stage": "ledger"}
    async with harness.heartbeats.sending(health):
        async with asyncio.timeout(5):
            while not health.degraded():
                harness.now += 0.1
                await asyncio.sleep(0.001)
        assert health.degraded().keys() == {"ledger"}
        assert health.problems() == {}
        assert (REGISTRY.get_sample_value("clipmill_heartbeat_age_seconds", age) or 0) >= 2
    assert health.degraded() == {}
    assert REGISTRY.get_sample_value("clipmill_heartbeat_age_seconds", age) is None


async def test_unavailable_cluster_does_not_stop_the_heartbeats(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = HeartbeatHarness(HeartbeatSettings(interval_seconds=0.001))
    harness.is_unavailable = True
    async with harness.heartbeats.sending(Health()):
        await asyncio.sleep(0.02)
        harness.is_unavailable = False
        async with asyncio.timeout(5):
            while not harness.written:  # noqa: ASYNC110  (a fake that sets no event)
                await asyncio.sleep(0.001)
    assert len(caplog.records) == 1
