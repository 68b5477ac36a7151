"""One slow download stands in nobody's way: those behind it are done in the usual time."""

import asyncio
import statistics
import time
from typing import Any

import pytest

from tests.acceptance.desk import Desk, page
from tests.house import House
from tests.standin import video_id

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.alone]

SLOW_SECONDS = 60
REQUESTS = 150
PER_SECOND = 15
SLOWER_MAX = 2.0
"""Median behind a slow download, to that of the same requests without one."""

TOLERATED_SECONDS = 0.5
"""What a median of tens of milliseconds may differ on a machine that others use."""

CACHED = [video_id("kilobytes", param=16, serial=number) for number in range(20)]


def others(kind: str, first_serial: int) -> list[dict[str, Any]]:
    """Return requests of all kinds: new and known videos, metadata and files."""
    found = []
    for number in range(REQUESTS):
        new = video_id("kilobytes", param=16, serial=first_serial + number)
        video = new if number % 4 else CACHED[number // 4 % len(CACHED)]
        action = "info" if number % 2 else "download"
        found.append({"id": f"{kind}-{number}", "url": page(video), "action": action})
    return found


async def publish_evenly(house: House, asked: list[dict[str, Any]]) -> dict[str, float]:
    """Publish at a steady rate; return when each request was published."""
    began, moments = time.time(), {}
    for number, request in enumerate(asked):
        await asyncio.sleep(began + number / PER_SECOND - time.time())
        moments[request["id"]] = time.time()
        await house.publish(request)
    return moments


async def read_until(house: House, done: asyncio.Event) -> None:
    """Read results as they come, so that the moment of each is known."""
    while not done.is_set():
        await house.read_results(0.05)


async def warm_up(desk: Desk) -> None:
    await asyncio.gather(*(desk.ask(page(video)) for video in CACHED))


async def latencies(desk: Desk, asked: list[dict[str, Any]]) -> list[float]:
    """Publish requests and return how long each took, the shortest first."""
    done = asyncio.Event()
    reading = asyncio.create_task(read_until(desk.house, done))
    moments = await publish_evenly(desk.house, asked)
    await desk.wait_for(list(moments), 20)
    done.set()
    await reading
    results = await desk.house.read_results(0)
    assert {results[name][0]["status"] for name in moments} == {"completed"}
    return sorted(results[name][0]["_seen_at"] - moment for name, moment in moments.items())


async def test_a_slow_download_holds_up_nobody(desk: Desk, house: House) -> None:
    await warm_up(desk)
    before = await latencies(desk, others("before", 1_000))
    slow = video_id("media.takes", param=SLOW_SECONDS)
    await house.publish({"id": "slow", "url": page(slow)})
    async with asyncio.timeout(10):
        while not desk.counts(slow).get("media"):
            await house.read_results(0.05)
    began = time.time()
    behind = await latencies(desk, others("behind", 2_000))
    for name, seconds in {"before": before, "behind": behind}.items():
        p95 = seconds[int(0.95 * len(seconds))]
        print(f"{name} a slow download: median {statistics.median(seconds):.3f} s, p95 {p95:.3f} s")
    longest = SLOWER_MAX * statistics.median(before) + TOLERATED_SECONDS
    assert statistics.median(behind) < longest
    assert time.time() - began < SLOW_SECONDS - 5
    assert "slow" not in await house.read_results(0)
    assert house.standin.counters()["open_media"] == 1
    house.workers[0].kill()
