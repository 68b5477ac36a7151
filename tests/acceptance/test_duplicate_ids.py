"""Duplicate request ids from librdkafka: of a recreated topic, and of clients."""

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
from tests.acceptance.client import PipelineClient, page
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARTITION = 3
SESSION = {"CLIPMILL_KAFKA__SESSION_TIMEOUT_SECONDS": "6"}
ADMIN_SECONDS = 30


def urls(first: int) -> list[str]:
    return [page(video_id(serial=number)) for number in range(first, first + 4)]


def produce(bootstrap: str, *bodies: dict[str, Any]) -> list[str]:
    """Publish requests to one partition; return their default ids by delivery report."""
    ids: list[str] = []

    def on_delivery(error: object, message: Message) -> None:
        assert error is None
        _, milliseconds = message.timestamp()
        ids.append(f"requests-{message.partition()}-{message.offset()}-{milliseconds}")

    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    for body in bodies:
        value = json.dumps(body).encode()
        producer.produce(REQUESTS.kafka_name(), value, partition=PARTITION, callback=on_delivery)
    assert producer.flush(ADMIN_SECONDS) == 0
    return ids


async def recreate_topic(pipeline: PipelineProcess) -> None:
    """Delete and recreate the requests topic, and delete its group with the committed offsets."""
    admin, name = AdminClient({"bootstrap.servers": pipeline.bootstrap}), REQUESTS.kafka_name()
    await asyncio.to_thread(delete_group, admin, f"{KafkaSettings().topic_prefix}validation")
    await asyncio.to_thread(admin.delete_topics([name])[name].result, ADMIN_SECONDS)
    async with asyncio.timeout(ADMIN_SECONDS):
        while True:
            topics = (await asyncio.to_thread(admin.list_topics, timeout=10)).topics
            if name not in topics:
                break
            await asyncio.sleep(0.2)
    await apply_topics(pipeline.kafka, TOPICS)


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


async def test_requests_without_id_complete_after_their_topic_was_recreated(
    tmp_path: Path,
) -> None:
    async with PipelineProcess(tmp_path, **SESSION) as pipeline:
        client = PipelineClient(pipeline)
        worker = await pipeline.start_worker("all")
        before = produce(pipeline.bootstrap, *({"url": url, "action": "info"} for url in urls(1)))
        await client.wait_for(before)
        worker.terminate()
        await recreate_topic(pipeline)
        after = produce(pipeline.bootstrap, *({"url": url, "action": "info"} for url in urls(5)))
        assert [each.rpartition("-")[0] for each in after] == [
            each.rpartition("-")[0] for each in before
        ]
        await pipeline.start_worker("all")
        await client.wait_for(after)
        found = {each: await client.outcome(each) for each in (*before, *after)}
        assert {each["status"] for each in found.values()} == {"completed"}
        assert [each["url"] for each in found.values()] == [*urls(1), *urls(5)]
        assert await client.messages(AUDIT, transition="repeated") == []


async def test_duplicate_request_id_is_reported(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    first, other = urls(1)[:2]
    produce(pipeline.bootstrap, {"id": "twice", "url": first, "action": "info"})
    assert (await client.outcome("twice"))["url"] == first
    (again,) = produce(pipeline.bootstrap, {"id": "twice", "url": first, "action": "info"})
    (wrong,) = produce(pipeline.bootstrap, {"id": "twice", "url": other, "action": "info"})
    await client.wait_for_transition("twice", "repeated")
    produce(pipeline.bootstrap, {"id": "behind", "url": first, "action": "info"})
    await client.wait_for(["behind"])
    async with asyncio.timeout(20):
        while True:
            reports = await client.messages(AUDIT, transition="repeated")
            if len(reports) == 2:
                break
            await asyncio.sleep(0.1)
    assert [each["detail"] for each in reports] == [
        {"content": "same", "by": again},
        {"content": "other", "by": wrong},
    ]
    assert (await client.outcome("twice"))["url"] == first
    assert (await client.metrics())["clipmill_repeated_requests_total"] == 2
