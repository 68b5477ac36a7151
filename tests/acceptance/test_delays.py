"""Ten thousand delayed events: none is lost, none is early, few are late.

They are published directly to the delay topics; their target is the audit topic, where the ledger
ignores them.
"""

import asyncio
import random
import secrets
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaProducer

from agents.pipeline.events import DUE, TARGET
from schemas.audit import AuditRecord
from schemas.codec import encode
from streams.topics import AUDIT, DELAYS
from tests.acceptance.client import PipelineClient, page, read_metrics
from tests.pipeline_process import PipelineProcess, Process
from tests.standin import video_id

EVENTS = 10_000
LARGE_EVERY = 10
FIRST_DUE_SECONDS = 25.0
"""After the first event is published: by then all are published and held."""

SPREAD_SECONDS = 24.0
LATE_SECONDS = 1.0
MEGABYTES = 150
SLOWER_SECONDS = 0.1
SESSION = {"CLIPMILL_KAFKA__SESSION_TIMEOUT_SECONDS": "6"}


@dataclass(frozen=True)
class ReleasedEvent:
    """A released event: when it was due and when it was published to its target."""

    due: float
    at: float

    @property
    def late(self) -> float:
        return self.at - self.due


@pytest.mark.alone
async def test_delayed_events_are_released_on_time_when_a_worker_is_killed(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path, **SESSION) as pipeline:
        client = PipelineClient(pipeline)
        whole = await pipeline.start_worker("all")
        second = await pipeline.start_worker("delay")
        calm = await _latencies(client, 30, serial=0)
        before = _megabytes(whole)
        dues = await _publish_delayed(pipeline, random.Random(7))
        first_due = min(dues.values())
        held = await _wait_until_held([whole, second], first_due)
        await asyncio.sleep(first_due - time.time() - 1)
        second.kill()
        killed_at = time.time()
        third = pipeline.spawn_worker("delay")
        busy = await _latencies(client, 30, serial=100)
        during = _megabytes(whole)
        await third.wait_ready()
        rebalanced_at = time.time() + 1.0
        released, copies = await _released(client, dues)
        print(f"\n{held} held; {copies} copies; {during - before:.0f} MB more")
        print(f"information: {_spread(calm)} before, {_spread(busy)} during")
        owned = [each for each in released if not killed_at <= each.due <= rebalanced_at]
        print(f"late, all: {_spread([each.late for each in released])}")
        print(f"late, owned ({len(owned)}): {_spread([each.late for each in owned])}")
        assert len(released) == EVENTS
        assert min(each.late for each in released) >= -0.001, (
            "due times are exact to the millisecond"
        )
        assert _quantile([each.late for each in owned], 0.99) <= LATE_SECONDS
        assert during - before <= MEGABYTES
        assert statistics.median(busy) - statistics.median(calm) <= SLOWER_SECONDS


async def _publish_delayed(pipeline: PipelineProcess, rng: random.Random) -> dict[bytes, float]:
    """Publish the events; return the due time of each."""
    first = time.time() + FIRST_DUE_SECONDS
    # A topic with a shorter delay would not hold them until they are due.
    longest = FIRST_DUE_SECONDS + SPREAD_SECONDS
    topics = [topic.kafka_name() for topic, wait in DELAYS.items() if wait.seconds >= longest]
    dues: dict[bytes, float] = {}
    async with AIOKafkaProducer(bootstrap_servers=pipeline.bootstrap, acks="all") as producer:
        for number in range(EVENTS):
            name = b"event-%d" % number
            dues[name] = round(first + rng.uniform(0, SPREAD_SECONDS), 3)
            headers = [
                ("ce_id", name),
                ("ce_correlationid", name),
                ("ce_source", b"clipmill/recovery"),
                ("ce_type", b"clipmill.videos.validated"),
                ("ce_specversion", b"1.0"),
                ("traceparent", b"00-%s-b7ad6b7169203331-01" % secrets.token_hex(16).encode()),
                (DUE, f"{dues[name]:.3f}".encode()),
                (TARGET, AUDIT.name.encode()),
            ]
            value = _body(name, 16_000 if number % LARGE_EVERY == 0 else 1_500)
            await producer.send(topics[number % len(topics)], value, key=name, headers=headers)
        await producer.flush()
    assert time.time() < first, "the machine is too slow for this test"
    return dues


def _body(name: bytes, size: int) -> bytes:
    """Return an audit record that compresses like our events: names repeat, signatures do not."""
    part = '{"format_id": "bytevc1_720p", "url": "https://v16.tiktokcdn.com/%s", "width": 720},'
    record = AuditRecord(
        request_id=name.decode(),
        step="recovery",
        transition="parked",
        at=datetime.now(UTC),
        detail={"parts": "".join(part % secrets.token_urlsafe(60) for _ in range(size // 150))},
    )
    return encode(record)


async def _wait_until_held(workers: Sequence[Process], until: float) -> int:
    while True:
        metrics = [await read_metrics(worker.ready["http"]) for worker in workers]
        held = sum(int(each["clipmill_parked_events"]) for each in metrics)
        if held == EVENTS:
            return held
        assert time.time() < until, f"only {held} are held before the first is due"
        await asyncio.sleep(0.5)


async def _latencies(client: PipelineClient, count: int, serial: int) -> list[float]:
    found = []
    for number in range(count):
        started = time.monotonic()
        await client.request(page(video_id(serial=serial + number)), action="info")
        found.append(time.monotonic() - started)
        await asyncio.sleep(0.2)
    return found


async def _released(
    client: PipelineClient, dues: Mapping[bytes, float]
) -> tuple[list[ReleasedEvent], int]:
    """Return the first copy of each released event, and the number of further copies."""
    deadline = max(dues.values()) + 30
    while True:
        records = [each for each in await client.records(AUDIT) if each.key in dues]
        first: dict[bytes, float] = {}
        for record in records:
            first[record.key] = min(first.get(record.key, record.timestamp), record.timestamp)
        if len(first) == len(dues) or time.time() > deadline:
            released = [ReleasedEvent(dues[name], at / 1_000) for name, at in first.items()]
            return released, len(records) - len(first)
        await asyncio.sleep(1)


def _megabytes(worker: Process) -> float:
    return float(psutil.Process(worker.pid).memory_info().rss) / 2**20


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def _spread(values: Sequence[float]) -> str:
    p50, p99 = (1_000 * _quantile(values, share) for share in (0.5, 0.99))
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, worst {1_000 * max(values):.0f} ms"
