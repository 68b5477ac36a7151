"""Publishes requests with aiokafka, and prints their ids.

    python producer.py HOST:PORT [--action download|info] [--codec gzip|snappy|lz4|zstd] URL…

Needs `aiokafka`, and `cramjam` for every codec but gzip.
"""

import argparse
import asyncio
import json
import sys
import uuid
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer

REQUESTS = "clipmill.requests.v1"


async def publish(bootstrap: str, bodies: Sequence[bytes], codec: str | None) -> None:
    """Publish requests; return when all replicas have them."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        enable_idempotence=True,  # implies acks=all; retries make no copies
        compression_type=codec,
    )
    await producer.start()
    try:
        # All are sent before the first acknowledgement is awaited: they share batches.
        pending = [await producer.send(REQUESTS, body) for body in bodies]
        await asyncio.gather(*pending)
    finally:
        await producer.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    """Publish a request for each URL."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap")
    parser.add_argument("urls", nargs="+")
    parser.add_argument("--action", default="download")
    parser.add_argument("--codec")
    given = parser.parse_args(arguments)

    # An id of the client's own finds the result, and makes it safe to publish a request again.
    requests = [{"id": uuid.uuid4().hex, "url": url, "action": given.action} for url in given.urls]
    bodies = [json.dumps(request).encode() for request in requests]
    asyncio.run(publish(given.bootstrap, bodies, given.codec))
    for request in requests:
        sys.stdout.write(f"{request['id']}\n")


if __name__ == "__main__":
    main()
