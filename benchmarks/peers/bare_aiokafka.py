"""The job on aiokafka alone: polls, gathered acknowledgements, a commit per second."""

import asyncio
import sys
import time

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.peers.job import BATCH, COMMIT_SECONDS, HEADERS, REQUESTS, process


async def run(bootstrap: str, prefix: str) -> None:
    """Process requests until the process is stopped."""
    state: dict[str, bytes] = {}
    consumer = AIOKafkaConsumer(
        f"{prefix}.{REQUESTS}",
        bootstrap_servers=bootstrap,
        group_id=prefix,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await consumer.start()
    await producer.start()
    committed_at = time.monotonic()
    while True:
        polled = await consumer.getmany(timeout_ms=1_000, max_records=BATCH)
        futures = [
            await producer.send(
                f"{prefix}.{output.topic}", output.value, output.key.encode(), headers=HEADERS
            )
            for records in polled.values()
            for record in records
            for output in process(record.value, state)
        ]
        await asyncio.gather(*futures)
        if time.monotonic() - committed_at > COMMIT_SECONDS:
            committed_at = time.monotonic()
            await consumer.commit()


if __name__ == "__main__":
    uvloop.run(run(*sys.argv[1:]))
