"""Results on the topic that a request names, as a client of another library (librdkafka) asks."""

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
from tests.acceptance.desk import Desk, Message, page
from tests.house import House
from tests.standin import user_name, video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

BILLING, TEMPORARY = "billing.videos", "temporary.videos"
REPLY_TOPICS = {"CLIPMILL_KAFKA__REPLY_TOPICS": json.dumps([BILLING, TEMPORARY])}
CORRELATION = b"\x00\xff order 17"
QUIET_SECONDS = 2.0

Header = tuple[str, bytes]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A house whose worker knows two reply topics."""
    async with House(tmp_path_factory.mktemp("house"), **REPLY_TOPICS) as house:
        replies = reply_settings(house)
        await apply_topics(replies, topics_of((), replies.reply_topics))
        await house.start_worker("all")
        yield house


@pytest.fixture(scope="module")
def desk(house: House) -> Desk:
    """A client of the house."""
    return Desk(house)


def reply_settings(house: House) -> KafkaSettings:
    return KafkaSettings(bootstrap=house.bootstrap, reply_topics=(BILLING, TEMPORARY))


def ask(house: House, value: bytes, headers: Sequence[Header] = ()) -> None:
    producer = Producer({"bootstrap.servers": house.bootstrap, "acks": "all"})
    producer.produce(REQUESTS.kafka_name(), value, headers=list(headers))
    assert producer.flush(30) == 0


def request(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


Reply = tuple[Message, list[bytes]]
"""A result, and the correlation ids beside it."""


async def read(house: House, topic: str, count: int, seconds: float = 60) -> dict[str, Reply]:
    """Return what a topic has, by request id, once that are so many and it is quiet."""
    consumer = Consumer(
        {
            "bootstrap.servers": house.bootstrap,
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


async def test_results_come_on_the_topic_that_requests_name(house: House, desk: Desk) -> None:
    correlated = ("kafka_correlationId", CORRELATION)
    in_header = ("kafka_replyTopic", BILLING.encode())
    video = page(video_id("kilobytes", param=20, serial=1))
    retried = page(video_id(serial=3), user_name("page.503", times=1))
    ask(house, request(id="done", url=video, reply_to=BILLING), [correlated])
    ask(house, request(id="spring", url=video, action="info"), [correlated, in_header])
    ask(house, request(id="retried", url=retried, action="info", reply_to=BILLING), [correlated])
    ask(house, request(id="batch", urls=[video, "no"], reply_to=BILLING), [correlated])
    ask(house, request(id="wrong", url=video, colour="red"), [correlated, in_header])
    ask(house, b"\xff no request", [correlated, in_header])
    ask(house, request(id="plain", url=video, action="info"), [correlated])
    found = await read(house, BILLING, 8)
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
    # Instead of, not beside: nothing of these is on the results topic.
    await desk.outcome("plain")
    elsewhere = await read(house, RESULTS.kafka_name(), 1)
    assert elsewhere.keys().isdisjoint(found)
    assert elsewhere["plain"][1] == [CORRELATION]


async def test_another_topic_is_refused_on_the_results_topic(house: House, desk: Desk) -> None:
    ask(house, request(id="audit", url=page(video_id()), reply_to="clipmill.audit.v1"))
    refused = await desk.outcome("audit")
    assert refused["status"] == "rejected"
    details = refused["error"]["technical_details"]
    assert details["field"] == "$.reply_to"
    assert f"is not one of {BILLING}, {TEMPORARY}" in details["reason"]


async def test_a_large_correlation_id_is_refused(house: House, desk: Desk) -> None:
    headers = [("kafka_correlationId", b"x" * 1_025)]
    ask(house, request(id="large", url=page(video_id())), headers)
    details = (await desk.outcome("large"))["error"]["technical_details"]
    assert details["field"] == "header kafka_correlationId"
    assert "1025 bytes, at most 1024" in details["reason"]


async def test_a_cancelled_request_and_its_retry_answer_on_their_topic(
    house: House, desk: Desk
) -> None:
    url = page(video_id("page.429", serial=9))
    headers = [("kafka_correlationId", b"c-9")]
    ask(house, request(id="parked", url=url, reply_to=TEMPORARY), headers)
    await desk.transition("parked", "retrying")
    await house.command(command="cancel", request_id="parked")
    assert (await read(house, TEMPORARY, 1))["parked"][0]["status"] == "cancelled"
    await house.command(command="retry", request_id="parked", new_id="again")
    await desk.transition("again", "retrying")
    await house.command(command="cancel", request_id="again")
    result, ids = (await read(house, TEMPORARY, 2))["again"]
    assert (result["status"], result["retry_of"], ids) == ("cancelled", "parked", [b"c-9"])


async def test_a_reply_topic_that_vanishes_holds_up_nobody(house: House, desk: Desk) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=house.bootstrap)
    await admin.start()
    await admin.delete_topics([TEMPORARY])
    await admin.close()
    for number in range(5):
        ask(house, request(id=f"lost-{number}", url="nonsense", reply_to=TEMPORARY))
    started = time.monotonic()
    await desk.ask("nonsense", id="other")
    others = time.monotonic() - started
    for number in range(5):
        assert (await desk.outcome(f"lost-{number}", 60))["status"] == "rejected"
    redirected = time.monotonic() - started
    print(f"\nanother result after {others:.1f} s, redirected after {redirected:.1f} s")
    assert (await desk.metrics())["clipmill_replies_redirected_total"] >= 5


async def test_a_worker_names_the_reply_topic_that_is_missing(tmp_path: Path) -> None:
    async with House(tmp_path, **REPLY_TOPICS) as house:
        worker = house.spawn_worker("all")
        with pytest.raises(RuntimeError, match=f"(?s){BILLING}: does not exist.*topics apply"):
            await worker.wait_ready()
        worker.kill()
        status, said, _ = await house.clipmill("topics", "apply")
        assert (status, said.split()) == (0, ["created", BILLING, "created", TEMPORARY])
        await house.start_worker("all")
