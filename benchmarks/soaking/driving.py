"""Publishes requests at a steady rate and reads their outcomes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.soaking.load import SoakRequest
from benchmarks.soaking.outcomes import Outcomes
from streams.topics import REQUESTS, RESULTS

OPEN_MAX = 1_000
"""Requests without an outcome; at this number the load skips publishing."""


async def run_load(
    bootstrap: str, load: Iterator[SoakRequest], rate: float, seconds: float, tail_seconds: float
) -> Outcomes:
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
            await _publish(producer, load, outcomes, rate=rate, seconds=seconds)
            await _wait_until_done(outcomes, tail_seconds)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    return outcomes


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
) -> None:
    clock = asyncio.get_running_loop().time
    due = clock()
    end = due + seconds
    while due < end:
        await asyncio.sleep(max(0.0, due - clock()))
        due += 1 / rate
        if len(outcomes.open) < OPEN_MAX:
            request = next(load)
            outcomes.expect(request)
            await producer.send_and_wait(REQUESTS.kafka_name(), request.value)


async def _read(consumer: Any, outcomes: Outcomes) -> None:
    async for record in consumer:
        outcomes.record(orjson.loads(record.value))


async def _wait_until_done(outcomes: Outcomes, seconds: float) -> None:
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    while outcomes.open and clock() < end:  # noqa: ASYNC110 - outcomes set no event
        await asyncio.sleep(0.1)
