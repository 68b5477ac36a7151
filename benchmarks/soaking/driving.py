"""Publishes requests at a steady rate and reads their outcomes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.soaking.load import SoakRequest
from benchmarks.soaking.outcomes import Outcomes
from streams.topics import REQUESTS, RESULTS


@dataclass(frozen=True)
class Throughput:
    """Rates while the load lasted, without the wait for the last outcomes.

    Attributes:
        rate: requests per second that were asked for.
        seconds: duration of the load.
        published: number of requests; a batch is one.
        expected: number of their outcomes.
        received: number of outcomes.
    """

    rate: float
    seconds: float
    published: int
    expected: int
    received: int

    def __str__(self) -> str:
        published, expected, received = (
            f"{count / self.seconds:.1f}"
            for count in (self.published, self.expected, self.received)
        )
        return (
            f"{published} of {self.rate:.1f} requests/s published; {received} of {expected} "
            f"outcomes/s received, {self.expected - self.received} open at the end of the load"
        )


async def run_load(
    bootstrap: str, load: Iterator[SoakRequest], rate: float, seconds: float, tail_seconds: float
) -> tuple[Outcomes, Throughput]:
    """Publish requests for a time, and wait for the outcomes of all.

    Args:
        bootstrap: of the cluster.
        load: the requests.
        rate: requests per second.
        seconds: duration of the load.
        tail_seconds: timeout for the open requests at the end.
    """
    outcomes = Outcomes()
    async with _clients(bootstrap) as (producer, consumer):
        reading = asyncio.create_task(_read(consumer, outcomes))
        try:
            published = await _publish(producer, load, outcomes, rate=rate, seconds=seconds)
            expected, received = outcomes.requests.total(), outcomes.counts.total()
            await _wait_until_done(outcomes, tail_seconds)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    return outcomes, Throughput(rate, seconds, published, expected, received)


@asynccontextmanager
async def _clients(bootstrap: str) -> AsyncIterator[tuple[Any, Any]]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    consumer = AIOKafkaConsumer(RESULTS.kafka_name(), bootstrap_servers=bootstrap)
    async with producer, consumer:
        # Without a group the start position is only fetched by this call.
        for place in consumer.assignment():
            await consumer.position(place)
        yield producer, consumer


async def _publish(
    producer: Any, load: Iterator[SoakRequest], outcomes: Outcomes, *, rate: float, seconds: float
) -> int:
    """Return the number of published requests."""
    clock = asyncio.get_running_loop().time
    due, published = clock(), 0
    end = due + seconds
    while clock() < end:
        request = next(load)
        if outcomes.expect(request):
            # Not awaited: round trips would limit the rate. A lost request has no outcome.
            await producer.send(REQUESTS.kafka_name(), request.value)
            published += 1
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - clock()))
    return published


async def _read(consumer: Any, outcomes: Outcomes) -> None:
    async for record in consumer:
        outcomes.record(orjson.loads(record.value))


async def _wait_until_done(outcomes: Outcomes, seconds: float) -> None:
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    while outcomes.open and clock() < end:  # noqa: ASYNC110 - outcomes set no event
        await asyncio.sleep(0.1)
