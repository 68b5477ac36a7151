"""Workers share the limit of their way out, and find the limit that the platform really has.

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
from tests.acceptance.desk import Desk, page
from tests.acceptance.outage import parked_ids, reading_results
from tests.acceptance.scale import in_full
from tests.house import House, Process
from tests.standin import video_id

pytestmark = pytest.mark.alone

LIMIT = 12
TRUE_LIMIT = 6
STEADY_BOUND = LIMIT + 6
"""Each worker may have one token in hand, and a busy machine delays some requests up to the next:
the stand-in counts when they come, not when they go."""
REBALANCE_BOUND = 2 * LIMIT
"""What the old owners of the partitions may ask for in a second, and then the new ones."""
STEADY_SECONDS = in_full(20, 3)
STORM_SECONDS = in_full(60, 8)
RECOVERY_SECONDS = in_full(60, 5)
OTHERS = ("validation", "selection", "recovery", "delay", "ledger", "monitor", "commands")
SETTINGS = {
    "CLIPMILL_LIMITS__REQUESTS_PER_SECOND": f'{{"tiktok": {LIMIT}}}',
    "CLIPMILL_LIMITS__RECOVERY_SECONDS": str(RECOVERY_SECONDS),
    "CLIPMILL_RETRY__WAITS_SECONDS": '{"rate_limit.api": [2, 10, 10, 10, 10, 10]}',
    "CLIPMILL_KAFKA__SESSION_TIMEOUT_SECONDS": "6",
    "CLIPMILL_STAGE__SHUTDOWN_GRACE_SECONDS": "1",
}


@dataclass
class Story:
    """What happened when, and how much was asked for meanwhile."""

    house: House
    began: float = field(default_factory=time.time)

    def note(self, text: str) -> None:
        print(f"{time.time() - self.began:7.2f} s  {text}")

    async def phase(self, text: str, seconds: float, limit: int | None = None) -> tuple[int, int]:
        """Let so much time pass; return the most pages in a second, and how many were refused."""
        await asyncio.to_thread(self.house.standin.limit, limit)
        before = await self.pages()
        await asyncio.sleep(seconds)
        most, refused = await asyncio.to_thread(self.house.standin.asked)
        mean = (await self.pages() - before) / seconds
        self.note(f"{text}: {mean:.1f} pages/s, at most {most} in a second, {refused} refused")
        return most, refused

    async def pages(self) -> int:
        counters = await asyncio.to_thread(self.house.standin.counters)
        return int(counters["requests"].get("page", 0))


@asynccontextmanager
async def backlog(house: House, count: int) -> AsyncIterator[None]:
    """Publish more than can be asked for in the time."""
    videos = [video_id("kilobytes", param=16, serial=serial) for serial in range(count)]
    asked = [{"id": video, "url": page(video), "action": "info"} for video in videos]
    for batch in (asked[at : at + 100] for at in range(0, count, 100)):
        await asyncio.gather(*map(house.publish, batch))
    async with reading_results(house):
        yield


async def allowed(desk: Desk) -> list[float | None]:
    """The rates that workers were told of, in order."""
    records = [each for each in await desk.records(SIGNALS) if each.value]
    states = [
        decode(each.value, RateState) for each in records if each.key.startswith(RATE.encode())
    ]
    return [each.requests_per_second for each in states]


async def until_full(desk: Desk, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while (await allowed(desk))[-1] is not None:  # noqa: ASYNC110  (another process)
            await asyncio.sleep(0.5)


async def stop(worker: Process) -> None:
    assert await asyncio.to_thread(worker.terminate) == 0


async def test_workers_share_a_limit_and_find_the_true_one(tmp_path: Path) -> None:
    async with House(tmp_path, **SETTINGS) as house:
        desk, story = Desk(house), Story(house)
        _, *extractors = await asyncio.gather(
            house.start_worker(*OTHERS), *(house.start_worker("extraction") for _ in range(3))
        )
        count = int(LIMIT * (2 * STEADY_SECONDS + STORM_SECONDS + 2 * RECOVERY_SECONDS + 15))
        async with backlog(house, count):
            await _share(story, house, extractors)
            await _find(story, desk)
        results = await house.read_results(0)
        assert {each[0]["status"] for each in results.values()} == {"completed"}
        print(f"{len(results)} of {count} done, {len(await parked_ids(desk))} were parked")


async def _share(story: Story, house: House, extractors: list[Process]) -> None:
    await story.phase("three workers begin", 1)
    most, _ = await story.phase("three workers", STEADY_SECONDS)
    assert most <= STEADY_BOUND
    story.note("a fourth one joins")
    moving = asyncio.create_task(story.phase("while one joins and one leaves", STEADY_SECONDS + 4))
    await house.start_worker("extraction")
    story.note("it has joined")
    await stop(extractors[0])
    story.note("one has left")
    most, _ = await moving
    assert most <= REBALANCE_BOUND


async def _find(story: Story, desk: Desk) -> None:
    await story.phase("the platform admits less", STORM_SECONDS, TRUE_LIMIT)
    most, refused = await story.phase("it still does", STEADY_SECONDS, TRUE_LIMIT)
    rates = await allowed(desk)
    story.note(f"told: {rates}")
    assert any(rate is not None and rate < TRUE_LIMIT for rate in rates)
    assert refused <= 2 * STEADY_SECONDS
    await story.phase("the platform admits all again", 1)
    await until_full(desk, 4 * RECOVERY_SECONDS)
    story.note("the whole limit is allowed again")
    most, _ = await story.phase("afterwards", STEADY_SECONDS)
    assert most <= STEADY_BOUND
