"""A client of the pipeline: publishes requests, waits for results, reads topics and metrics."""

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
from tests.pipeline_process import PipelineProcess, Process

Message = dict[str, Any]


def page(video: str, user: str = "_") -> str:
    return f"https://www.tiktok.com/@{user}/video/{video}"


def record_id(topic: Topic, written: Any) -> str:
    """Return the default id of a record, made from its metadata (a `RecordMetadata`)."""
    return f"{topic.name}-{written.partition}-{written.offset}-{written.timestamp}"


def planned_wait(step: Message) -> float:
    """Return the backoff in seconds of an audit record of recovery.

    The delay that a loaded machine adds is no component of the decision.
    """
    due, at = (datetime.fromisoformat(text) for text in (step["detail"]["due"], step["at"]))
    return max(0.0, (due - at).total_seconds())


class PipelineClient:
    """Publishes requests to a pipeline and waits for their results."""

    def __init__(self, pipeline: PipelineProcess) -> None:
        self.pipeline = pipeline

    async def request(self, url: str, *, seconds: float = 30, **fields: Any) -> Message:
        """Publish a request and return its outcome."""
        request_id = fields.setdefault("id", secrets.token_hex(6))
        await self.pipeline.publish({"url": url, **fields})
        return await self.outcome(request_id, seconds)

    async def outcome(self, request_id: str, seconds: float = 30) -> Message:
        """Return the one outcome of a request; its duplicates must be identical."""
        await self.wait_for([request_id], seconds)
        first, *copies = (await self.pipeline.read_results(0))[request_id]
        assert all(_content(copy) == _content(first) for copy in copies), [first, *copies]
        return first

    async def summary(self, batch_id: str, seconds: float = 30) -> Message:
        """Return the one summary of a batch; its duplicates must be identical."""
        deadline = time.monotonic() + seconds
        while not self.pipeline.summaries[batch_id]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no summary of {batch_id} after {seconds} s")
            await self.pipeline.read_results(0.2)
        first, *copies = self.pipeline.summaries[batch_id]
        assert all(_content(copy) == _content(first) for copy in copies), [first, *copies]
        return first

    async def wait_for(self, request_ids: Sequence[str], seconds: float = 30) -> None:
        """Wait until all of these requests have an outcome."""
        deadline = time.monotonic() + seconds
        seen = await self.pipeline.read_results(0)
        while missing := [each for each in request_ids if each not in seen]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no outcome of {missing[:20]} after {seconds} s")
            seen = await self.pipeline.read_results(0.2)

    async def records(self, *topics: Topic) -> list[ConsumerRecord]:
        """Return all records of topics up to their end, each partition in order."""
        names = [topic.kafka_name() for topic in topics]
        consumer = AIOKafkaConsumer(
            *names,
            bootstrap_servers=self.pipeline.bootstrap,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
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
        """Return the messages of a topic that have these fields."""
        found = [json.loads(record.value) for record in await self.records(topic)]
        return [each for each in found if fields.items() <= each.items()]

    async def wait_for_transition(self, request_id: str, name: str, seconds: float = 20) -> Message:
        """Wait for the first audit record of a request with this transition."""
        async with asyncio.timeout(seconds):
            while True:
                found = await self.messages(AUDIT, request_id=request_id, transition=name)
                if found:
                    return found[0]
                await asyncio.sleep(0.1)

    async def wait_for_problem(self, worker: Process, component: str, seconds: float = 30) -> str:
        """Wait until a worker's health names a problem of a component; return its text."""
        async with asyncio.timeout(seconds):
            while True:
                health = json.loads(await get(f"{worker.ready['http']}/health/ready"))
                if component in health["problems"]:
                    return str(health["problems"][component])
                await self.pipeline.read_results(0.2)

    def request_counts(self, video: str) -> dict[str, int]:
        """Return the stand-in's request counts of a video by kind of request."""
        found: dict[str, int] = self.pipeline.standin.counters()["videos"].get(video, {})
        return found

    def request_times(self, video: str, kind: str = "page") -> list[float]:
        """Return when the stand-in received requests for a video, in epoch seconds."""
        events = self.pipeline.standin.counters()["events"]
        return [e["at"] for e in events if e["video_id"] == video and e["kind"] == kind]

    async def metrics(self, worker: int = -1) -> dict[str, float]:
        """Return the metrics of a worker by name, summed over their labels."""
        return await read_metrics(self.pipeline.workers[worker].ready["http"])


async def read_metrics(http: str) -> dict[str, float]:
    """Return the metrics of a process by name, summed over their labels."""
    totals: dict[str, float] = {}
    for family in text_string_to_metric_families(await get(f"{http}/metrics")):
        for sample in family.samples:
            totals[sample.name] = totals.get(sample.name, 0) + sample.value
    return totals


async def get(url: str) -> str:
    def fetch() -> str:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                text: bytes = response.read()
        except urllib.error.HTTPError as error:
            with error:
                text = error.read()
        return text.decode()

    return await asyncio.to_thread(fetch)


def _content(result: Message) -> Message:
    return {name: value for name, value in result.items() if name != "_seen_at"}
