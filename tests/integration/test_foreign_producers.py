"""Records of librdkafka: every codec, transactions, truncated and recreated logs."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import pytest_asyncio
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from streams.records import Effect, Incoming
from streams.settings import KafkaSettings, Settings
from streams.topics import ERRORS, PROGRESS, REQUESTS, RESULTS
from tests.integration.kafka_client import committed_offsets, create_topics, read, wait_until
from tests.integration.toy_stage import (
    ToyStage,
    forwarded,
    running_stage,
    sorted_numbers,
    with_stage_settings,
)

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("topics")]

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


@pytest_asyncio.fixture(loop_scope="session")
async def topics(settings: Settings) -> None:
    await create_topics(settings.kafka, REQUESTS, RESULTS, ERRORS, PROGRESS)


def topic_name(kafka: KafkaSettings) -> str:
    return REQUESTS.kafka_name(kafka.topic_prefix)


def producer(kafka: KafkaSettings, **options: Any) -> Producer:
    return Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5} | options)


def send(to: Producer, kafka: KafkaSettings, numbers: Sequence[int], partition: int = 0) -> None:
    for number in numbers:
        to.produce(topic_name(kafka), b"%d" % number, key=b"k%d" % number, partition=partition)
    assert to.flush(20) == 0


def transaction(kafka: KafkaSettings, suffix: str) -> Producer:
    transactional = producer(kafka, **{"transactional.id": kafka.topic_prefix + suffix})
    transactional.init_transactions(20)
    return transactional


async def handle(record: Incoming) -> Sequence[Effect]:
    return [forwarded(record)]


async def results(kafka: KafkaSettings, count: int) -> list[int]:
    return sorted_numbers(await read(kafka, RESULTS, lambda records: len(records) >= count))


async def until_committed(kafka: KafkaSettings, offset: int) -> None:
    async with asyncio.timeout(15):
        while (await committed_offsets(kafka, "toy", REQUESTS)).get(0) != offset:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("codec", CODECS)
async def test_records_compressed_by_the_producer_are_consumed(
    settings: Settings, codec: str
) -> None:
    kafka = settings.kafka
    await asyncio.to_thread(send, producer(kafka, **{"compression.type": codec}), kafka, range(200))
    async with running_stage(ToyStage(handle), settings) as runner:
        assert await results(kafka, 200) == list(range(200))
        assert runner.failure() is None


@pytest.mark.parametrize("codec", CODECS[1:])
async def test_records_compressed_by_the_topic_are_consumed(settings: Settings, codec: str) -> None:
    kafka = settings.kafka
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    entry = ConfigEntry("compression.type", codec, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic_name(kafka), incremental_configs=[entry])
    await asyncio.to_thread(admin.incremental_alter_configs([resource])[resource].result)
    await asyncio.to_thread(send, producer(kafka), kafka, range(200))
    async with running_stage(ToyStage(handle), settings):
        assert await results(kafka, 200) == list(range(200))


async def test_aborted_records_are_skipped_and_markers_cause_no_restart(
    settings: Settings,
) -> None:
    kafka = settings.kafka

    def write() -> None:
        client = transaction(kafka, "mixed")
        for first in range(0, 60, 3):
            client.begin_transaction()
            send(client, kafka, range(first, first + 3))
            if first % 2:
                client.abort_transaction(20)
            else:
                client.commit_transaction(20)

    toy = ToyStage(handle)
    async with running_stage(toy, with_stage_settings(settings, stall_seconds=1)) as runner:
        await asyncio.to_thread(write)
        assert await results(kafka, 30) == [n for n in range(60) if n // 3 % 2 == 0]
        await until_committed(kafka, 80)
        await asyncio.sleep(2)
        assert runner.failure() is None
    assert len(toy.seen) == 30


@pytest.mark.parametrize("commits", [True, False], ids=["committed", "aborted"])
async def test_transaction_marker_at_the_end_is_committed(
    settings: Settings, commits: bool
) -> None:
    kafka = settings.kafka

    def write() -> None:
        client = transaction(kafka, f"tail-{commits}")
        client.begin_transaction()
        send(client, kafka, [1])
        client.commit_transaction(20) if commits else client.abort_transaction(20)

    await asyncio.to_thread(write)
    async with running_stage(
        ToyStage(handle), with_stage_settings(settings, stall_seconds=1)
    ) as runner:
        await until_committed(kafka, 2)
        await asyncio.sleep(2)
        assert runner.failure() is None


async def test_open_transaction_blocks_only_its_partition(settings: Settings) -> None:
    kafka = settings.kafka
    client = await asyncio.to_thread(transaction, kafka, "open")
    client.begin_transaction()
    await asyncio.to_thread(send, client, kafka, [1])
    await asyncio.to_thread(send, producer(kafka), kafka, [2])
    await asyncio.to_thread(send, producer(kafka), kafka, [3], 1)
    async with running_stage(
        ToyStage(handle), with_stage_settings(settings, stall_seconds=1)
    ) as runner:
        assert await results(kafka, 1) == [3]
        await asyncio.sleep(2)
        assert runner.failure() is None
        await asyncio.to_thread(client.commit_transaction, 20)
        assert await results(kafka, 3) == [1, 2, 3]


# Logs without the committed offset


async def alter_committed(kafka: KafkaSettings, offset: int) -> None:
    """Set the committed offset, as after a loss of the log."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    partition_offset = TopicPartition(topic_name(kafka), 0, offset)
    group = ConsumerGroupTopicPartitions(f"{kafka.topic_prefix}toy", [partition_offset])
    [future] = admin.alter_consumer_group_offsets([group]).values()
    await asyncio.to_thread(future.result)


async def warnings_until(
    toy: ToyStage, settings: Settings, check: Callable[[], object]
) -> list[str]:
    warnings: list[str] = []
    async with running_stage(toy, settings, warn=warnings.append) as runner:
        await wait_until(check)
        await asyncio.sleep(0.5)
        assert runner.failure() is None
    return warnings


async def test_committed_offset_beyond_the_end_is_reported_and_the_log_consumed(
    settings: Settings,
) -> None:
    kafka = settings.kafka
    await asyncio.to_thread(send, producer(kafka), kafka, range(5))
    await alter_committed(kafka, 120)
    toy = ToyStage(handle)
    [warning] = await warnings_until(toy, settings, lambda: len(toy.seen) == 5)
    assert "before the committed offset 120" in warning
    assert "requests" in warning
    assert (await committed_offsets(kafka, "toy", REQUESTS))[0] == 5


async def test_committed_offset_beyond_an_empty_log_is_reset(settings: Settings) -> None:
    kafka = settings.kafka
    await alter_committed(kafka, 7)
    toy = ToyStage(handle)
    async with running_stage(toy, settings):
        await until_committed(kafka, 0)
        await asyncio.to_thread(send, producer(kafka), kafka, range(3))
        assert await results(kafka, 3) == [0, 1, 2]


async def test_expired_unread_records_are_reported_and_the_rest_consumed(
    settings: Settings,
) -> None:
    kafka = settings.kafka
    await asyncio.to_thread(send, producer(kafka), kafka, range(10))
    await alter_committed(kafka, 2)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    deleted = admin.delete_records([TopicPartition(topic_name(kafka), 0, 6)])
    await asyncio.to_thread(next(iter(deleted.values())).result)
    toy = ToyStage(handle)
    [warning] = await warnings_until(toy, settings, lambda: len(toy.seen) == 4)
    assert "offsets 2 to 5 expired" in warning
    assert [record.offset for record in toy.seen] == [6, 7, 8, 9]


async def test_topic_recreated_at_runtime_is_consumed(settings: Settings) -> None:
    kafka = settings.kafka
    await asyncio.to_thread(send, producer(kafka), kafka, range(6))
    toy = ToyStage(handle)
    async with running_stage(toy, settings) as runner:
        await until_committed(kafka, 6)
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        await asyncio.to_thread(admin.delete_topics([topic_name(kafka)])[topic_name(kafka)].result)
        await asyncio.sleep(0.5)
        await create_topics(kafka, REQUESTS)
        await asyncio.to_thread(send, producer(kafka), kafka, range(10, 14))
        await wait_until(lambda: len(toy.seen) == 10, 40)
        assert await results(kafka, 10) == [*range(6), *range(10, 14)]
        assert runner.failure() is None
        await until_committed(kafka, 4)
