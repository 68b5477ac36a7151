"""The reliable producer on a real broker, read by librdkafka."""

import asyncio

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from streams.cluster import batch_decoding
from streams.cluster.producer import ReliableProducer, Write
from streams.settings import KafkaSettings
from streams.topics import RESULTS
from tests.integration.kafka_client import create_topics, read

pytestmark = pytest.mark.asyncio(loop_scope="session")

CODECS = {"none": None, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
"""Codec numbers of Kafka's record batches."""

LARGE = b'{"formats": "%b"}' % (b"video/mp4 " * 20_000)


@pytest.mark.parametrize("codec", CODECS)
async def test_batches_have_the_configured_codec(
    kafka: KafkaSettings, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressing = kafka.model_copy(update={"compression_type": codec})
    await create_topics(kafka, RESULTS)
    topic = RESULTS.kafka_name(kafka.topic_prefix)
    values = [b"%d" % number for number in range(100)]
    async with ReliableProducer(compressing) as producer:
        await producer.publish(
            [Write(topic, b"k", value, [("name", b"x")]) for value in [*values, LARGE]]
        )
        await producer.publish([Write(topic, None, None, [("name", b"x")], partition=0)])
    records = await asyncio.to_thread(read_with_librdkafka, kafka, topic, len(values) + 2)
    assert {each for each, _ in records} == {*values, LARGE, None}
    assert {tuple(headers) for _, headers in records} == {(("name", b"x"),)}
    used: set[int] = set()
    decompress = batch_decoding.decompress

    def observed(number: int, data: memoryview) -> bytes:
        used.add(number)
        return decompress(number, data)

    monkeypatch.setattr(batch_decoding, "decompress", observed)
    await read(kafka, RESULTS, lambda all_: len(all_) == len(values) + 2)
    assert used == ({CODECS[codec]} - {None})


def read_with_librdkafka(
    kafka: KafkaSettings, topic: str, count: int
) -> list[tuple[bytes | None, list[tuple[str, bytes]]]]:
    """Return the values and headers of the records of a topic."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "reader"})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
    records = consumer.consume(count, timeout=20)
    consumer.close()
    assert [each.error() for each in records] == [None] * count
    return [(each.value(), each.headers() or []) for each in records]
