"""Reply topics on a real broker: created by apply, reported by check, deleted at runtime."""

import asyncio
import logging
import time

import pytest
from aiokafka.admin import NewTopic

from streams.cluster.producer import ReliableProducer, Write
from streams.cluster.topic_admin import TopicsError, apply_topics, check_topics
from streams.settings import KafkaSettings
from streams.stage import topics_of
from streams.topics import RESULTS, reply_topic
from tests.integration.kafka_client import admin, create_topics, read

pytestmark = pytest.mark.asyncio(loop_scope="session")


def with_replies(kafka: KafkaSettings, *names: str) -> KafkaSettings:
    """Return the settings with reply topics, whose names get the test's prefix."""
    topics = tuple(f"{kafka.topic_prefix}{name}" for name in names)
    return kafka.model_copy(update={"reply_topics": topics})


async def create(kafka: KafkaSettings, topic: NewTopic) -> None:
    async with admin(kafka) as client:
        await client.create_topics([topic])
        async with asyncio.timeout(10):
            while topic.name not in await client.list_topics():  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def delete(kafka: KafkaSettings, name: str) -> None:
    async with admin(kafka) as client:
        await client.delete_topics([name])
        async with asyncio.timeout(10):
            while name in await client.list_topics():  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_apply_creates_reply_topics_and_check_reports_missing_ones(
    kafka: KafkaSettings,
) -> None:
    await apply_topics(kafka, topics_of((), kafka.reply_topics))
    replies = with_replies(kafka, "billing.in", "archive")
    with pytest.raises(TopicsError) as caught:
        await check_topics(replies, topics_of((), replies.reply_topics))
    name = replies.reply_topics[0]
    assert f"{name}: does not exist, but kafka.reply_topics names it" in str(caught.value)
    assert await apply_topics(replies, topics_of((), replies.reply_topics)) == list(
        replies.reply_topics
    )
    await check_topics(replies, topics_of((), replies.reply_topics))


async def test_reply_topic_with_another_config_is_accepted(kafka: KafkaSettings) -> None:
    await apply_topics(kafka, topics_of((), kafka.reply_topics))
    replies = with_replies(kafka, "odd")
    await create(kafka, NewTopic(replies.reply_topics[0], 7, 1))
    await check_topics(replies, topics_of((), replies.reply_topics))
    assert await apply_topics(replies, topics_of((), replies.reply_topics)) == []


async def test_deleted_reply_topic_does_not_delay_other_records(
    kafka: KafkaSettings, caplog: pytest.LogCaptureFixture
) -> None:
    (name,) = with_replies(kafka, "gone").reply_topics
    deleted, results = reply_topic(name), RESULTS.kafka_name(kafka.topic_prefix)
    await create_topics(kafka, RESULTS, deleted)
    caplog.set_level(logging.WARNING)

    def reply(value: bytes) -> Write:
        return Write(name, b"k", value, fallback=results)

    async with ReliableProducer(kafka) as producer:
        await producer.publish([reply(b"before")])
        await delete(kafka, name)
        started = time.monotonic()
        first = asyncio.create_task(
            producer.publish([reply(b"in flight"), Write(results, b"k", b"1")])
        )
        await asyncio.sleep(1.0)
        waits: list[float] = []
        for number in range(20):
            at = time.monotonic()
            await producer.publish([reply(b"%d" % number)])
            await producer.publish([Write(results, b"k", b"x")])
            waits.append(time.monotonic() - at)
        await first
        print(f"\nin flight {time.monotonic() - started:.1f} s, after {max(waits):.2f} s at most")
    found = {record.value for record in await read(kafka, RESULTS, lambda all_: len(all_) >= 42)}
    assert found >= {b"in flight", b"1", *(b"%d" % number for number in range(20))}
    assert max(waits) < 5
    warnings = [each for each in caplog.records if each.name == "streams.cluster.reply_topics"]
    assert len(warnings) == 1
    assert "does not exist" in warnings[0].getMessage()


async def test_recreated_reply_topic_receives_records_again(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.cluster.reply_topics.RECHECK_SECONDS", 0.2)
    (name,) = with_replies(kafka, "back").reply_topics
    await create_topics(kafka, RESULTS)
    results = RESULTS.kafka_name(kafka.topic_prefix)
    async with ReliableProducer(kafka) as producer:
        await producer.publish([Write(name, b"k", b"1", fallback=results)])
        await create_topics(kafka, reply_topic(name))
        await asyncio.sleep(0.3)
        await producer.publish([Write(name, b"k", b"2", fallback=results)])
    found = await read(kafka, reply_topic(name), lambda all_: len(all_) >= 1)
    assert [record.value for record in found] == [b"2"]


async def test_record_too_large_for_a_reply_topic_goes_to_the_results_topic(
    kafka: KafkaSettings,
) -> None:
    (name,) = with_replies(kafka, "small").reply_topics
    await create_topics(kafka, RESULTS)
    await create(kafka, NewTopic(name, 1, 1, topic_configs={"max.message.bytes": "1000"}))
    results, large = RESULTS.kafka_name(kafka.topic_prefix), b"7" * 5_000
    async with ReliableProducer(kafka) as producer:
        await producer.publish([Write(name, b"k", large, fallback=results)])
        await producer.publish([Write(name, b"k", b"small", fallback=results)])
    (redirected,) = await read(kafka, RESULTS, lambda all_: len(all_) >= 1)
    assert redirected.value == large
    (kept,) = await read(kafka, reply_topic(name), lambda all_: len(all_) >= 1)
    assert kept.value == b"small"
