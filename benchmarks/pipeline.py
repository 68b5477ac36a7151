"""Throughput and latency from request to result on the cached path (`info`, one process).

The reference is a raw aiokafka loop with as many hops (consume, produce) on the same broker.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

VIDEOS = 50
HOPS = 3
"""Hops of an `info` request: validation, extraction, ledger."""

LOADS: tuple[tuple[float | None, int], ...] = ((50, 500), (200, 2_000), (500, 5_000), (None, 8_000))
"""Requests per second offered (None: all at once) and how many."""

SETTLE_SECONDS = 3

Body = Callable[[int], bytes]


@dataclass(frozen=True)
class Figures:
    """Requests per second of a run, and milliseconds from request to result."""

    rate: float
    p50: float
    p99: float

    def __str__(self) -> str:
        return f"{self.rate:8.0f}/s   p50 {self.p50:8.1f} ms   p99 {self.p99:8.1f} ms"


@dataclass(frozen=True)
class LoadTest:
    """A load test: source and target topic, and the bodies to publish."""

    bootstrap: str
    source: str
    target: str
    body: Body

    async def run(self, rate: float | None, count: int) -> Figures:
        """Publish requests (at a rate, or as fast as possible) and measure their latencies."""
        async with AsyncExitStack() as stack:
            consumer = AIOKafkaConsumer(self.target, bootstrap_servers=self.bootstrap)
            await consumer.start()
            stack.push_async_callback(consumer.stop)
            for place, end in (await consumer.end_offsets(consumer.assignment())).items():
                consumer.seek(place, end)
            producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, linger_ms=1, acks="all")
            await producer.start()
            stack.push_async_callback(producer.stop)
            sent: list[float] = []
            publishing = asyncio.create_task(self._publish(producer, rate, count, sent))
            done = await _collect(consumer, count)
            await publishing
        latencies = sorted((done[number] - sent[number]) * 1e3 for number in range(count))
        total = max(done.values()) - sent[0]
        return Figures(
            count / total, statistics.median(latencies), latencies[int(len(latencies) * 0.99)]
        )

    async def _publish(
        self, producer: Any, rate: float | None, count: int, sent: list[float]
    ) -> None:
        start = time.perf_counter()
        for number in range(count):
            if rate:
                await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
            sent.append(time.perf_counter())
            await producer.send(self.source, self.body(number))
        await producer.flush()


async def _collect(consumer: Any, count: int) -> dict[int, float]:
    done: dict[int, float] = {}
    async with asyncio.timeout(300):
        while len(done) < count:
            batches = await consumer.getmany(timeout_ms=1_000)
            now = time.perf_counter()
            for records in batches.values():
                for record in records:
                    done.setdefault(_number(record.value), now)
    return done


def _number(value: bytes) -> int:
    message = orjson.loads(value)
    return int(str(message.get("request_id", message.get("id"))).rpartition("-")[2])


async def raw_hops(bootstrap: str, loads: tuple[tuple[float | None, int], ...]) -> list[Figures]:
    """Measure HOPS consume-produce loops of plain aiokafka in this process."""
    topics = [f"raw.{hop}" for hop in range(HOPS + 1)]
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 4, 1) for topic in topics])
    await admin.close()
    tasks = [
        asyncio.create_task(_hop(bootstrap, topics[hop], topics[hop + 1])) for hop in range(HOPS)
    ]
    await asyncio.sleep(SETTLE_SECONDS)
    load_test = LoadTest(bootstrap, topics[0], topics[-1], _raw_body)
    try:
        return [await load_test.run(rate, count) for rate, count in loads]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _hop(bootstrap: str, source: str, target: str) -> None:
    consumer = AIOKafkaConsumer(source, bootstrap_servers=bootstrap, group_id=f"raw-{source}")
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=1, acks="all")
    await producer.start()
    await consumer.start()
    try:
        async for record in consumer:
            await producer.send(target, record.value, key=record.key)
    finally:
        await consumer.stop()
        await producer.stop()


def _raw_body(number: int) -> bytes:
    return orjson.dumps({"id": f"raw-{number}", "padding": "x" * 300})


def request_body(name: str) -> Body:
    run = time.time_ns()

    def body(number: int) -> bytes:
        video = video_id(serial=number % VIDEOS + 1)
        url = f"https://www.tiktok.com/@u/video/{video}"
        return orjson.dumps({"id": f"{name}.{run}-{number}", "url": url, "action": "info"})

    return body


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with PipelineProcess(Path(directory)) as pipeline:
            worker = await pipeline.start_worker("all")
            process = psutil.Process(worker.pid)
            names = ("clipmill.requests.v1", "clipmill.results.v1")
            warm = LoadTest(pipeline.bootstrap, *names, request_body("warm"))
            await warm.run(None, VIDEOS * 20)
            best = 0.0
            for rate, count in LOADS:
                before = sum(process.cpu_times()[:2])
                load_test = LoadTest(pipeline.bootstrap, *names, request_body(f"r{rate}"))
                figures = await load_test.run(rate, count)
                cpu = (sum(process.cpu_times()[:2]) - before) / count * 1e3
                best = max(best, figures.rate)
                print(f"clipmill, offered {rate or 'all':>5}  {figures}   {cpu:.2f} ms CPU each")
            raw = await raw_hops(pipeline.bootstrap, ((500, 5_000), (None, 30_000)))
            print(f"aiokafka, offered   500  {raw[0]}")
            print(f"aiokafka, offered   all  {raw[1]}")
            print(f"ratio of the best rates  {best / raw[1].rate:8.3f}")


if __name__ == "__main__":
    asyncio.run(main())
