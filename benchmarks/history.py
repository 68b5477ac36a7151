"""The history of requests: read from Kafka, and queried.

``HISTORY_RECORDS`` sets the number of audit records, five for each request.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import orjson
import psutil
from confluent_kafka import Producer

from benchmarks.measuring import load_average
from streams.history.follower import HistoryFollower
from streams.history.library import LibraryFilter, find_files, sum_files
from streams.history.rows import RequestFilter
from streams.history.store import HistoryStore
from streams.settings import KafkaSettings
from streams.settings.console import HistorySettings
from streams.topics import AUDIT, RESULTS, Topic
from tests.pipeline_process import PipelineProcess

RECORDS = int(os.environ.get("HISTORY_RECORDS", "500_000"))
TRANSITIONS = ("accepted", "extracted", "selected", "finished")
REQUESTS = RECORDS // (len(TRANSITIONS) + 1)
PAGE = 50

AT = datetime.now(UTC).isoformat()
"""Of all records."""

TITLE = "a clip of a length that titles usually have #fyp #clipmill"


def records(number: int) -> Iterator[tuple[Topic, dict[str, object]]]:
    """Yield the records of one request."""
    name, failed = f"request-{number}", number % 20 == 0
    url = f"https://www.tiktok.com/@someone/video/{number}"
    job = {
        "request_id": name,
        "url": url,
        "action": "download",
        "received_at": AT,
        "trace_id": f"{number:032x}",
        "padding": "x" * 600,
    }
    for transition in TRANSITIONS:
        yield (
            AUDIT,
            {
                "request_id": name,
                "step": "validation" if transition == "accepted" else "extraction",
                "transition": transition,
                "at": AT,
                "detail": {"video": f"tiktok:{number}"},
                "job": job if transition == "accepted" else None,
                "outcome": {"video": "x" * 4_000} if transition == "finished" else None,
            },
        )
    error = {
        "error_type": "content.private",
        "operation": "extraction",
        "user_message": "The video is not public.",
        "technical_details": {
            "reason": "statusCode 10222, the post is not public",
            "format": "web",
        },
    }
    author = {"name": f"someone-{number % 500}", "display_name": "Someone"}
    video = {"platform": "tiktok", "id": str(number), "title": TITLE, "author": author}
    uri = f"file:///data/files/tiktok/{number}/{number}.h264_1080p_1600000-0.mp4"
    yield (
        RESULTS,
        {
            "request_id": name,
            "status": "failed" if failed else "completed",
            "url": url,
            "received_at": AT,
            "finished_at": AT,
            "trace_id": f"{number:032x}",
            "error": error if failed else None,
            "video": None if failed else video,
            "files": [] if failed else [{"uri": uri, "bytes": 2_000_457, "mime_type": "video/mp4"}],
            "padding": "x" * 4_000,
        },
    )


def publish(bootstrap: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20})
    for number in range(REQUESTS):
        for topic, record in records(number):
            key = str(record["request_id"])
            producer.produce(topic.kafka_name(), orjson.dumps(record), key)
        if number % 1_000 == 0:
            producer.flush()
    producer.flush()


async def catch_up(kafka: KafkaSettings, store: HistoryStore) -> float:
    """Return the seconds until the store has all records."""
    started = time.perf_counter()
    async with HistoryFollower(kafka, store, HistorySettings(requests=10 * REQUESTS)) as follower:
        await follower.catch_up()
    return time.perf_counter() - started


def query_milliseconds(query: Callable[[], object]) -> float:
    times = []
    for _ in range(20):
        started = time.perf_counter()
        query()
        times.append((time.perf_counter() - started) * 1e3)
    return sorted(times)[len(times) // 2]


def print_queries(store: HistoryStore) -> None:
    filters = {
        "newest": RequestFilter(),
        "failed": RequestFilter(state="failed"),
        "error": RequestFilter(error="content.private"),
        "platform": RequestFilter(platform="tiktok"),
        "no match": RequestFilter(state="parked"),
    }
    queries: dict[str, Callable[[], object]] = {
        f"{PAGE} requests, {name}": partial(store.requests, wanted, PAGE)
        for name, wanted in filters.items()
    }
    queries |= {
        "one request": partial(store.request, "request-7"),
        "its transitions": partial(store.events, "request-7"),
        "counts by state": partial(store.counts, RequestFilter()),
    }
    libraries = {
        "newest": LibraryFilter(),
        "author": LibraryFilter(author="someone-7"),
        "title": LibraryFilter(title="CLIPMILL"),
        "no match": LibraryFilter(title="absent"),
    }
    for name, wanted in libraries.items():
        queries[f"library, {name}"] = partial(find_files, store, wanted, PAGE)
        queries[f"totals, {name}"] = partial(sum_files, store, wanted)
    for name, query in queries.items():
        print(f"  {name:22} {query_milliseconds(query):7.2f} ms")


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "history.db"
        async with PipelineProcess(Path(directory)) as pipeline:
            (await pipeline.start_worker("validation")).terminate()
            await asyncio.to_thread(publish, pipeline.bootstrap)
            kafka = KafkaSettings(bootstrap=pipeline.bootstrap)
            with HistoryStore(path) as store:
                first = await catch_up(kafka, store)
                again = await catch_up(kafka, store)
                print(f"{RECORDS:,} records of {REQUESTS:,} requests read in {first:.1f} s")
                print(f"  {RECORDS / first:,.0f} records/s; without new ones in {again:.2f} s")
                size, memory = path.stat().st_size, psutil.Process().memory_info().rss
                print(f"  {size / REQUESTS:.0f} B a request, RSS {memory / 2**20:.0f} MiB")
                print_queries(store)
    print(load_average())


if __name__ == "__main__":
    asyncio.run(main())
