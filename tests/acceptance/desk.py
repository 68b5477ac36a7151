"""What tests do as clients of a house: ask, wait for the answer, look at topics and metrics."""

import asyncio
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from prometheus_client.parser import text_string_to_metric_families

from streams.topics import AUDIT, Topic
from tests.house import House, Process

Message = dict[str, Any]


def page(video: str, user: str = "_") -> str:
    """Return the address of a video's page."""
    return f"https://www.tiktok.com/@{user}/video/{video}"


def record_id(topic: Topic, written: Any) -> str:
    """Return the id that a record has by where and when it was written (a `RecordMetadata`)."""
    return f"{topic.name}-{written.partition}-{written.offset}-{written.timestamp}"


def planned_wait(step: Message) -> float:
    """Return the seconds that an audit record of recovery says the request has to wait.

    What a loaded machine adds to it is no matter of the decision.
    """
    due, at = (datetime.fromisoformat(text) for text in (step["detail"]["due"], step["at"]))
    return max(0.0, (due - at).total_seconds())


class Desk:
    """Asks a house and waits for what it says."""

    def __init__(self, house: House) -> None:
        self.house = house

    async def ask(self, url: str, *, seconds: float = 30, **fields: Any) -> Message:
        """Return the outcome of a request made now."""
        request_id = fields.setdefault("id", secrets.token_hex(6))
        await self.house.publish({"url": url, **fields})
        return await self.outcome(request_id, seconds)

    async def outcome(self, request_id: str, seconds: float = 30) -> Message:
        """Return the one outcome of a request; copies of it must be the same."""
        await self.wait_for([request_id], seconds)
        first, *copies = (await self.house.read_results(0))[request_id]
        assert all(_content(copy) == _content(first) for copy in copies), [first, *copies]
        return first

    async def summary(self, batch_id: str, seconds: float = 30) -> Message:
        """Return the one summary of a batch; copies of it must be the same."""
        deadline = time.monotonic() + seconds
        while not self.house.summaries[batch_id]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no summary of {batch_id} after {seconds} s")
            await self.house.read_results(0.2)
        first, *copies = self.house.summaries[batch_id]
        assert all(_content(copy) == _content(first) for copy in copies), [first, *copies]
        return first

    async def wait_for(self, request_ids: Sequence[str], seconds: float = 30) -> None:
        """Return when all of these have an outcome."""
        deadline = time.monotonic() + seconds
        seen = await self.house.read_results(0)
        while missing := [each for each in request_ids if each not in seen]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no outcome of {missing[:20]} after {seconds} s")
            seen = await self.house.read_results(0.2)

    async def records(self, *topics: Topic) -> list[ConsumerRecord]:
        """Return all that topics hold now, each partition in its order."""
        names = [topic.kafka_name() for topic in topics]
        consumer = AIOKafkaConsumer(
            *names, bootstrap_servers=self.house.bootstrap, auto_offset_reset="earliest"
        )
        # Not `async with`: cancelled in its start, that would leave the consumer open.
        try:
            await consumer.start()
            ends = await consumer.end_offsets(consumer.assignment())
            found: list[ConsumerRecord] = []
            while any([await consumer.position(place) < end for place, end in ends.items()]):
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    found += batch
        finally:
            await consumer.stop()
        return found

    async def messages(self, topic: Topic, **fields: Any) -> list[Message]:
        """Return the messages of a topic whose fields are as given."""
        found = [json.loads(record.value) for record in await self.records(topic)]
        return [each for each in found if fields.items() <= each.items()]

    async def transition(self, request_id: str, name: str, seconds: float = 20) -> Message:
        """Return the first audit record of a request with this transition, once it is there."""
        async with asyncio.timeout(seconds):
            while True:
                found = await self.messages(AUDIT, request_id=request_id, transition=name)
                if found:
                    return found[0]
                await asyncio.sleep(0.1)

    async def problem(self, worker: Process, part: str, seconds: float = 30) -> str:
        """Return what a worker says is wrong with a part of it, once it says so."""
        async with asyncio.timeout(seconds):
            while True:
                health = json.loads(await get(f"{worker.ready['http']}/health/ready"))
                if part in health["problems"]:
                    return str(health["problems"][part])
                await self.house.read_results(0.2)

    def counts(self, video: str) -> dict[str, int]:
        """Return how often the stand-in was asked for a video, by kind of request."""
        found: dict[str, int] = self.house.standin.counters()["videos"].get(video, {})
        return found

    def asked_at(self, video: str, kind: str = "page") -> list[float]:
        """Return when the stand-in was asked for a video, epoch seconds."""
        events = self.house.standin.counters()["events"]
        return [e["at"] for e in events if e["video_id"] == video and e["kind"] == kind]

    async def metrics(self, worker: int = -1) -> dict[str, float]:
        """Return the metrics of a worker, each name with the sum over its labels."""
        return await read_metrics(self.house.workers[worker].ready["http"])


async def read_metrics(http: str) -> dict[str, float]:
    """Return the metrics of a process, each name with the sum over its labels."""
    totals: dict[str, float] = {}
    for family in text_string_to_metric_families(await get(f"{http}/metrics")):
        for sample in family.samples:
            totals[sample.name] = totals.get(sample.name, 0) + sample.value
    return totals


async def get(url: str) -> str:
    """Return the body behind a loopback URL."""

    def fetch() -> str:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                text: bytes = answer.read()
        except urllib.error.HTTPError as answered:
            with answered:
                text = answered.read()
        return text.decode()

    return await asyncio.to_thread(fetch)


def _content(result: Message) -> Message:
    return {name: value for name, value in result.items() if name != "_seen_at"}
