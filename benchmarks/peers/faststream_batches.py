"""The job on FastStream over aiokafka: a handler of polled batches, gathered acknowledgements.

Records are published one by one without waiting: `publish_batch` fails above the producer's batch
size of 16 KiB, and has no partition by key.
"""

import asyncio
import sys
import time
from typing import Any

import uvloop
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

from benchmarks.peers.job import BATCH, COMMIT_SECONDS, HEADERS, REQUESTS, process


async def _undecoded(message: KafkaMessage) -> Any:
    """Return the values of a batch as they are: `process` decodes them."""
    return message.body


async def run(bootstrap: str, prefix: str) -> None:
    """Process requests until the process is stopped."""
    state: dict[str, bytes] = {}
    headers = {name: value.decode() for name, value in HEADERS}
    broker = KafkaBroker(bootstrap, acks="all", logger=None)
    committed_at = time.monotonic()

    @broker.subscriber(
        f"{prefix}.{REQUESTS}",
        batch=True,
        max_records=BATCH,
        group_id=prefix,
        auto_offset_reset="earliest",
        ack_policy=AckPolicy.MANUAL,
        decoder=_undecoded,
    )
    async def handle(bodies: list[bytes], message: KafkaMessage) -> None:
        nonlocal committed_at
        futures = [
            await broker.publish(
                output.value,
                f"{prefix}.{output.topic}",
                key=output.key.encode(),
                headers=headers,
                no_confirm=True,
            )
            for body in bodies
            for output in process(body, state)
        ]
        await asyncio.gather(*futures)
        if time.monotonic() - committed_at > COMMIT_SECONDS:
            committed_at = time.monotonic()
            await message.ack()

    await FastStream(broker, logger=None).run()


if __name__ == "__main__":
    uvloop.run(run(*sys.argv[1:]))
