"""Ten thousand events wait in the delay topics: none is lost, none early, few are late.

They are written straight to the delay topics and go to a topic that no stage reads.
"""

import asyncio
import random
import secrets
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaProducer

from agents.pipeline.events import DUE, TARGET
from streams.topics import DELAYS, PROGRESS
from tests.acceptance.desk import Desk, page, read_metrics
from tests.house import House, Process
from tests.standin import video_id

EVENTS = 10_000
LARGE_EVERY = 10
FIRST_DUE_SECONDS = 25.0
"""After the first event is written: by then all are written and held."""

SPREAD_SECONDS = 24.0
LATE_SECONDS = 1.0
MEGABYTES = 150
SLOWER_SECONDS = 0.1
SESSION = {"CLIPMILL_KAFKA__SESSION_TIMEOUT_SECONDS": "6"}


@dataclass(frozen=True)
class Left:
    """An event that left: when it was due and when it was written to its topic."""

    due: float
    at: float

    @property
    def late(self) -> float:
        return self.at - self.due


@pytest.mark.alone
async def test_ten_thousand_events_wait_and_one_of_two_workers_is_killed(tmp_path: Path) -> None:
    async with House(tmp_path, **SESSION) as house:
        desk = Desk(house)
        whole = await house.start_worker("all")
        second = await house.start_worker("delay")
        calm = await _latencies(desk, 30, serial=0)
        before = _megabytes(whole)
        dues = await _write(house, random.Random(7))
        first_due = min(dues.values())
        held = await _until_held([whole, second], first_due)
        await asyncio.sleep(first_due - time.time() - 1)
        second.kill()
        killed_at = time.time()
        third = house.spawn_worker("delay")
        busy = await _latencies(desk, 30, serial=100)
        during = _megabytes(whole)
        await third.wait_ready()
        owned_at = time.time() + 1.0
        left, copies = await _left(desk, dues)
        print(f"\n{held} held; {copies} copies; {during - before:.0f} MB more")
        print(f"information: {_spread(calm)} before, {_spread(busy)} during")
        owned = [each for each in left if not killed_at <= each.due <= owned_at]
        print(f"late, all: {_spread([each.late for each in left])}")
        print(f"late, owned ({len(owned)}): {_spread([each.late for each in owned])}")
        assert len(left) == EVENTS
        assert min(each.late for each in left) >= -0.001, "due times are exact to the millisecond"
        assert _quantile([each.late for each in owned], 0.99) <= LATE_SECONDS
        assert during - before <= MEGABYTES
        assert statistics.median(busy) - statistics.median(calm) <= SLOWER_SECONDS


async def _write(house: House, chance: random.Random) -> dict[bytes, float]:
    """Write the events; return when each is due."""
    first = time.time() + FIRST_DUE_SECONDS
    # A shorter topic would not hold them until they are due.
    longest = FIRST_DUE_SECONDS + SPREAD_SECONDS
    topics = [topic.kafka_name() for topic, wait in DELAYS.items() if wait.seconds >= longest]
    dues: dict[bytes, float] = {}
    async with AIOKafkaProducer(bootstrap_servers=house.bootstrap, acks="all") as producer:
        for number in range(EVENTS):
            name = b"event-%d" % number
            dues[name] = round(first + chance.uniform(0, SPREAD_SECONDS), 3)
            headers = [
                ("ce_id", name),
                ("ce_correlationid", name),
                ("ce_source", b"clipmill/recovery"),
                ("ce_type", b"clipmill.videos.validated"),
                ("ce_specversion", b"1.0"),
                ("traceparent", b"00-%s-b7ad6b7169203331-01" % secrets.token_hex(16).encode()),
                (DUE, f"{dues[name]:.3f}".encode()),
                (TARGET, PROGRESS.name.encode()),
            ]
            value = _body(16_000 if number % LARGE_EVERY == 0 else 1_500)
            await producer.send(topics[number % len(topics)], value, key=name, headers=headers)
        await producer.flush()
    assert time.time() < first, "the machine is too slow for this test"
    return dues


def _body(size: int) -> bytes:
    """Return bytes that shrink like our events: names repeat, signatures do not."""
    part = b'{"format_id": "bytevc1_720p", "url": "https://v16.tiktokcdn.com/%s", "width": 720},'
    parts = (part % secrets.token_urlsafe(60).encode() for _ in range(size // 150))
    return b"[" + b"".join(parts) + b"{}]"


async def _until_held(workers: Sequence[Process], until: float) -> int:
    while True:
        metrics = [await read_metrics(worker.ready["http"]) for worker in workers]
        held = sum(int(each["clipmill_parked_events"]) for each in metrics)
        if held == EVENTS:
            return held
        assert time.time() < until, f"only {held} are held before the first is due"
        await asyncio.sleep(0.5)


async def _latencies(desk: Desk, count: int, serial: int) -> list[float]:
    found = []
    for number in range(count):
        started = time.monotonic()
        await desk.ask(page(video_id(serial=serial + number)), action="info")
        found.append(time.monotonic() - started)
        await asyncio.sleep(0.2)
    return found


async def _left(desk: Desk, dues: Mapping[bytes, float]) -> tuple[list[Left], int]:
    """Return the first copy of each event that left, and how many copies there are more."""
    deadline = max(dues.values()) + 30
    while True:
        records = [each for each in await desk.records(PROGRESS) if each.key in dues]
        first: dict[bytes, float] = {}
        for record in records:
            first[record.key] = min(first.get(record.key, record.timestamp), record.timestamp)
        if len(first) == len(dues) or time.time() > deadline:
            left = [Left(dues[name], at / 1_000) for name, at in first.items()]
            return left, len(records) - len(first)
        await asyncio.sleep(1)


def _megabytes(worker: Process) -> float:
    return float(psutil.Process(worker.pid).memory_info().rss) / 2**20


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def _spread(values: Sequence[float]) -> str:
    p50, p99 = (1_000 * _quantile(values, share) for share in (0.5, 0.99))
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, worst {1_000 * max(values):.0f} ms"
