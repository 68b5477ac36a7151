"""Consumer lag, on a clock and offsets that the test moves."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from streams.observability.lag import (
    READ_AGAIN_SECONDS,
    LagMonitor,
    SourceProgress,
    StageProgress,
    TableProgress,
)
from streams.observability.metrics import REGISTRY

NOW = 1_000_000.0
TOPIC = "clipmill.requests.v1"
CHANGELOG = "clipmill.toy-rows-changelog"


class Cluster:
    """Ends of partitions, and timestamps of records by partition and offset."""

    def __init__(self) -> None:
        self.log_ends: dict[TopicPartition, int] = {}
        self.timestamps: dict[tuple[TopicPartition, int], float] = {}
        self.is_away = False
        self.reads: list[tuple[TopicPartition, int]] = []

    async def ends(self, places: list[TopicPartition]) -> Mapping[TopicPartition, int]:
        if self.is_away:
            raise KafkaConnectionError("away")
        return {place: self.log_ends[place] for place in places}

    async def timestamp(self, place: TopicPartition, offset: int) -> float | None:
        self.reads.append((place, offset))
        if self.is_away:
            raise KafkaConnectionError("away")
        return self.timestamps.get((place, offset))


class Bench:
    """A monitor of one stage, whose progress the test says."""

    def __init__(self) -> None:
        self.now = NOW
        self.cluster = Cluster()
        self.monitor = LagMonitor(lambda: self.now)
        self.sources: dict[int, tuple[int | None, float | None]] = {}
        self.tables: list[TableProgress] = []
        self.block = ExitStack()

    def at(self, partition: int, committed: int | None, timestamp: float | None, end: int) -> None:
        self.sources[partition] = (committed, timestamp)
        self.cluster.log_ends[TopicPartition(TOPIC, partition)] = end

    def progress(self) -> StageProgress:
        sources = (
            SourceProgress("requests", TopicPartition(TOPIC, partition), *place)
            for partition, place in self.sources.items()
        )
        return StageProgress(tuple(sources), tuple(self.tables))

    async def measure(self, times: int = 1) -> None:
        for _ in range(times):
            await self.monitor.measure_once(self.cluster)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    with made.block:
        made.block.enter_context(made.monitor.watching("toy", ("rows",), made.progress))
        yield made


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
        pytest.param(0, None, 0, (0, 0), id="an empty partition"),
        pytest.param(10, NOW - 7, 15, (5, 7), id="records in work"),
        pytest.param(10, NOW + 9, 11, (1, 0), id="a client whose clock is ahead"),
        pytest.param(10, NOW - 7, 9, (0, 0), id="commits are newer than the end"),
        pytest.param(None, None, 9, (None, None), id="committed offsets are not known yet"),
    ],
)
async def test_lag_in_records_and_as_age_of_the_oldest(
    bench: Bench,
    committed: int | None,
    timestamp: float | None,
    end: int,
    expected: tuple[float | None, float | None],
) -> None:
    bench.at(0, committed, timestamp, end)
    await bench.measure()
    assert lag() == expected
    assert bench.cluster.reads == []


async def test_the_age_of_a_record_that_was_not_received_is_read_once(bench: Bench) -> None:
    place = TopicPartition(TOPIC, 0)
    bench.cluster.timestamps[place, 10] = NOW - 3_600
    bench.at(0, 10, None, 12)
    await bench.measure()
    assert lag() == (2, 0), "its fetch may be under way"
    await bench.measure(3)
    assert lag() == (2, 3_600)
    bench.now += 60
    await bench.measure(3)
    assert lag() == (2, 3_660)
    assert bench.cluster.reads == [(place, 10)]
    bench.at(0, 11, NOW, 12)
    await bench.measure()
    bench.at(0, 11, None, 12)
    await bench.measure(2)
    assert bench.cluster.reads == [(place, 10), (place, 11)]


async def test_an_age_that_cannot_be_read_has_no_series(bench: Bench) -> None:
    bench.at(0, 10, None, 12)
    await bench.measure(2)
    assert lag() == (2, None)
    await bench.measure(5)
    assert len(bench.cluster.reads) == 1, "a read takes seconds"
    bench.now += READ_AGAIN_SECONDS
    bench.cluster.timestamps[TopicPartition(TOPIC, 0), 10] = bench.now - 70
    await bench.measure()
    assert lag() == (2, 70)
    bench.at(0, 12, None, 12)
    await bench.measure()
    assert lag() == (0, 0)


async def test_the_age_grows_while_the_cluster_is_away(bench: Bench) -> None:
    bench.at(0, 10, NOW - 5, 12)
    bench.at(1, 10, None, 12)
    await bench.measure()
    bench.cluster.is_away = True
    bench.now += 100
    await bench.measure(2)
    assert lag() == (2, 105)
    assert lag(1) == (2, None)


async def test_a_partition_that_is_revoked_has_no_series(bench: Bench) -> None:
    bench.at(0, 10, NOW, 12)
    bench.at(1, 10, NOW, 13)
    await bench.measure()
    assert (lag(0), lag(1)) == ((2, 0), (3, 0))
    del bench.sources[0]
    await bench.measure()
    assert (lag(0), lag(1)) == ((None, None), (3, 0))


async def test_a_lag_that_is_not_known_during_a_rebalance_stays_as_it_was(bench: Bench) -> None:
    bench.at(0, 10, NOW, 12)
    await bench.measure()
    bench.at(0, None, None, 20)
    await bench.measure()
    assert lag() == (2, 0)


async def test_a_stage_that_ends_leaves_no_series(bench: Bench) -> None:
    bench.at(0, 10, NOW, 12)
    await bench.measure()
    bench.block.close()
    assert lag() == (None, None)
    assert changelog_lag() is None
    await bench.measure()
    assert lag() == (None, None)


async def test_a_stage_that_ends_while_it_is_measured_leaves_no_series(bench: Bench) -> None:
    async def timestamp(_place: TopicPartition, _offset: int) -> float:
        bench.block.close()
        return NOW

    bench.at(0, 10, None, 12)
    bench.cluster.timestamp = timestamp  # type: ignore[method-assign, assignment]
    await bench.measure(2)
    assert lag() == (None, None)


async def test_a_table_lags_behind_its_changelog_until_it_is_recovered(bench: Bench) -> None:
    places = [TopicPartition(CHANGELOG, partition) for partition in (0, 1)]
    bench.cluster.log_ends |= dict.fromkeys(places, 50)
    bench.tables = [TableProgress("rows", places[0], 10), TableProgress("rows", places[1], 50)]
    await bench.measure()
    assert changelog_lag() == 40
    bench.tables = []
    await bench.measure()
    assert changelog_lag() == 0
