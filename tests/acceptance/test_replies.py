"""Results on the reply topic of a request, as seen by a client on librdkafka."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka import Consumer, Producer

from streams.cluster.topic_admin import apply_topics
from streams.settings import KafkaSettings
from streams.stage import topics_of
from streams.topics import REQUESTS, RESULTS
from tests.acceptance.client import Message, PipelineClient, page
from tests.pipeline_process import PipelineProcess
from tests.standin import user_name, video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

BILLING, TEMPORARY = "billing.videos", "temporary.videos"
REPLY_TOPICS = {"CLIPMILL_KAFKA__REPLY_TOPICS": json.dumps([BILLING, TEMPORARY])}
CORRELATION = b"\x00\xff order 17"
QUIET_SECONDS = 2.0

Header = tuple[str, bytes]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pipeline(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PipelineProcess]:
    """A pipeline with two reply topics."""
    async with PipelineProcess(tmp_path_factory.mktemp("pipeline"), **REPLY_TOPICS) as pipeline:
        replies = reply_settings(pipeline)
        await apply_topics(replies, topics_of((), replies.reply_topics))
        await pipeline.start_worker("all")
        yield pipeline


@pytest.fixture(scope="module")
def client(pipeline: PipelineProcess) -> PipelineClient:
    return PipelineClient(pipeline)


def reply_settings(pipeline: PipelineProcess) -> KafkaSettings:
    return KafkaSettings(bootstrap=pipeline.bootstrap, reply_topics=(BILLING, TEMPORARY))


def publish(pipeline: PipelineProcess, value: bytes, headers: Sequence[Header] = ()) -> None:
    producer = Producer({"bootstrap.servers": pipeline.bootstrap, "acks": "all"})
    producer.produce(REQUESTS.kafka_name(), value, headers=list(headers))
    assert producer.flush(30) == 0


def request_body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


Reply = tuple[Message, list[bytes]]
"""A result, and the correlation ids in its headers."""


async def read(
    pipeline: PipelineProcess, topic: str, count: int, seconds: float = 60
) -> dict[str, Reply]:
    """Read a topic until it has ``count`` results and is quiet; return them by request id."""
    consumer = Consumer(
        {
            "bootstrap.servers": pipeline.bootstrap,
            "group.id": f"reader-{time.time_ns()}",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topic])
    found: dict[str, list[Reply]] = defaultdict(list)
    deadline, quiet = time.monotonic() + seconds, None
    try:
        while quiet is None or time.monotonic() < quiet:
            assert time.monotonic() < deadline, sorted(found)
            for record in await asyncio.to_thread(consumer.consume, 100, 0.2):
                result = json.loads(record.value() or b"")
                headers: Any = record.headers() or ()
                ids = [value for name, value in headers if name == "kafka_correlationId"]
                assert record.key() == result["request_id"].encode()
                found[result["request_id"]].append((result, ids))
            if len(found) >= count and quiet is None:
                quiet = time.monotonic() + QUIET_SECONDS
    finally:
        consumer.close()
    return {name: replies[0] for name, replies in found.items()}


async def test_results_are_published_to_the_reply_topic(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    correlated = ("kafka_correlationId", CORRELATION)
    in_header = ("kafka_replyTopic", BILLING.encode())
    video = page(video_id("kilobytes", param=20, serial=1))
    retried = page(video_id(serial=3), user_name("page.503", times=1))
    publish(pipeline, request_body(id="done", url=video, reply_to=BILLING), [correlated])
    publish(pipeline, request_body(id="spring", url=video, action="info"), [correlated, in_header])
    publish(
        pipeline,
        request_body(id="retried", url=retried, action="info", reply_to=BILLING),
        [correlated],
    )
    publish(pipeline, request_body(id="batch", urls=[video, "no"], reply_to=BILLING), [correlated])
    publish(pipeline, request_body(id="wrong", url=video, colour="red"), [correlated, in_header])
    publish(pipeline, b"\xff no request", [correlated, in_header])
    publish(pipeline, request_body(id="plain", url=video, action="info"), [correlated])
    found = await read(pipeline, BILLING, 8)
    assert all(ids == [CORRELATION] for _, ids in found.values())
    (garbage,) = [name for name in found if name.startswith("requests-")]
    statuses = {name: result["status"] for name, (result, _) in found.items() if name != garbage}
    assert found[garbage][0]["status"] == "rejected"
    assert statuses == {
        "done": "completed",
        "spring": "completed",
        "retried": "completed",
        "batch/0": "completed",
        "batch/1": "rejected",
        "batch": "batch_finished",
        "wrong": "rejected",
    }
    # The reply topic replaces the results topic: none of these results is on the latter.
    await client.outcome("plain")
    on_results_topic = await read(pipeline, RESULTS.kafka_name(), 1)
    assert on_results_topic.keys().isdisjoint(found)
    assert on_results_topic["plain"][1] == [CORRELATION]


async def test_unknown_reply_topic_is_rejected_on_the_results_topic(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    publish(pipeline, request_body(id="audit", url=page(video_id()), reply_to="clipmill.audit.v1"))
    rejected = await client.outcome("audit")
    assert rejected["status"] == "rejected"
    details = rejected["error"]["technical_details"]
    assert details["field"] == "$.reply_to"
    assert f"is not one of {BILLING}, {TEMPORARY}" in details["reason"]


async def test_large_correlation_id_is_rejected(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    headers = [("kafka_correlationId", b"x" * 1_025)]
    publish(pipeline, request_body(id="large", url=page(video_id())), headers)
    details = (await client.outcome("large"))["error"]["technical_details"]
    assert details["field"] == "header kafka_correlationId"
    assert "1025 bytes; the maximum is 1024" in details["reason"]


async def test_cancelled_request_and_its_retry_keep_the_reply_topic(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    url = page(video_id("page.429", serial=9))
    headers = [("kafka_correlationId", b"c-9")]
    publish(pipeline, request_body(id="parked", url=url, reply_to=TEMPORARY), headers)
    await client.wait_for_transition("parked", "retrying")
    await pipeline.publish_command(command="cancel", request_id="parked")
    assert (await read(pipeline, TEMPORARY, 1))["parked"][0]["status"] == "cancelled"
    await pipeline.publish_command(command="retry", request_id="parked", new_id="again")
    await client.wait_for_transition("again", "retrying")
    await pipeline.publish_command(command="cancel", request_id="again")
    result, ids = (await read(pipeline, TEMPORARY, 2))["again"]
    assert (result["status"], result["retry_of"], ids) == ("cancelled", "parked", [b"c-9"])


async def test_deleted_reply_topic_does_not_delay_other_results(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=pipeline.bootstrap)
    await admin.start()
    await admin.delete_topics([TEMPORARY])
    await admin.close()
    for number in range(5):
        publish(pipeline, request_body(id=f"lost-{number}", url="nonsense", reply_to=TEMPORARY))
    started = time.monotonic()
    await client.request("nonsense", id="other")
    others = time.monotonic() - started
    for number in range(5):
        assert (await client.outcome(f"lost-{number}", 60))["status"] == "rejected"
    redirected = time.monotonic() - started
    print(f"\nanother result after {others:.1f} s, redirected after {redirected:.1f} s")
    assert (await client.metrics())["clipmill_replies_redirected_total"] >= 5


async def test_missing_reply_topic_is_named_at_start(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path, **REPLY_TOPICS) as pipeline:
        worker = pipeline.spawn_worker("all")
        with pytest.raises(RuntimeError, match=f"(?s){BILLING}: does not exist.*topics apply"):
            await worker.wait_ready()
        worker.kill()
        status, output, _ = await pipeline.clipmill("topics", "apply")
        assert (status, output.split()) == (0, ["created", BILLING, "created", TEMPORARY])
        await pipeline.start_worker("all")
