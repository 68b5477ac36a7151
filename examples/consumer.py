"""Processes all results in a consumer group with aiokafka, and prints one line for each.

    python consumer.py HOST:PORT [--group NAME] [--count N]

Stops after N results, else with Ctrl-C. A second process with the same group takes over half of the
partitions; a restarted one continues after the last commit. Needs `aiokafka` and `cramjam`.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import count

from aiokafka import AIOKafkaConsumer

RESULTS = "clipmill.results.v1"


async def consume(bootstrap: str, group: str, limit: int | None) -> None:
    """Print results until the limit; commit each after it is processed (at-least-once)."""
    consumer = AIOKafkaConsumer(
        RESULTS,
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",  # a new group begins with the oldest result
        enable_auto_commit=False,
    )
    await consumer.start()
    seen: set[str] = set()  # a service keeps them in its database, with what it stores
    try:
        for _ in count() if limit is None else range(limit):
            record = await consumer.getone()
            result = json.loads(record.value)
            if result["request_id"] not in seen:  # after a crash of a worker, copies are possible
                seen.add(result["request_id"])
                process(result)
            await consumer.commit()
    finally:
        await consumer.stop()


def process(result: dict[str, object]) -> None:
    """Print a result. The end of a batch is a record too: ``batch_finished``."""
    sys.stdout.write(f"{json.dumps(result)}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Consume until the limit, or until Ctrl-C."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap")
    parser.add_argument("--group", default="my-application")
    parser.add_argument("--count", type=int)
    given = parser.parse_args(arguments)
    with suppress(KeyboardInterrupt):
        asyncio.run(consume(given.bootstrap, given.group, given.count))


if __name__ == "__main__":
    main()
