"""Workers share the rate limit of an egress, and adapt to the platform's actual limit.

Short in CI, in full with ``FULL_LENGTH=1``.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from schemas.codec import decode
from schemas.signals import RATE, RateState
from streams.topics import SIGNALS
from tests.acceptance.client import PipelineClient, page
from tests.acceptance.outage import parked_ids, reading_results
from tests.acceptance.scale import full_or_short
from tests.pipeline_process import PipelineProcess, Process
from tests.standin import video_id

pytestmark = pytest.mark.alone

LIMIT = 12
TRUE_LIMIT = 6
STEADY_BOUND = LIMIT + 6
"""Each worker may hold one token, and a busy machine delays some requests into the next second:
the stand-in counts arrivals, not departures."""
REBALANCE_BOUND = 2 * LIMIT
"""The previous and the new owners of the partitions may each use the limit within a second."""
STEADY_SECONDS = full_or_short(20, 3)
ADAPTED_SECONDS = full_or_short(20, 12)
"""The adapted rate rises and is cut every 4 to 5 s, with up to 7 refusals each."""
STORM_SECONDS = full_or_short(60, 8)
RECOVERY_SECONDS = full_or_short(60, 5)
OTHERS = ("validation", "selection", "recovery", "delay", "ledger", "monitor", "commands")
SETTINGS = {
    "CLIPMILL_LIMITS__REQUESTS_PER_SECOND": f'{{"tiktok": {LIMIT}}}',
    "CLIPMILL_LIMITS__RECOVERY_SECONDS": str(RECOVERY_SECONDS),
    "CLIPMILL_RETRY__WAITS_SECONDS": '{"rate_limit.api": [2, 10, 10, 10, 10, 10]}',
    "CLIPMILL_KAFKA__SESSION_TIMEOUT_SECONDS": "6",
    "CLIPMILL_STAGE__SHUTDOWN_GRACE_SECONDS": "1",
}


@dataclass
class PhaseLog:
    """Runs phases and prints the request rates of each."""

    pipeline: PipelineProcess
    began: float = field(default_factory=time.time)

    def log(self, text: str) -> None:
        print(f"{time.time() - self.began:7.2f} s  {text}")

    async def phase(self, text: str, seconds: float, limit: int | None = None) -> tuple[int, int]:
        """Run a phase; return the peak of pages per second and the number of 429 responses."""
        await asyncio.to_thread(self.pipeline.standin.limit_rate, limit)
        before = await self.page_count()
        await asyncio.sleep(seconds)
        peak, limited = await asyncio.to_thread(self.pipeline.standin.rate_counts)
        mean = (await self.page_count() - before) / seconds
        self.log(f"{text}: {mean:.1f} pages/s, at most {peak} in a second, {limited} refused")
        return peak, limited

    async def page_count(self) -> int:
        counters = await asyncio.to_thread(self.pipeline.standin.counters)
        return int(counters["requests"].get("page", 0))


@asynccontextmanager
async def backlog(pipeline: PipelineProcess, count: int) -> AsyncIterator[None]:
    """Publish more requests than the limit admits during the test."""
    videos = [video_id("kilobytes", param=16, serial=serial) for serial in range(count)]
    requests = [{"id": video, "url": page(video), "action": "info"} for video in videos]
    for batch in (requests[at : at + 100] for at in range(0, count, 100)):
        await asyncio.gather(*map(pipeline.publish, batch))
    async with reading_results(pipeline):
        yield


async def published_rates(client: PipelineClient) -> list[float | None]:
    """Return the published rates, in order; None is the full limit."""
    records = [each for each in await client.records(SIGNALS) if each.value]
    states = [
        decode(each.value, RateState) for each in records if each.key.startswith(RATE.encode())
    ]
    return [each.requests_per_second for each in states]


async def wait_until_full_rate(client: PipelineClient, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while (await published_rates(client))[-1] is not None:  # noqa: ASYNC110  (another process)
            await asyncio.sleep(0.5)


async def stop(worker: Process) -> None:
    assert await asyncio.to_thread(worker.terminate) == 0


async def test_workers_share_a_rate_limit_and_adapt_to_the_actual_one(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path, **SETTINGS) as pipeline:
        client, phases = PipelineClient(pipeline), PhaseLog(pipeline)
        _, *extractors = await asyncio.gather(
            pipeline.start_worker(*OTHERS), *(pipeline.start_worker("extraction") for _ in range(3))
        )
        count = int(
            LIMIT
            * (2 * STEADY_SECONDS + STORM_SECONDS + ADAPTED_SECONDS + 2 * RECOVERY_SECONDS + 15)
        )
        async with backlog(pipeline, count):
            await _check_shared_limit(phases, pipeline, extractors)
            await _check_adaptation(phases, client)
        results = await pipeline.read_results(0)
        assert {each[0]["status"] for each in results.values()} == {"completed"}
        print(f"{len(results)} of {count} done, {len(await parked_ids(client))} were parked")


async def _check_shared_limit(
    phases: PhaseLog, pipeline: PipelineProcess, extractors: list[Process]
) -> None:
    await phases.phase("three workers begin", 1)
    peak, _ = await phases.phase("three workers", STEADY_SECONDS)
    assert peak <= STEADY_BOUND
    phases.log("a fourth one joins")
    moving = asyncio.create_task(phases.phase("while one joins and one leaves", STEADY_SECONDS + 4))
    await pipeline.start_worker("extraction")
    phases.log("it has joined")
    await stop(extractors[0])
    phases.log("one has left")
    peak, _ = await moving
    assert peak <= REBALANCE_BOUND


async def _check_adaptation(phases: PhaseLog, client: PipelineClient) -> None:
    await phases.phase("the platform admits less", STORM_SECONDS, TRUE_LIMIT)
    peak, limited = await phases.phase("it still does", ADAPTED_SECONDS, TRUE_LIMIT)
    rates = await published_rates(client)
    phases.log(f"published: {rates}")
    assert any(rate is not None and rate < TRUE_LIMIT for rate in rates)
    assert limited <= 2 * ADAPTED_SECONDS
    await phases.phase("the platform admits all again", 1)
    await wait_until_full_rate(client, 4 * RECOVERY_SECONDS)
    phases.log("the whole limit is allowed again")
    peak, _ = await phases.phase("afterwards", STEADY_SECONDS)
    assert peak <= STEADY_BOUND
