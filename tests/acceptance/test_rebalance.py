"""Download workers that come and go in the middle of downloads lose and double nothing."""

import asyncio
import random
from pathlib import Path

from tests.acceptance.chaos import Timeline, publish_within, until_answered, watch_results
from tests.acceptance.end_state import (
    check_files,
    check_outcomes,
    check_scratch,
    expected_statuses,
    outcomes,
    until_committed,
)
from tests.acceptance.workload import SMALLEST, Asked, ask, page
from tests.house import House
from tests.standin import video_id

OTHERS = ("validation", "extraction", "selection", "recovery", "delay", "ledger", "monitor")
DOWNLOAD_SECONDS = (5, 8)
VIDEOS = 48
DRAIN_SECONDS = 120.0
COMMIT_SECONDS = 60.0
SESSION = {"CLIPMILL_KAFKA__SESSION_TIMEOUT_SECONDS": "6"}


def downloads() -> list[Asked]:
    """Return slow downloads of distinct videos; every fourth video is asked for twice."""
    low, high = DOWNLOAD_SECONDS
    asked = []
    for serial in range(VIDEOS):
        seconds = low + serial % (high - low + 1)
        url = page(video_id("media.takes", param=seconds, serial=500 + serial))
        asked.append(ask(f"video-{serial}", "completed", url, **SMALLEST))
        if serial % 4 == 0:
            asked.append(ask(f"again-{serial}", "completed", url, **SMALLEST))
    return asked


async def test_a_rebalance_in_the_middle_of_downloads_loses_nothing(tmp_path: Path) -> None:
    asked, timeline = downloads(), Timeline()
    async with House(tmp_path, **SESSION) as house:
        watching = asyncio.create_task(watch_results(house, timeline))
        try:
            living = await _rebalances(house, asked, timeline)
            expected = await expected_statuses(house.bootstrap, asked)
            await until_answered(timeline, expected.keys(), DRAIN_SECONDS)
            timeline.note("all answered")
            await until_committed(house, COMMIT_SECONDS)
            timeline.note("all committed")
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            print("\n" + "\n".join(timeline.lines()))
        check_scratch(house.data_dir, living)
        found, _ = await outcomes(house.bootstrap)
        check_outcomes(found, expected)
        assert check_files(house.data_dir, found) == VIDEOS
        media = house.standin.counters()["requests"]["media"]
    copies = sum(map(len, found.values())) - len(found)
    print(f"{len(found)} outcomes, {copies} copies, {media} media requests for {VIDEOS} videos")


async def _rebalances(house: House, asked: list[Asked], timeline: Timeline) -> list[int]:
    """Let download workers join, leave and die while downloads run; return who is left."""
    others = await house.start_worker(*OTHERS)
    first = await house.start_worker("download")
    publishing = asyncio.create_task(publish_within(house, asked, 30.0, random.Random(7)))
    await _downloads_run(house)
    second = await house.start_worker("download")
    timeline.note("a second worker joined")
    await _downloads_run(house)
    assert await asyncio.to_thread(first.terminate) == 0
    timeline.note("the first one was told to stop")
    await _downloads_run(house)
    second.kill()
    timeline.note("the second one was killed")
    third = await house.start_worker("download")
    timeline.note("a third one took over")
    await publishing
    return [others.pid, third.pid]


async def _downloads_run(house: House) -> None:
    """Return when several downloads are under way, and have been for a second."""
    async with asyncio.timeout(60):
        while house.standin.counters()["open_media"] < 3:  # noqa: ASYNC110  (another process)
            await asyncio.sleep(0.1)
    await asyncio.sleep(1)
