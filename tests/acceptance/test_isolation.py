"""A slow download does not delay the requests behind it."""

import asyncio
import statistics
import time
from typing import Any

import pytest

from tests.acceptance.client import PipelineClient, page
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.alone]

SLOW_SECONDS = 60
REQUESTS = 150
PER_SECOND = 15
SLOWER_MAX = 2.0
"""Maximum ratio of the median latency behind a slow download to that without one."""

TOLERATED_SECONDS = 0.5
"""Tolerance for a median of tens of milliseconds on a shared machine."""

CACHED = [video_id("kilobytes", param=16, serial=number) for number in range(20)]


def mixed_requests(kind: str, first_serial: int) -> list[dict[str, Any]]:
    """Return requests of all kinds: cache misses and hits, metadata and files."""
    found = []
    for number in range(REQUESTS):
        new = video_id("kilobytes", param=16, serial=first_serial + number)
        video = new if number % 4 else CACHED[number // 4 % len(CACHED)]
        action = "info" if number % 2 else "download"
        found.append({"id": f"{kind}-{number}", "url": page(video), "action": action})
    return found


async def publish_at_steady_rate(
    pipeline: PipelineProcess, requests: list[dict[str, Any]]
) -> dict[str, float]:
    """Publish at a steady rate; return the publication time of each request."""
    began, moments = time.time(), {}
    for number, request in enumerate(requests):
        await asyncio.sleep(began + number / PER_SECOND - time.time())
        moments[request["id"]] = time.time()
        await pipeline.publish(request)
    return moments


async def read_results_until(pipeline: PipelineProcess, done: asyncio.Event) -> None:
    """Read results continuously, so that their arrival times are recorded."""
    while not done.is_set():
        await pipeline.read_results(0.05)


async def warm_up(client: PipelineClient) -> None:
    await asyncio.gather(*(client.request(page(video)) for video in CACHED))


async def latencies(client: PipelineClient, requests: list[dict[str, Any]]) -> list[float]:
    """Publish requests and return their latencies, sorted."""
    done = asyncio.Event()
    reading = asyncio.create_task(read_results_until(client.pipeline, done))
    moments = await publish_at_steady_rate(client.pipeline, requests)
    await client.wait_for(list(moments), 20)
    done.set()
    await reading
    results = await client.pipeline.read_results(0)
    assert {results[name][0]["status"] for name in moments} == {"completed"}
    return sorted(results[name][0]["_seen_at"] - moment for name, moment in moments.items())


async def test_slow_download_does_not_delay_other_requests(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    await warm_up(client)
    before = await latencies(client, mixed_requests("before", 1_000))
    slow = video_id("media.takes", param=SLOW_SECONDS)
    await pipeline.publish({"id": "slow", "url": page(slow)})
    async with asyncio.timeout(10):
        while not client.request_counts(slow).get("media"):
            await pipeline.read_results(0.05)
    began = time.time()
    behind = await latencies(client, mixed_requests("behind", 2_000))
    for name, seconds in {"before": before, "behind": behind}.items():
        p95 = seconds[int(0.95 * len(seconds))]
        print(f"{name} a slow download: median {statistics.median(seconds):.3f} s, p95 {p95:.3f} s")
    longest = SLOWER_MAX * statistics.median(before) + TOLERATED_SECONDS
    assert statistics.median(behind) < longest
    assert time.time() - began < SLOW_SECONDS - 5
    assert "slow" not in await pipeline.read_results(0)
    assert pipeline.standin.counters()["open_media"] == 1
    pipeline.workers[0].kill()
