"""Makes requests at a steady rate and reads their outcomes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.soaking.load import Asked
from benchmarks.soaking.outcomes import Outcomes
from streams.topics import REQUESTS, RESULTS

OPEN_MAX = 1_000
"""Requests without an outcome; with so many the next one waits."""


async def drive(
    bootstrap: str, load: Iterator[Asked], rate: float, seconds: float, tail_seconds: float
) -> Outcomes:
    """Make requests for a time, and wait for the outcomes of all.

    Args:
        bootstrap: of the cluster.
        load: what to ask for.
        rate: requests a second.
        seconds: how long to ask.
        tail_seconds: how long to wait for what is open at the end.
    """
    outcomes = Outcomes()
    async with _clients(bootstrap) as (producer, consumer):
        reading = asyncio.create_task(_read(consumer, outcomes))
        try:
            await _ask(producer, load, outcomes, rate=rate, seconds=seconds)
            await _until_all_are_done(outcomes, tail_seconds)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    return outcomes


@asynccontextmanager
async def _clients(bootstrap: str) -> AsyncIterator[tuple[Any, Any]]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    consumer = AIOKafkaConsumer(RESULTS.kafka_name(), bootstrap_servers=bootstrap)
    async with producer, consumer:
        # Without a group the place to begin at is only known after this.
        for place in consumer.assignment():
            await consumer.position(place)
        yield producer, consumer


async def _ask(
    producer: Any, load: Iterator[Asked], outcomes: Outcomes, *, rate: float, seconds: float
) -> None:
    clock = asyncio.get_running_loop().time
    due = clock()
    end = due + seconds
    while due < end:
        await asyncio.sleep(max(0.0, due - clock()))
        due += 1 / rate
        if len(outcomes.open) < OPEN_MAX:
            asked = next(load)
            outcomes.expect(asked)
            await producer.send_and_wait(REQUESTS.kafka_name(), asked.value)


async def _read(consumer: Any, outcomes: Outcomes) -> None:
    async for record in consumer:
        outcomes.take(orjson.loads(record.value))


async def _until_all_are_done(outcomes: Outcomes, seconds: float) -> None:
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    while outcomes.open and clock() < end:  # noqa: ASYNC110 - outcomes set no event
        await asyncio.sleep(0.1)
