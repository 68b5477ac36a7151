"""Download workers that join, leave and die during downloads lose and duplicate nothing."""

import asyncio
import random
from pathlib import Path

from tests.acceptance.chaos import Timeline, publish_within, record_results, wait_until_answered
from tests.acceptance.end_state import (
    check_files,
    check_outcomes,
    check_scratch,
    expected_statuses,
    outcomes,
    wait_until_committed,
)
from tests.acceptance.workload import SMALLEST, WorkloadRecord, page, request_record
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

OTHERS = ("validation", "extraction", "selection", "recovery", "delay", "ledger", "monitor")
DOWNLOAD_SECONDS = (5, 8)
VIDEOS = 48
DRAIN_SECONDS = 120.0
COMMIT_SECONDS = 60.0
SESSION = {"CLIPMILL_KAFKA__SESSION_TIMEOUT_SECONDS": "6"}


def downloads() -> list[WorkloadRecord]:
    """Return slow downloads of distinct videos; every fourth video is requested twice."""
    low, high = DOWNLOAD_SECONDS
    records = []
    for serial in range(VIDEOS):
        seconds = low + serial % (high - low + 1)
        url = page(video_id("media.takes", param=seconds, serial=500 + serial))
        records.append(request_record(f"video-{serial}", "completed", url, **SMALLEST))
        if serial % 4 == 0:
            records.append(request_record(f"again-{serial}", "completed", url, **SMALLEST))
    return records


async def test_rebalance_during_downloads_loses_nothing(tmp_path: Path) -> None:
    records, timeline = downloads(), Timeline()
    async with PipelineProcess(tmp_path, **SESSION) as pipeline:
        watching = asyncio.create_task(record_results(pipeline, timeline))
        try:
            running = await _rebalances(pipeline, records, timeline)
            expected = await expected_statuses(pipeline.bootstrap, records)
            await wait_until_answered(timeline, expected.keys(), DRAIN_SECONDS)
            timeline.add("all answered")
            await wait_until_committed(pipeline, COMMIT_SECONDS)
            timeline.add("all committed")
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            print("\n" + "\n".join(timeline.lines()))
        check_scratch(pipeline.data_dir, running)
        found, _ = await outcomes(pipeline.bootstrap)
        check_outcomes(found, expected)
        assert check_files(pipeline.data_dir, found) == VIDEOS
        media = pipeline.standin.counters()["requests"]["media"]
    copies = sum(map(len, found.values())) - len(found)
    print(f"{len(found)} outcomes, {copies} copies, {media} media requests for {VIDEOS} videos")


async def _rebalances(
    pipeline: PipelineProcess, records: list[WorkloadRecord], timeline: Timeline
) -> list[int]:
    """Let download workers join, leave and die during downloads; return the remaining pids."""
    others = await pipeline.start_worker(*OTHERS)
    first = await pipeline.start_worker("download")
    publishing = asyncio.create_task(publish_within(pipeline, records, 30.0, random.Random(7)))
    await _wait_until_downloads_run(pipeline)
    second = await pipeline.start_worker("download")
    timeline.add("a second worker joined")
    await _wait_until_downloads_run(pipeline)
    assert await asyncio.to_thread(first.terminate) == 0
    timeline.add("the first one was stopped")
    await _wait_until_downloads_run(pipeline)
    second.kill()
    timeline.add("the second one was killed")
    third = await pipeline.start_worker("download")
    timeline.add("a third one took over")
    await publishing
    return [others.pid, third.pid]


async def _wait_until_downloads_run(pipeline: PipelineProcess) -> None:
    """Wait until several downloads are in flight, and for one second more."""
    async with asyncio.timeout(60):
        while pipeline.standin.counters()["open_media"] < 3:  # noqa: ASYNC110  (another process)
            await asyncio.sleep(0.1)
    await asyncio.sleep(1)
