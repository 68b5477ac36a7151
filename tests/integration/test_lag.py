"""Consumer lag on a real broker equals Kafka's own tool, and its age that of the oldest record."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from streams.cluster.producer import ReliableProducer, Write
from streams.observability.lag import LagMonitor
from streams.observability.metrics import REGISTRY
from streams.records import Effect, Incoming
from streams.runtime.group_offsets import GroupOffsets
from streams.runtime.stage_runner import StageRunner
from streams.runtime.worker_services import WorkerServices
from streams.settings import KafkaSettings, Settings
from streams.stage import Handler, Stage, StageContext
from streams.topics import AUDIT, BY_NAME, DELAYS, HEARTBEATS, REQUESTS, SELECTED, Topic
from tests.acceptance.java_tools import JavaTools, run
from tests.conftest import NetworkGuard
from tests.integration.kafka_client import create_topics, produce_numbers
from tests.integration.toy_stage import second_process_settings

pytestmark = pytest.mark.asyncio(loop_scope="session")

PARKED = next(iter(DELAYS))
SLOW = 20
"""First number whose record never finishes; all before it are committed."""

Lags = dict[tuple[str, str, int], int]
"""Lag by stage, topic and partition."""


@pytest.fixture(scope="module")
def java(network_guard: NetworkGuard, tmp_path_factory: pytest.TempPathFactory) -> JavaTools:
    with network_guard.disarmed():
        return JavaTools(tmp_path_factory.mktemp("java"))


@asynccontextmanager
async def handles(_context: StageContext) -> AsyncIterator[Handler]:
    async def handle(record: Incoming) -> Sequence[Effect]:
        # One slow record in each partition; records behind it finish ahead of it.
        if SLOW <= int(record.value or b"0") < SLOW + 2:
            await asyncio.Event().wait()
        return ()

    yield handle


def stage(name: str, topic: Topic, **options: object) -> Stage:
    return Stage(name, (topic,), open=handles, on_bug=lambda *_: (), **options)  # type: ignore[arg-type]


BUSY = stage("busy", REQUESTS, drains=False)
DONE = stage("done", AUDIT)
PARKING = stage(
    "parking",
    PARKED,
    ordered=False,
    drains=False,
    due=lambda record, now: now + 3_600 if int(record.value or b"0") >= SLOW else None,
)
STAGES = (BUSY, DONE, PARKING)


def exported(metric: str, prefix: str = "clipmill_stage_lag_") -> dict[tuple[str, str, int], float]:
    return {
        (each.labels["stage"], each.labels["topic"], int(each.labels["partition"])): each.value
        for family in REGISTRY.collect()
        for each in family.samples
        if each.name == f"{prefix}{metric}"
    }


async def lag_by_kafka_tool(java: JavaTools, kafka: KafkaSettings, stages: Sequence[Stage]) -> Lags:
    """Return the column LAG of kafka-consumer-groups.sh, without heartbeats."""
    groups = [part for each in stages for part in ("--group", f"{kafka.topic_prefix}{each.name}")]
    command = ["kafka-consumer-groups.sh", "--bootstrap-server", kafka.bootstrap, "--describe"]
    output = await run([*command, *groups], environment=java.environment)
    rows = [line.split() for line in output.splitlines()]
    logical = {topic.kafka_name(kafka.topic_prefix): name for name, topic in BY_NAME.items()}
    return {
        (row[0].removeprefix(kafka.topic_prefix), logical[row[1]], int(row[2])): int(row[5])
        for row in rows
        if row
        and row[0].startswith(kafka.topic_prefix)
        and row[1] != HEARTBEATS.kafka_name(kafka.topic_prefix)
    }


async def measure_until(lags: Lags, monitor: LagMonitor, offsets: GroupOffsets) -> None:
    """Measure until the lag in records is as expected, for a minute at most."""
    async with asyncio.timeout(60):
        while exported("records") != lags:
            await asyncio.sleep(0.1)
            await monitor.measure_once(offsets)


async def test_lag_equals_kafkas_own_tool(settings: Settings, java: JavaTools) -> None:
    kafka, monitor = settings.kafka, LagMonitor()
    await create_topics(kafka, REQUESTS, AUDIT, PARKED)
    began = time.time()
    for each in STAGES:
        await produce_numbers(kafka, each.sources[0], range(SLOW if each is DONE else 50))
    written = time.time()
    async with (
        GroupOffsets.open(kafka) as offsets,
        ReliableProducer(kafka) as producer,
        AsyncExitStack() as stack,
    ):
        services = WorkerServices(settings, producer, lag=monitor)
        runners = [StageRunner(each, services) for each in STAGES]
        for runner in runners:
            await stack.enter_async_context(runner)
        expected = {
            **{("busy", "requests", partition): 15 for partition in (0, 1)},
            **{("done", "audit", partition): 0 for partition in (0, 1)},
            **{("parking", PARKED.name, partition): 15 for partition in (0, 1)},
        }
        await measure_until(expected, monitor, offsets)
        assert await lag_by_kafka_tool(java, kafka, STAGES) == expected
        least = time.time() - written
        await monitor.measure_once(offsets)
        most, ages = time.time() - began, exported("seconds")
        for partition_key, lag in expected.items():
            # Ages have a resolution of one second.
            assert (least <= ages[partition_key] <= most + 1) if lag else ages[partition_key] == 0
    assert exported("records") == {}, "the series of a stage that ended are gone"


async def test_paused_stage_exports_the_age_of_its_next_record(
    settings: Settings,
) -> None:
    kafka, monitor = settings.kafka, LagMonitor()
    await create_topics(kafka, SELECTED)
    async with (
        GroupOffsets.open(kafka) as offsets,
        ReliableProducer(kafka) as producer,
        StageRunner(
            stage("paused", SELECTED), WorkerServices(settings, producer, lag=monitor)
        ) as runner,
    ):
        await runner.ready.wait()
        runner._intake.pause("test", "it is paused")
        await produce_numbers(kafka, SELECTED, range(SLOW - 6))
        await measure_until({("paused", "videos.selected", n): 7 for n in (0, 1)}, monitor, offsets)
        partition_key = TopicPartition(SELECTED.kafka_name(kafka.topic_prefix), 0)
        first = await offsets.timestamp(partition_key, 0)
        assert first is not None
        assert first == pytest.approx(time.time(), abs=60)
        before = time.time()
        for _ in range(2):
            await monitor.measure_once(offsets)
        age = exported("seconds")["paused", "videos.selected", 0]
        assert before - first <= age <= time.time() - first
        assert await offsets.timestamp(partition_key, 6) is not None
        runner._intake.resume("test")
        await measure_until({("paused", "videos.selected", n): 0 for n in (0, 1)}, monitor, offsets)
        assert set(exported("seconds").values()) == {0}


async def test_partition_assigned_to_another_worker_has_no_series(
    settings: Settings, tmp_path: Path
) -> None:
    kafka, mine, theirs = settings.kafka, LagMonitor(), LagMonitor()
    await create_topics(kafka, SELECTED)

    def exported_partitions(monitor: LagMonitor) -> set[str]:
        return {partition for _, _, partition in monitor._exported}

    async with (
        GroupOffsets.open(kafka) as offsets,
        ReliableProducer(kafka) as producer,
        asyncio.timeout(60),
        StageRunner(stage("shared", SELECTED), WorkerServices(settings, producer, lag=mine)),
    ):
        while exported_partitions(mine) != {"0", "1"}:
            await asyncio.sleep(0.1)
            await mine.measure_once(offsets)
        second = second_process_settings(settings, tmp_path)
        services = WorkerServices(second, producer, lag=theirs)
        async with StageRunner(stage("shared", SELECTED), services):
            while not (
                exported_partitions(mine) and exported_partitions(theirs)
            ) or exported_partitions(mine) & exported_partitions(theirs):
                await asyncio.sleep(0.1)
                await mine.measure_once(offsets)
                await theirs.measure_once(offsets)
            assert sorted(exported_partitions(mine) | exported_partitions(theirs)) == ["0", "1"]


@pytest.mark.parametrize("name", ["producer_batch_records", "producer_ack_seconds"])
async def test_producer_exports_its_batches(settings: Settings, name: str) -> None:
    count = f"clipmill_{name}_count"
    before = REGISTRY.get_sample_value(count) or 0.0
    await create_topics(settings.kafka, AUDIT)
    async with ReliableProducer(settings.kafka) as producer:
        topic = AUDIT.kafka_name(settings.kafka.topic_prefix)
        await producer.publish([Write(topic, b"k", b"1")])
    assert (REGISTRY.get_sample_value(count) or 0.0) > before
