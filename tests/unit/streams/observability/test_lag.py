"""Consumer lag with injected clock and offsets."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from streams.observability.lag import (
    TIMESTAMP_RETRY_SECONDS,
    LagMonitor,
    SourceProgress,
    StageProgress,
    TableProgress,
)
from streams.observability.metrics import REGISTRY

NOW = 1_000_000.0
TOPIC = "clipmill.requests.v1"
CHANGELOG = "clipmill.toy-rows-changelog"


class FakeCluster:
    """End offsets of partitions, and record timestamps by partition and offset."""

    def __init__(self) -> None:
        self.log_ends: dict[TopicPartition, int] = {}
        self.timestamps: dict[tuple[TopicPartition, int], float] = {}
        self.is_unavailable = False
        self.reads: list[tuple[TopicPartition, int]] = []

    async def ends(self, partitions: list[TopicPartition]) -> Mapping[TopicPartition, int]:
        if self.is_unavailable:
            raise KafkaConnectionError("unavailable")
        return {partition: self.log_ends[partition] for partition in partitions}

    async def timestamp(self, partition: TopicPartition, offset: int) -> float | None:
        self.reads.append((partition, offset))
        if self.is_unavailable:
            raise KafkaConnectionError("unavailable")
        return self.timestamps.get((partition, offset))


class LagHarness:
    """Lag monitor of one stage with given progress."""

    def __init__(self) -> None:
        self.now = NOW
        self.cluster = FakeCluster()
        self.monitor = LagMonitor(lambda: self.now)
        self.sources: dict[int, tuple[int | None, float | None]] = {}
        self.tables: list[TableProgress] = []
        self.block = ExitStack()

    def at(self, partition: int, committed: int | None, timestamp: float | None, end: int) -> None:
        self.sources[partition] = (committed, timestamp)
        self.cluster.log_ends[TopicPartition(TOPIC, partition)] = end

    def progress(self) -> StageProgress:
        sources = (
            SourceProgress("requests", TopicPartition(TOPIC, partition), *position)
            for partition, position in self.sources.items()
        )
        return StageProgress(tuple(sources), tuple(self.tables))

    async def measure(self, times: int = 1) -> None:
        for _ in range(times):
            await self.monitor.measure_once(self.cluster)


@pytest.fixture
def harness() -> Iterator[LagHarness]:
    harness = LagHarness()
    with harness.block:
        harness.block.enter_context(harness.monitor.tracking("toy", ("rows",), harness.progress))
        yield harness


def lag(partition: int = 0) -> tuple[float | None, float | None]:
    labels = {"stage": "toy", "topic": "requests", "partition": str(partition)}
    return (
        REGISTRY.get_sample_value("clipmill_stage_lag_records", labels),
        REGISTRY.get_sample_value("clipmill_stage_lag_seconds", labels),
    )


def changelog_lag() -> float | None:
    labels = {"stage": "toy", "table": "rows"}
    return REGISTRY.get_sample_value("clipmill_table_changelog_lag_records", labels)


@pytest.mark.parametrize(
    ("committed", "timestamp", "end", "expected"),
    [
        pytest.param(10, None, 10, (0, 0), id="no lag"),
        pytest.param(0, None, 0, (0, 0), id="empty partition"),
        pytest.param(10, NOW - 7, 15, (5, 7), id="records in flight"),
        pytest.param(10, NOW + 9, 11, (1, 0), id="client clock ahead"),
        pytest.param(10, NOW - 7, 9, (0, 0), id="commit newer than the end offset"),
        pytest.param(None, None, 9, (None, None), id="committed offset unknown"),
    ],
)
async def test_lag_in_records_and_as_age_of_the_oldest_record(
    harness: LagHarness,
    committed: int | None,
    timestamp: float | None,
    end: int,
    expected: tuple[float | None, float | None],
) -> None:
    harness.at(0, committed, timestamp, end)
    await harness.measure()
    assert lag() == expected
    assert harness.cluster.reads == []


async def test_timestamp_of_an_unfetched_record_is_read_once(harness: LagHarness) -> None:
    partition = TopicPartition(TOPIC, 0)
    harness.cluster.timestamps[partition, 10] = NOW - 3_600
    harness.at(0, 10, None, 12)
    await harness.measure()
    assert lag() == (2, 0), "its fetch may be in flight"
    await harness.measure(3)
    assert lag() == (2, 3_600)
    harness.now += 60
    await harness.measure(3)
    assert lag() == (2, 3_660)
    assert harness.cluster.reads == [(partition, 10)]
    harness.at(0, 11, NOW, 12)
    await harness.measure()
    harness.at(0, 11, None, 12)
    await harness.measure(2)
    assert harness.cluster.reads == [(partition, 10), (partition, 11)]


async def test_unreadable_age_has_no_series_and_is_retried_later(harness: LagHarness) -> None:
    harness.at(0, 10, None, 12)
    await harness.measure(2)
    assert lag() == (2, None)
    await harness.measure(5)
    assert len(harness.cluster.reads) == 1, "a read takes seconds"
    harness.now += TIMESTAMP_RETRY_SECONDS
    harness.cluster.timestamps[TopicPartition(TOPIC, 0), 10] = harness.now - 70
    await harness.measure()
    assert lag() == (2, 70)
    harness.at(0, 12, None, 12)
    await harness.measure()
    assert lag() == (0, 0)


async def test_age_grows_while_the_cluster_is_unavailable(harness: LagHarness) -> None:
    harness.at(0, 10, NOW - 5, 12)
    harness.at(1, 10, None, 12)
    await harness.measure()
    harness.cluster.is_unavailable = True
    harness.now += 100
    await harness.measure(2)
    assert lag() == (2, 105)
    assert lag(1) == (2, None)


async def test_revoked_partition_has_no_series(harness: LagHarness) -> None:
    harness.at(0, 10, NOW, 12)
    harness.at(1, 10, NOW, 13)
    await harness.measure()
    assert (lag(0), lag(1)) == ((2, 0), (3, 0))
    del harness.sources[0]
    await harness.measure()
    assert (lag(0), lag(1)) == ((None, None), (3, 0))


async def test_unknown_lag_during_a_rebalance_keeps_the_last_value(harness: LagHarness) -> None:
    harness.at(0, 10, NOW, 12)
    await harness.measure()
    harness.at(0, None, None, 20)
    await harness.measure()
    assert lag() == (2, 0)


async def test_closed_stage_leaves_no_series(harness: LagHarness) -> None:
    harness.at(0, 10, NOW, 12)
    await harness.measure()
    harness.block.close()
    assert lag() == (None, None)
    assert changelog_lag() is None
    await harness.measure()
    assert lag() == (None, None)


async def test_stage_closed_during_a_measurement_leaves_no_series(harness: LagHarness) -> None:
    async def timestamp(_partition: TopicPartition, _offset: int) -> float:
        harness.block.close()
        return NOW

    harness.at(0, 10, None, 12)
    harness.cluster.timestamp = timestamp  # type: ignore[method-assign, assignment]
    await harness.measure(2)
    assert lag() == (None, None)


async def test_table_lags_behind_its_changelog_until_recovered(harness: LagHarness) -> None:
    partitions = [TopicPartition(CHANGELOG, partition) for partition in (0, 1)]
    harness.cluster.log_ends |= dict.fromkeys(partitions, 50)
    harness.tables = [
        TableProgress("rows", partitions[0], 10),
        TableProgress("rows", partitions[1], 50),
    ]
    await harness.measure()
    assert changelog_lag() == 40
    harness.tables = []
    await harness.measure()
    assert changelog_lag() == 0
