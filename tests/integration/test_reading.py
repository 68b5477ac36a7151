import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from streams.cluster.connection import ClusterUnavailableError
from streams.cluster.topic_reader import TopicReader
from streams.settings import KafkaSettings
from streams.topics import AUDIT, RESULTS
from tests.integration.kafka_client import closed_port, create_topics

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOW = datetime.now(UTC)


@pytest_asyncio.fixture(loop_scope="session")
async def producer(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    await create_topics(kafka, RESULTS, AUDIT)
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all") as producer:
        yield producer


class Writer:
    """Publishes results with records of a given age."""

    def __init__(self, kafka: KafkaSettings, producer: AIOKafkaProducer) -> None:
        self._name = RESULTS.kafka_name(kafka.topic_prefix)
        self._producer = producer

    async def write(self, name: str, *, hours: float = 0, partition: int = 0) -> None:
        milliseconds = int((NOW - timedelta(hours=hours)).timestamp() * 1000)
        await self._producer.send_and_wait(
            self._name,
            b'{"request_id": "%s"}' % name.encode(),
            partition=partition,
            timestamp_ms=milliseconds,
        )


@pytest.fixture
def writer(kafka: KafkaSettings, producer: AIOKafkaProducer) -> Writer:
    return Writer(kafka, producer)


async def request_ids(reader: TopicReader) -> set[str]:
    return {each.message["request_id"] async for each in reader.records(to_end=True)}


async def test_reader_starts_at_the_end_of_its_topics(kafka: KafkaSettings, writer: Writer) -> None:
    await writer.write("before")
    async with TopicReader(kafka, RESULTS, AUDIT) as reader:
        assert await request_ids(reader) == set()
        await writer.write("after", partition=1)
        assert await request_ids(reader) == {"after"}
        await reader.seek_to_beginning(AUDIT)
        assert await request_ids(reader) == set()
        await reader.seek_to_beginning(RESULTS)
        assert await request_ids(reader) == {"before", "after"}


async def test_reader_rewinds_to_a_time(kafka: KafkaSettings, writer: Writer) -> None:
    for hours in (3, 2, 1):
        await writer.write(f"{hours} h ago", hours=hours)
    await writer.write("the other partition", hours=3, partition=1)
    async with TopicReader(kafka, RESULTS) as reader:
        await reader.rewind_to(NOW - timedelta(hours=2.5))
        assert await request_ids(reader) == {"2 h ago", "1 h ago"}
        await reader.rewind_to(NOW + timedelta(hours=1))
        assert await request_ids(reader) == set()
        await reader.rewind_to(NOW - timedelta(hours=9), AUDIT)
        assert await request_ids(reader) == set()


async def test_rewinding_skips_no_unread_record(kafka: KafkaSettings, writer: Writer) -> None:
    """Records published since the opening are unread, whatever their producer's clock."""
    async with TopicReader(kafka, RESULTS) as reader:
        await writer.write("by a slow clock", hours=48)
        await writer.write("now", partition=1)
        await reader.rewind_to(NOW - timedelta(hours=24))
        assert await request_ids(reader) == {"by a slow clock", "now"}


async def test_stopped_iteration_loses_no_fetched_record(
    kafka: KafkaSettings, writer: Writer
) -> None:
    for number in range(10):
        await writer.write(str(number))
    found: set[str] = set()
    async with TopicReader(kafka, RESULTS) as reader, asyncio.timeout(20):
        await reader.seek_to_beginning()
        async for each in reader.records(until=lambda: bool(found)):
            found.add(each.message["request_id"])
        found |= await request_ids(reader)
    assert found == {str(number) for number in range(10)}


async def test_missing_topic_or_broker_is_named(kafka: KafkaSettings) -> None:
    for settings, text in (
        (kafka, "clipmill topics apply"),
        (KafkaSettings(bootstrap=closed_port()), "no broker answers"),
    ):
        with pytest.raises(ClusterUnavailableError, match=text):
            async with TopicReader(settings, RESULTS):
                pass
