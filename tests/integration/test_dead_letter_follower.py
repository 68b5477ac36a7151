"""The index of dead letters follows the topics of a real broker."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import pytest

from schemas.deadletters import DeadLetterStatus
from streams.deadletters.follower import DeadLetterFollower
from streams.deadletters.headers import make_dead_letter
from streams.deadletters.index import DeadLetterIndex
from streams.deadletters.replay import publish_mark
from streams.deadletters.store import DeadLetterStore
from streams.records import Incoming
from streams.settings import KafkaSettings
from streams.topics import DEADLETTERS, MARKS, VALIDATED
from tests.integration.kafka_client import admin, create_topics, produce

pytestmark = pytest.mark.asyncio(loop_scope="session")


@asynccontextmanager
async def following(kafka: KafkaSettings) -> AsyncIterator[DeadLetterIndex]:
    index = DeadLetterIndex()
    task = asyncio.create_task(DeadLetterFollower(kafka, index, retention_seconds=0.5).follow())
    try:
        yield index
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def reaches(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def publish(kafka: KafkaSettings, *numbers: int) -> None:
    records = [Incoming(VALIDATED.name, 0, number, b"k", b"v", (), 1.5) for number in numbers]
    made = [make_dead_letter(each, step="download", code="a.b", reason="no") for each in records]
    await produce(kafka, DEADLETTERS, [(each.key, each.value, each.headers, 0) for each in made])


async def test_index_follows_dead_letters_and_marks(kafka: KafkaSettings) -> None:
    await create_topics(kafka, DEADLETTERS)
    await create_topics(kafka, MARKS, partitions=1)
    await publish(kafka, 1, 2, 2)
    [first, _] = [each async for each in DeadLetterStore(kafka).dead_letters()]
    mark = DeadLetterStatus(state="resolved", by="me", at=datetime.now(UTC))
    await publish_mark(kafka, [first], mark)
    async with following(kafka) as index:
        await reaches(lambda: index.problem is None)
        assert sorted(each.state(1) for each in index.entries()) == ["resolved", "waiting"]
        await publish(kafka, 3)
        await reaches(lambda: len(index.entries()) == 3)
        [third] = [each for each in index.entries() if each.metadata.origin_offset == 3]
        await publish_mark(kafka, await DeadLetterStore(kafka).find([third.id]), mark)
        await reaches(lambda: [each.state(1) for each in index.entries()].count("resolved") == 2)


async def test_recreated_topic_is_read_again(
    kafka: KafkaSettings,
) -> None:
    await create_topics(kafka, DEADLETTERS)
    await create_topics(kafka, MARKS, partitions=1)
    await publish(kafka, 1, 2)
    name = DEADLETTERS.kafka_name(kafka.topic_prefix)
    async with following(kafka) as index:
        await reaches(lambda: len(index.entries()) == 2)
        async with admin(kafka) as client:
            await client.delete_topics([name])
            await asyncio.sleep(0.5)
        await create_topics(kafka, DEADLETTERS)
        await publish(kafka, 5)
        await reaches(lambda: [each.metadata.origin_offset for each in index.entries()] == [5])


async def test_missing_topic_is_the_problem_until_it_is_there(kafka: KafkaSettings) -> None:
    async with following(kafka) as index:
        await reaches(lambda: "there is no topic" in str(index.problem))
        assert "topics apply" in str(index.problem)
        await create_topics(kafka, DEADLETTERS)
        await create_topics(kafka, MARKS, partitions=1)
        await reaches(lambda: index.problem is None)
