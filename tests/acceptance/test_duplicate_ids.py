"""Ids that come twice, from librdkafka: after a topic was created again, and from clients."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from streams.cluster.topic_admin import apply_topics
from streams.settings import KafkaSettings
from streams.topics import AUDIT, REQUESTS, TOPICS
from tests.acceptance.desk import Desk, page
from tests.house import House
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARTITION = 3
SESSION = {"CLIPMILL_KAFKA__SESSION_TIMEOUT_SECONDS": "6"}
ADMIN_SECONDS = 30


def urls(first: int) -> list[str]:
    return [page(video_id(serial=number)) for number in range(first, first + 4)]


def produce(bootstrap: str, *bodies: dict[str, Any]) -> list[str]:
    """Publish requests to one partition; return the default ids by what is acknowledged."""
    ids: list[str] = []

    def acknowledged(error: object, message: Message) -> None:
        assert error is None
        _, milliseconds = message.timestamp()
        ids.append(f"requests-{message.partition()}-{message.offset()}-{milliseconds}")

    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    for body in bodies:
        value = json.dumps(body).encode()
        producer.produce(REQUESTS.kafka_name(), value, partition=PARTITION, callback=acknowledged)
    assert producer.flush(ADMIN_SECONDS) == 0
    return ids


async def create_again(house: House) -> None:
    """Delete the requests topic, and what its group has committed, and create it."""
    admin, name = AdminClient({"bootstrap.servers": house.bootstrap}), REQUESTS.kafka_name()
    await asyncio.to_thread(delete_group, admin, f"{KafkaSettings().topic_prefix}validation")
    await asyncio.to_thread(admin.delete_topics([name])[name].result, ADMIN_SECONDS)
    async with asyncio.timeout(ADMIN_SECONDS):
        while True:
            topics = (await asyncio.to_thread(admin.list_topics, timeout=10)).topics
            if name not in topics:
                break
            await asyncio.sleep(0.2)
    await apply_topics(house.kafka, TOPICS)


def delete_group(admin: AdminClient, group: str) -> None:
    """Delete a group once its last member has left."""
    deadline = time.monotonic() + ADMIN_SECONDS
    while True:
        try:
            admin.delete_consumer_groups([group])[group].result(ADMIN_SECONDS)
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


async def test_requests_without_id_are_answered_after_their_topic_was_created_again(
    tmp_path: Path,
) -> None:
    async with House(tmp_path, **SESSION) as house:
        desk = Desk(house)
        worker = await house.start_worker("all")
        before = produce(house.bootstrap, *({"url": url, "action": "info"} for url in urls(1)))
        await desk.wait_for(before)
        worker.terminate()
        await create_again(house)
        after = produce(house.bootstrap, *({"url": url, "action": "info"} for url in urls(5)))
        assert [each.rpartition("-")[0] for each in after] == [
            each.rpartition("-")[0] for each in before
        ]
        await house.start_worker("all")
        await desk.wait_for(after)
        found = {each: await desk.outcome(each) for each in (*before, *after)}
        assert {each["status"] for each in found.values()} == {"completed"}
        assert [each["url"] for each in found.values()] == [*urls(1), *urls(5)]
        assert await desk.messages(AUDIT, transition="repeated") == []


async def test_an_id_that_is_used_again_is_reported(house: House, desk: Desk) -> None:
    first, other = urls(1)[:2]
    produce(house.bootstrap, {"id": "twice", "url": first, "action": "info"})
    assert (await desk.outcome("twice"))["url"] == first
    (again,) = produce(house.bootstrap, {"id": "twice", "url": first, "action": "info"})
    (wrong,) = produce(house.bootstrap, {"id": "twice", "url": other, "action": "info"})
    await desk.transition("twice", "repeated")
    produce(house.bootstrap, {"id": "behind", "url": first, "action": "info"})
    await desk.wait_for(["behind"])
    async with asyncio.timeout(20):
        while True:
            reports = await desk.messages(AUDIT, transition="repeated")
            if len(reports) == 2:
                break
            await asyncio.sleep(0.1)
    assert [each["detail"] for each in reports] == [
        {"content": "same", "by": again},
        {"content": "other", "by": wrong},
    ]
    assert (await desk.outcome("twice"))["url"] == first
    assert (await desk.metrics())["clipmill_repeated_requests_total"] == 2
