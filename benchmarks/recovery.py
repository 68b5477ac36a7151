"""Recovery of the ledger's table from Kafka: rows a second and memory; then starts with local rows.

The rows are those of `benchmarks.tables`, published to the changelog beforehand. A worker of the
ledger is started without local rows, with those of a clean stop, and with those that ``kill -9``
leaves. ``TABLE_ROWS`` sets the number of rows.
"""

import asyncio
import os
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil
from confluent_kafka import Producer

from agents.ledger.events import TABLE
from benchmarks.measuring import load_average
from benchmarks.tables import MEBIBYTE, PARTITIONS, request_key, row
from streams.topics import changelog_topic
from tests.pipeline_process import PipelineProcess, Process

ROWS = int(os.environ.get("TABLE_ROWS", "1_000_000"))

REMEMBER_SECONDS = 86_400.0

READY_SECONDS = 900.0
"""Limit of a start: 10,000,000 rows are restored in about 140 s."""

SAMPLE_SECONDS = 0.2

DELAY_BUCKETS = "clipmill_event_loop_delay_seconds_bucket{"


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with PipelineProcess(Path(directory)) as pipeline:
            seconds = await asyncio.to_thread(publish_rows, pipeline.bootstrap)
            print(f"{ROWS:,} rows published in {seconds:.0f} s")
            worker, seconds = await start(pipeline, "without local rows")
            print(f"{ROWS / seconds:,.0f} rows/s")
            await asyncio.to_thread(worker.terminate)
            worker, _ = await start(pipeline, "after a clean stop")
            worker.kill()
            worker, _ = await start(pipeline, "after kill -9")
            worker.kill()
    print(load_average())


def publish_rows(bootstrap: str) -> float:
    """Publish the rows to the changelog; return the duration in seconds."""
    topic = changelog_topic("ledger", TABLE).kafka_name()
    options = {"bootstrap.servers": bootstrap, "linger.ms": 50, "compression.type": "lz4"}
    producer = Producer(options)
    started, expires_at = time.perf_counter(), time.time() + REMEMBER_SECONDS
    for number in range(ROWS):
        value = row(number, expires_at)
        while True:
            try:
                producer.produce(topic, value, request_key(number), number % PARTITIONS)
            except BufferError:
                producer.poll(0.1)
            else:
                break
    producer.flush()
    return time.perf_counter() - started


async def start(pipeline: PipelineProcess, condition: str) -> tuple[Process, float]:
    """Start a worker of the ledger; print memory and timers, and return the seconds to ready."""
    started = time.perf_counter()
    worker = pipeline.spawn_worker("ledger")
    peak, process = 0, psutil.Process(worker.pid)
    ready = asyncio.create_task(worker.wait_ready(READY_SECONDS))
    while not ready.done():
        peak = max(peak, process.memory_info().rss)
        await asyncio.wait([ready], timeout=SAMPLE_SECONDS)
    await ready
    seconds = time.perf_counter() - started
    late = await asyncio.to_thread(late_timers, worker.ready["http"])
    print(
        f"{condition:19} ready after {seconds:6.1f} s, "
        f"RSS at most {peak / MEBIBYTE:.0f} MiB; timers of the event loop: {late}",
        flush=True,
    )
    return worker, seconds


def late_timers(url: str) -> str:
    """Return the number of timers by their delay in seconds, without the buckets that have none."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    counts: dict[str, float] = {}
    for line in lines:
        if line.startswith(DELAY_BUCKETS) and 'thread="main"' in line:
            labels, _, count = line.rpartition(" ")
            counts[labels.partition('le="')[2].partition('"')[0]] = float(count)
    delays = list(counts)
    before = dict(zip(delays, [0.0, *counts.values()], strict=False))
    found = {each: counts[each] - before[each] for each in delays}
    return ", ".join(f"<={each}: {count:.0f}" for each, count in found.items() if count)


if __name__ == "__main__":
    asyncio.run(main())
