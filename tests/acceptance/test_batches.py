"""Batch summaries, as seen by a client on another library (librdkafka)."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from streams.topics import REQUESTS, RESULTS
from tests.acceptance.client import Message, PipelineClient, page
from tests.pipeline_process import PipelineProcess
from tests.standin import user_name, video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

SESSION = {"CLIPMILL_KAFKA__SESSION_TIMEOUT_SECONDS": "6"}
QUIET_SECONDS = 2.0
"""No other record may arrive for this long after the last expected one."""


class LibrdkafkaClient:
    """A librdkafka client: publishes batches and separates outcomes from summaries."""

    def __init__(self, bootstrap: str) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"client-{time.time_ns()}",
                "auto.offset.reset": "earliest",
            }
        )
        self._consumer.subscribe([RESULTS.kafka_name()])
        self.outcomes: dict[str, set[bytes]] = defaultdict(set)
        self.summaries: dict[str, list[bytes]] = defaultdict(list)

    def close(self) -> None:
        self._consumer.close()
        del self._producer, self._consumer

    def publish(self, **request: Any) -> None:
        self._producer.produce(REQUESTS.kafka_name(), json.dumps(request).encode())
        assert self._producer.flush(30) == 0

    async def read(self, enough: Callable[[], object], seconds: float = 60) -> None:
        """Read results until ``enough`` is true."""
        deadline = time.monotonic() + seconds
        while not enough():
            assert time.monotonic() < deadline, (sorted(self.outcomes), dict(self.summaries))
            await self._poll(0.2)

    async def summary(self, batch_id: str, seconds: float = 60) -> Message:
        """Return the summary of a batch; no other summary may follow."""
        await self.read(lambda: self.summaries[batch_id], seconds)
        quiet = time.monotonic() + QUIET_SECONDS
        while time.monotonic() < quiet:
            await self._poll(0.2)
        assert len(set(self.summaries[batch_id])) == 1
        found: Message = json.loads(self.summaries[batch_id][0])
        return found

    def has_outcomes(self, number: int) -> bool:
        return len(self.outcomes) >= number

    def member_counts(self, batch_id: str) -> dict[str, int]:
        """Return the number of members by status; each member has one outcome."""
        counts: dict[str, int] = defaultdict(int)
        for name, bodies in self.outcomes.items():
            if name.startswith(f"{batch_id}/"):
                (body,) = bodies
                counts[json.loads(body)["status"]] += 1
        return dict(counts)

    async def _poll(self, seconds: float) -> None:
        for message in await asyncio.to_thread(self._consumer.consume, 500, seconds):
            assert message.error() is None
            body = message.value() or b""
            result = json.loads(body)
            if result["status"] == "batch_finished":
                self.summaries[result["request_id"]].append(body)
            else:
                self.outcomes[result["request_id"]].add(body)


@asynccontextmanager
async def librdkafka_client(pipeline: PipelineProcess) -> AsyncIterator[LibrdkafkaClient]:
    consumer = LibrdkafkaClient(pipeline.bootstrap)
    try:
        yield consumer
    finally:
        consumer.close()


def nonzero_counts(counts: dict[str, int]) -> dict[str, int]:
    return {name: number for name, number in counts.items() if number}


async def test_batch_of_mixed_outcomes_ends_with_one_summary(pipeline: PipelineProcess) -> None:
    urls = [
        page(video_id("kilobytes", param=20, serial=1)),
        page(video_id("deleted", serial=2)),
        page(video_id(serial=3), user_name("page.503", times=1)),
        "https://www.tiktok.com/not/a/video",
        7,
    ]
    async with librdkafka_client(pipeline) as consumer:
        consumer.publish(id="mixed", urls=urls, attributes={"list": "a"})
        summary = await consumer.summary("mixed")
        assert nonzero_counts(summary["counts"]) == {"completed": 2, "failed": 1, "rejected": 2}
        assert consumer.member_counts("mixed") == nonzero_counts(summary["counts"])
        members = [json.loads(min(consumer.outcomes[f"mixed/{index}"])) for index in range(5)]
    assert summary["batch_size"] == 5
    assert summary["attributes"] == {"list": "a"}
    assert summary["finished_at"] == max(each["finished_at"] for each in members)
    assert {each["received_at"] for each in members} == {summary["received_at"]}
    assert {each["trace_id"] for each in members} == {summary["trace_id"]}


async def test_repeated_batch_of_one_url_gets_one_summary(
    pipeline: PipelineProcess,
) -> None:
    async with librdkafka_client(pipeline) as consumer:
        for _ in range(2):
            consumer.publish(id="single", urls=[page(video_id(serial=4))], action="info")
            summary = await consumer.summary("single")
            assert nonzero_counts(summary["counts"]) == {"completed": 1}
        assert len(consumer.summaries["single"]) == 1


async def test_cancelled_batch_gets_a_summary(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    urls = [page(video_id("page.429", serial=number)) for number in range(10, 13)]
    async with librdkafka_client(pipeline) as consumer:
        consumer.publish(id="unwanted", urls=[*urls, "nonsense"])
        for number in range(3):
            await client.wait_for_transition(f"unwanted/{number}", "retrying")
        await pipeline.publish_command(command="cancel", request_id="unwanted")
        summary = await consumer.summary("unwanted")
    assert nonzero_counts(summary["counts"]) == {"cancelled": 3, "rejected": 1}


async def test_listing_with_members_gets_an_outcome_and_a_summary(
    pipeline: PipelineProcess,
) -> None:
    async with librdkafka_client(pipeline) as consumer:
        url = "https://www.tiktok.com/@kitchen"
        consumer.publish(id="newest", url=url, action="info", options={"limit": 3})
        summary = await consumer.summary("newest")
        (own,) = map(json.loads, consumer.outcomes["newest"])
        assert (own["status"], own["members"]) == ("completed", 3)
        assert (
            consumer.member_counts("newest")
            == nonzero_counts(summary["counts"])
            == {"completed": 3}
        )


async def test_rejected_batch_gets_no_summary(pipeline: PipelineProcess) -> None:
    async with librdkafka_client(pipeline) as consumer:
        consumer.publish(id="refused", urls=["a", "b"], colour="red")
        await consumer.read(lambda: consumer.outcomes["refused"])
        consumer.publish(id="behind", urls=["a"])
        await consumer.summary("behind")
        assert "refused" not in consumer.summaries


@pytest.mark.alone
async def test_batch_gets_one_summary_when_workers_are_killed(tmp_path: Path) -> None:
    size, members = 300, 40
    async with PipelineProcess(tmp_path, **SESSION) as pipeline:
        workers = [await pipeline.start_worker("all") for _ in range(2)]
        async with librdkafka_client(pipeline) as consumer:
            urls = [page(video_id("kilobytes", param=10, serial=n)) for n in range(members)]
            nonsense = [f"https://127.0.0.1/{n}" for n in range(size - members)]
            consumer.publish(id="killed", urls=[*urls, *nonsense])
            for worker, seen in zip(workers, (20, 150), strict=True):
                await consumer.read(partial(consumer.has_outcomes, seen))
                worker.kill()
                await pipeline.start_worker("all")
            summary = await consumer.summary("killed", 150)
            assert consumer.member_counts("killed") == nonzero_counts(summary["counts"])
            copies = len(consumer.summaries["killed"]) - 1
            print(f"\n{len(consumer.outcomes)} outcomes, {copies} copies of the summary")
    assert nonzero_counts(summary["counts"]) == {"completed": members, "rejected": size - members}
