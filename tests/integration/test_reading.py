import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from streams.cluster.connection import ClusterAwayError
from streams.cluster.topic_reader import TopicReader
from streams.settings import KafkaSettings
from streams.topics import AUDIT, RESULTS
from tests.integration.kafka_side import closed_port, make_topics

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOW = datetime.now(UTC)


@pytest_asyncio.fixture(loop_scope="session")
async def producer(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    await make_topics(kafka, RESULTS, AUDIT)
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all") as producer:
        yield producer


class Writer:
    """Writes results whose records have the age that a test gives them."""

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


async def names(reader: TopicReader) -> set[str]:
    return {each.message["request_id"] async for each in reader.records(to_end=True)}


async def test_a_reader_begins_where_its_topics_end(kafka: KafkaSettings, writer: Writer) -> None:
    await writer.write("before")
    async with TopicReader(kafka, RESULTS, AUDIT) as reader:
        assert await names(reader) == set()
        await writer.write("after", partition=1)
        assert await names(reader) == {"after"}
        await reader.from_beginning(AUDIT)
        assert await names(reader) == set()
        await reader.from_beginning(RESULTS)
        assert await names(reader) == {"before", "after"}


async def test_a_reader_goes_back_to_a_moment(kafka: KafkaSettings, writer: Writer) -> None:
    for hours in (3, 2, 1):
        await writer.write(f"{hours} h ago", hours=hours)
    await writer.write("the other partition", hours=3, partition=1)
    async with TopicReader(kafka, RESULTS) as reader:
        await reader.back_to(NOW - timedelta(hours=2.5))
        assert await names(reader) == {"2 h ago", "1 h ago"}
        await reader.back_to(NOW + timedelta(hours=1))
        assert await names(reader) == set()
        await reader.back_to(NOW - timedelta(hours=9), AUDIT)
        assert await names(reader) == set()


async def test_going_back_passes_over_nothing_that_is_unread(
    kafka: KafkaSettings, writer: Writer
) -> None:
    """What came since the reader opened is not read yet, whatever its producer's clock says."""
    async with TopicReader(kafka, RESULTS) as reader:
        await writer.write("by a slow clock", hours=48)
        await writer.write("now", partition=1)
        await reader.back_to(NOW - timedelta(hours=24))
        assert await names(reader) == {"by a slow clock", "now"}


async def test_an_iteration_that_is_ended_gives_all_that_was_fetched(
    kafka: KafkaSettings, writer: Writer
) -> None:
    for number in range(10):
        await writer.write(str(number))
    found: set[str] = set()
    async with TopicReader(kafka, RESULTS) as reader, asyncio.timeout(20):
        await reader.from_beginning()
        async for each in reader.records(until=lambda: bool(found)):
            found.add(each.message["request_id"])
        found |= await names(reader)
    assert found == {str(number) for number in range(10)}


async def test_a_missing_topic_and_a_missing_broker_are_named(kafka: KafkaSettings) -> None:
    for settings, text in (
        (kafka, "clipmill topics apply"),
        (KafkaSettings(bootstrap=closed_port()), "no broker answers"),
    ):
        with pytest.raises(ClusterAwayError, match=text):
            async with TopicReader(settings, RESULTS):
                pass
