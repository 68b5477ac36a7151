"""Kafka client helpers: create topics, produce, consume, read committed offsets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.cluster.topic_admin import topic_config
from streams.records import Header
from streams.settings import KafkaSettings
from streams.topics import HEARTBEATS, Topic

QUIET_SECONDS = 0.7


@asynccontextmanager
async def admin(kafka: KafkaSettings) -> AsyncIterator[Any]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def create_topics(
    kafka: KafkaSettings, *requested: Topic, partitions: int | None = None
) -> None:
    """Create topics; with the default partitions also HEARTBEATS, which every stage consumes."""
    topics = {*requested, HEARTBEATS} if partitions is None else set(requested)
    async with admin(kafka) as client:
        await client.create_topics(
            [
                NewTopic(
                    topic.kafka_name(kafka.topic_prefix),
                    num_partitions=partitions or kafka.partitions,
                    replication_factor=1,
                    topic_configs=topic_config(topic),
                )
                for topic in topics
            ]
        )
        names = {topic.kafka_name(kafka.topic_prefix) for topic in topics}
        async with asyncio.timeout(10):
            while not names <= set(await client.list_topics()):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


ProducedRecord = tuple[bytes | None, bytes | None, Sequence[Header], int | None]


async def produce(kafka: KafkaSettings, topic: Topic, records: Iterable[ProducedRecord]) -> None:
    """Publish (key, value, headers, partition) in order and wait for acknowledgements."""
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap, acks="all", max_request_size=3_000_000
    )
    name = topic.kafka_name(kafka.topic_prefix)
    async with producer:
        futures = [
            await producer.send(
                name, key=key, value=value, headers=list(headers), partition=partition
            )
            for key, value, headers, partition in records
        ]
        await asyncio.gather(*futures)


async def produce_numbers(kafka: KafkaSettings, topic: Topic, numbers: Iterable[int]) -> None:
    await produce(kafka, topic, [(b"k%d" % n, b"%d" % n, (), n % 2) for n in numbers])


async def read(
    kafka: KafkaSettings, topic: Topic, enough: Callable[[list[Any]], bool], seconds: float = 20
) -> list[Any]:
    """Read a topic from its beginning until ``enough`` is true and the topic is quiet."""
    consumer = AIOKafkaConsumer(
        topic.kafka_name(kafka.topic_prefix),
        bootstrap_servers=kafka.bootstrap,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    records: list[Any] = []
    async with consumer, asyncio.timeout(seconds):
        while True:
            batches = await consumer.getmany(timeout_ms=int(QUIET_SECONDS * 1000))
            records += [record for batch in batches.values() for record in batch]
            if not batches and enough(records):
                return records


async def committed_offsets(kafka: KafkaSettings, group: str, topic: Topic) -> dict[int, int]:
    """Return the committed offset of each partition."""
    name = topic.kafka_name(kafka.topic_prefix)
    async with admin(kafka) as client:
        offsets = await client.list_consumer_group_offsets(f"{kafka.topic_prefix}{group}")
    return {place.partition: data.offset for place, data in offsets.items() if place.topic == name}


async def wait_until(condition: Callable[[], object], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  (the condition sets no event)
            await asyncio.sleep(0.02)


def closed_port() -> str:
    """Return a loopback address without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"
