"""Records of librdkafka: every codec, transactions, logs that are truncated or made again."""

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
from tests.integration.kafka_side import committed, make_topics, read, until
from tests.integration.toy_stage import Toy, passed_on, running, values, with_stage

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("topics")]

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


@pytest_asyncio.fixture(loop_scope="session")
async def topics(settings: Settings) -> None:
    await make_topics(settings.kafka, REQUESTS, RESULTS, ERRORS, PROGRESS)


def name(kafka: KafkaSettings) -> str:
    return REQUESTS.kafka_name(kafka.topic_prefix)


def producer(kafka: KafkaSettings, **options: Any) -> Producer:
    return Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5} | options)


def send(to: Producer, kafka: KafkaSettings, numbers: Sequence[int], partition: int = 0) -> None:
    for number in numbers:
        to.produce(name(kafka), b"%d" % number, key=b"k%d" % number, partition=partition)
    assert to.flush(20) == 0


def transaction(kafka: KafkaSettings, identity: str) -> Producer:
    made = producer(kafka, **{"transactional.id": kafka.topic_prefix + identity})
    made.init_transactions(20)
    return made


async def handle(record: Incoming) -> Sequence[Effect]:
    return [passed_on(record)]


async def results(kafka: KafkaSettings, count: int) -> list[int]:
    return values(await read(kafka, RESULTS, lambda records: len(records) >= count))


async def until_committed(kafka: KafkaSettings, offset: int) -> None:
    async with asyncio.timeout(15):
        while (await committed(kafka, "toy", REQUESTS)).get(0) != offset:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("codec", CODECS)
async def test_records_that_a_producer_compresses_are_read(settings: Settings, codec: str) -> None:
    kafka = settings.kafka
    await asyncio.to_thread(send, producer(kafka, **{"compression.type": codec}), kafka, range(200))
    async with running(Toy(handle), settings) as runner:
        assert await results(kafka, 200) == list(range(200))
        assert runner.failure() is None


@pytest.mark.parametrize("codec", CODECS[1:])
async def test_records_that_the_topic_compresses_are_read(settings: Settings, codec: str) -> None:
    kafka = settings.kafka
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    entry = ConfigEntry("compression.type", codec, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name(kafka), incremental_configs=[entry])
    await asyncio.to_thread(admin.incremental_alter_configs([resource])[resource].result)
    await asyncio.to_thread(send, producer(kafka), kafka, range(200))
    async with running(Toy(handle), settings):
        assert await results(kafka, 200) == list(range(200))


async def test_aborted_records_are_not_carried_out_and_markers_restart_nothing(
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

    toy = Toy(handle)
    async with running(toy, with_stage(settings, stall_seconds=1)) as runner:
        await asyncio.to_thread(write)
        assert await results(kafka, 30) == [n for n in range(60) if n // 3 % 2 == 0]
        await until_committed(kafka, 80)
        await asyncio.sleep(2)
        assert runner.failure() is None
    assert len(toy.seen) == 30


@pytest.mark.parametrize("commits", [True, False], ids=["committed", "aborted"])
async def test_marker_at_the_end_counts_as_read(settings: Settings, commits: bool) -> None:
    kafka = settings.kafka

    def write() -> None:
        client = transaction(kafka, f"tail-{commits}")
        client.begin_transaction()
        send(client, kafka, [1])
        client.commit_transaction(20) if commits else client.abort_transaction(20)

    await asyncio.to_thread(write)
    async with running(Toy(handle), with_stage(settings, stall_seconds=1)) as runner:
        await until_committed(kafka, 2)
        await asyncio.sleep(2)
        assert runner.failure() is None


async def test_open_transaction_holds_back_its_partition_only(settings: Settings) -> None:
    kafka = settings.kafka
    client = await asyncio.to_thread(transaction, kafka, "open")
    client.begin_transaction()
    await asyncio.to_thread(send, client, kafka, [1])
    await asyncio.to_thread(send, producer(kafka), kafka, [2])
    await asyncio.to_thread(send, producer(kafka), kafka, [3], 1)
    async with running(Toy(handle), with_stage(settings, stall_seconds=1)) as runner:
        assert await results(kafka, 1) == [3]
        await asyncio.sleep(2)
        assert runner.failure() is None
        await asyncio.to_thread(client.commit_transaction, 20)
        assert await results(kafka, 3) == [1, 2, 3]


# Logs that do not have the next offset


async def alter_committed(kafka: KafkaSettings, offset: int) -> None:
    """Set the committed offset, as after the log behind it was lost."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    place = TopicPartition(name(kafka), 0, offset)
    group = ConsumerGroupTopicPartitions(f"{kafka.topic_prefix}toy", [place])
    [future] = admin.alter_consumer_group_offsets([group]).values()
    await asyncio.to_thread(future.result)


async def jumps(toy: Toy, settings: Settings, check: Callable[[], object]) -> list[str]:
    warnings: list[str] = []
    async with running(toy, settings, warn=warnings.append) as runner:
        await until(check)
        await asyncio.sleep(0.5)
        assert runner.failure() is None
    return warnings


async def test_committed_offset_beyond_the_end_is_reported_and_the_log_read(
    settings: Settings,
) -> None:
    kafka = settings.kafka
    await asyncio.to_thread(send, producer(kafka), kafka, range(5))
    await alter_committed(kafka, 120)
    toy = Toy(handle)
    [warning] = await jumps(toy, settings, lambda: len(toy.seen) == 5)
    assert "before the committed offset 120" in warning
    assert "requests" in warning
    assert (await committed(kafka, "toy", REQUESTS))[0] == 5


async def test_committed_offset_beyond_an_empty_log_is_set_back(settings: Settings) -> None:
    kafka = settings.kafka
    await alter_committed(kafka, 7)
    toy = Toy(handle)
    async with running(toy, settings):
        await until_committed(kafka, 0)
        await asyncio.to_thread(send, producer(kafka), kafka, range(3))
        assert await results(kafka, 3) == [0, 1, 2]


async def test_records_that_expired_unread_are_reported_and_the_rest_read(
    settings: Settings,
) -> None:
    kafka = settings.kafka
    await asyncio.to_thread(send, producer(kafka), kafka, range(10))
    await alter_committed(kafka, 2)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    deleted = admin.delete_records([TopicPartition(name(kafka), 0, 6)])
    await asyncio.to_thread(next(iter(deleted.values())).result)
    toy = Toy(handle)
    [warning] = await jumps(toy, settings, lambda: len(toy.seen) == 4)
    assert "offsets 2 to 5 expired" in warning
    assert [record.offset for record in toy.seen] == [6, 7, 8, 9]


async def test_topic_that_is_made_again_while_the_stage_runs_is_read(settings: Settings) -> None:
    kafka = settings.kafka
    await asyncio.to_thread(send, producer(kafka), kafka, range(6))
    toy = Toy(handle)
    async with running(toy, settings) as runner:
        await until_committed(kafka, 6)
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        await asyncio.to_thread(admin.delete_topics([name(kafka)])[name(kafka)].result)
        await asyncio.sleep(0.5)
        await make_topics(kafka, REQUESTS)
        await asyncio.to_thread(send, producer(kafka), kafka, range(10, 14))
        await until(lambda: len(toy.seen) == 10, 40)
        assert await results(kafka, 10) == [*range(6), *range(10, 14)]
        assert runner.failure() is None
        await until_committed(kafka, 4)
