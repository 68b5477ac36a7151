"""A batch has an end, as a client of another library (librdkafka) sees it."""

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
from tests.acceptance.desk import Desk, Message, page
from tests.house import House
from tests.standin import user_name, video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

SESSION = {"CLIPMILL_KAFKA__SESSION_TIMEOUT_SECONDS": "6"}
QUIET_SECONDS = 2.0
"""After the last expected record nothing else may come for this long."""


class Client:
    """A client made of librdkafka: publishes batches and sorts what comes of them."""

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
        """Read results until there are enough."""
        deadline = time.monotonic() + seconds
        while not enough():
            assert time.monotonic() < deadline, (sorted(self.outcomes), dict(self.summaries))
            await self._poll(0.2)

    async def summary(self, batch_id: str, seconds: float = 60) -> Message:
        """Return the summary of a batch; nothing else may come under its name."""
        await self.read(lambda: self.summaries[batch_id], seconds)
        quiet = time.monotonic() + QUIET_SECONDS
        while time.monotonic() < quiet:
            await self._poll(0.2)
        assert len(set(self.summaries[batch_id])) == 1
        found: Message = json.loads(self.summaries[batch_id][0])
        return found

    def has_outcomes(self, number: int) -> bool:
        return len(self.outcomes) >= number

    def counted(self, batch_id: str) -> dict[str, int]:
        """Return the outcomes of members by status; each has one."""
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
async def client_of(house: House) -> AsyncIterator[Client]:
    client = Client(house.bootstrap)
    try:
        yield client
    finally:
        client.close()


def nonzero(counts: dict[str, int]) -> dict[str, int]:
    return {name: number for name, number in counts.items() if number}


async def test_a_batch_of_mixed_outcomes_ends_with_one_summary(house: House) -> None:
    urls = [
        page(video_id("kilobytes", param=20, serial=1)),
        page(video_id("deleted", serial=2)),
        page(video_id(serial=3), user_name("page.503", times=1)),
        "https://www.tiktok.com/not/a/video",
        7,
    ]
    async with client_of(house) as client:
        client.publish(id="mixed", urls=urls, attributes={"list": "a"})
        summary = await client.summary("mixed")
        assert nonzero(summary["counts"]) == {"completed": 2, "failed": 1, "rejected": 2}
        assert client.counted("mixed") == nonzero(summary["counts"])
        members = [json.loads(min(client.outcomes[f"mixed/{index}"])) for index in range(5)]
    assert summary["batch_size"] == 5
    assert summary["attributes"] == {"list": "a"}
    assert summary["finished_at"] == max(each["finished_at"] for each in members)
    assert {each["received_at"] for each in members} == {summary["received_at"]}
    assert {each["trace_id"] for each in members} == {summary["trace_id"]}


async def test_a_batch_of_one_url_ends_too_and_asked_for_again_it_does_not_again(
    house: House,
) -> None:
    async with client_of(house) as client:
        for _ in range(2):
            client.publish(id="single", urls=[page(video_id(serial=4))], action="info")
            summary = await client.summary("single")
            assert nonzero(summary["counts"]) == {"completed": 1}
        assert len(client.summaries["single"]) == 1


async def test_a_batch_that_is_cancelled_ends(house: House, desk: Desk) -> None:
    urls = [page(video_id("page.429", serial=number)) for number in range(10, 13)]
    async with client_of(house) as client:
        client.publish(id="unwanted", urls=[*urls, "nonsense"])
        for number in range(3):
            await desk.transition(f"unwanted/{number}", "retrying")
        await house.command(command="cancel", request_id="unwanted")
        summary = await client.summary("unwanted")
    assert nonzero(summary["counts"]) == {"cancelled": 3, "rejected": 1}


async def test_the_members_of_a_listing_end_with_a_summary_beside_its_own_outcome(
    house: House,
) -> None:
    async with client_of(house) as client:
        url = "https://www.tiktok.com/@kitchen"
        client.publish(id="newest", url=url, action="info", options={"limit": 3})
        summary = await client.summary("newest")
        (own,) = map(json.loads, client.outcomes["newest"])
        assert (own["status"], own["members"]) == ("completed", 3)
        assert client.counted("newest") == nonzero(summary["counts"]) == {"completed": 3}


async def test_a_refused_batch_has_its_refusal_and_no_summary(house: House) -> None:
    async with client_of(house) as client:
        client.publish(id="refused", urls=["a", "b"], colour="red")
        await client.read(lambda: client.outcomes["refused"])
        client.publish(id="behind", urls=["a"])
        await client.summary("behind")
        assert "refused" not in client.summaries


async def test_a_batch_ends_once_when_workers_are_killed(tmp_path: Path) -> None:
    size, members = 300, 40
    async with House(tmp_path, **SESSION) as house:
        workers = [await house.start_worker("all") for _ in range(2)]
        async with client_of(house) as client:
            urls = [page(video_id("kilobytes", param=10, serial=n)) for n in range(members)]
            nonsense = [f"https://127.0.0.1/{n}" for n in range(size - members)]
            client.publish(id="killed", urls=[*urls, *nonsense])
            for worker, seen in zip(workers, (20, 150), strict=True):
                await client.read(partial(client.has_outcomes, seen))
                worker.kill()
                await house.start_worker("all")
            summary = await client.summary("killed", 150)
            assert client.counted("killed") == nonzero(summary["counts"])
            copies = len(client.summaries["killed"]) - 1
            print(f"\n{len(client.outcomes)} outcomes, {copies} copies of the summary")
    assert nonzero(summary["counts"]) == {"completed": members, "rejected": size - members}
