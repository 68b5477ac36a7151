"""Local delivery beside a fetch of the same records from a real broker, with a foreign producer."""

import asyncio
from dataclasses import astuple
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from confluent_kafka import Producer

from streams.cluster import producer_batches, record_batches
from streams.cluster.local_delivery import LocalReader
from streams.cluster.producer import ReliableProducer, Write
from streams.settings import KafkaSettings
from streams.topics import AUDIT
from tests.integration.kafka_client import create_topics

pytestmark = pytest.mark.asyncio(loop_scope="session")

PUBLISHES = 30
PARTS = 3
RECORDS = 7
FOREIGN_EVERY = 5


class CountingReader(LocalReader):
    """Counts the records that it was offered."""

    offered = 0

    def offer(self, records: Any) -> None:
        found = list(records)
        self.offered += len(found)
        super().offer(found)


def _writes(topic: str, publish: int, part: int) -> list[Write]:
    return [
        Write(
            topic,
            b"key %d" % (number % 3) if number else None,
            b"%d.%d.%d" % (publish, part, number) if number + 1 < RECORDS else None,
            [("trace", b"%d" % number), ("empty", b"")],
            partition=None if number else 0,
        )
        for number in range(RECORDS)
    ]


def _by_partition(records: list[ConsumerRecord[Any, Any]]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for record in records:
        found.setdefault(record.partition, []).append(astuple(record))
    return found


async def _consume(consumer: AIOKafkaConsumer, count: int) -> list[ConsumerRecord[Any, Any]]:
    found: list[ConsumerRecord[Any, Any]] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            for records in (await consumer.getmany(timeout_ms=1_000)).values():
                found += records
    return found


@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize("pending_batches", [producer_batches.PENDING_BATCHES, 1, 0])
async def test_consumer_gets_what_the_log_has(
    kafka: KafkaSettings, codec: str, pending_batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer_batches, "PENDING_BATCHES", pending_batches)
    record_batches.install()
    await create_topics(kafka, AUDIT)
    topic = AUDIT.kafka_name(kafka.topic_prefix)
    partitions = [TopicPartition(topic, number) for number in range(kafka.partitions)]
    local, plain = (AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap) for _ in range(2))
    foreign = Producer({"bootstrap.servers": kafka.bootstrap})
    compressing = kafka.model_copy(update={"compression_type": codec})
    async with local, plain, ReliableProducer(compressing) as producer:
        for consumer in (local, plain):
            consumer.assign(partitions)
            await consumer.seek_to_beginning()
        reader = CountingReader()
        reader.attach(local._fetcher)
        with producer.local_delivery.registered([topic], reader):
            count = PUBLISHES * PARTS * RECORDS + PUBLISHES // FOREIGN_EVERY
            reading = asyncio.create_task(_consume(local, count))
            for publish in range(PUBLISHES):
                await asyncio.gather(
                    *(producer.publish(_writes(topic, publish, part)) for part in range(PARTS))
                )
                if publish % FOREIGN_EVERY == 0:
                    foreign.produce(topic, b"foreign", b"key 1")
                    await asyncio.to_thread(foreign.flush, 10)
            delivered = await reading
        fetched = await _consume(plain, count)
    assert reader.offered == PUBLISHES * PARTS * RECORDS
    assert _by_partition(delivered) == _by_partition(fetched)
