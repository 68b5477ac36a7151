"""kill -9 of any process loses no request, and no request gets a second outcome.

Short in CI; with ``FULL_LENGTH=1`` 10,000 requests, twice the kills, and a frozen worker.
"""

import asyncio
import os
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.acceptance.bucket import BUCKET, Bucket, s3_settings
from tests.acceptance.chaos import Chaos, publish_within, record_results, wait_until_answered
from tests.acceptance.end_state import (
    check_files,
    check_outcomes,
    check_scratch,
    check_summaries,
    expected_statuses,
    outcomes,
    wait_until_committed,
)
from tests.acceptance.scale import FULL
from tests.acceptance.workload import WorkloadRecord, workload
from tests.pipeline_process import PipelineProcess
from tests.storage_servers import create_s3_bucket, running, seaweedfs

FAULTS = (
    {"worker": 20, "engine": 5, "broker": 3, "stop": 3, "freeze": 1}
    if FULL
    else {"worker": 10, "engine": 5, "broker": 2, "stop": 3}
)
CACHED_REQUESTS = 9_700 if FULL else 0
PAUSE_SECONDS = (1.0, 4.0) if FULL else (2.0, 12.0)
DRAIN_SECONDS = 150.0
COMMIT_SECONDS = 60.0
SESSION = {"CLIPMILL_KAFKA__SESSION_TIMEOUT_SECONDS": "6"}


async def test_random_kills_lose_no_request_and_cause_no_second_outcome(tmp_path: Path) -> None:
    found = await _kill_at_random(tmp_path, **SESSION)
    print(f"{check_files(tmp_path / 'data', found)} files")


async def test_random_kills_leave_whole_objects_in_s3(tmp_path: Path) -> None:
    async with running(seaweedfs(tmp_path)) as server:
        await create_s3_bucket(server, BUCKET)
        found = await _kill_at_random(tmp_path, **s3_settings(tmp_path, server.endpoint))
        objects = await Bucket(server, tmp_path).check_all(each[0] for each in found.values())
        print(f"{objects} objects")


async def _kill_at_random(tmp_path: Path, **variables: str) -> Mapping[str, Sequence[bytes]]:
    """Run the pipeline under faults; check its outcomes, and return all copies of each."""
    seed = int(os.environ.get("KILL_SEED", time.time_ns() % 1_000_000))
    print(f"\nseed {seed} (set KILL_SEED to repeat it)")
    rng = random.Random(seed)
    records = workload(rng, cached=CACHED_REQUESTS)
    async with PipelineProcess(tmp_path, **variables) as pipeline:
        chaos = Chaos(pipeline, rng, "all")
        watching = asyncio.create_task(record_results(pipeline, chaos.timeline))
        try:
            await _inject_faults_while_publishing(pipeline, chaos, records, rng)
            await pipeline.wait_for_broker()
            expected = await expected_statuses(pipeline.bootstrap, records)
            await wait_until_answered(chaos.timeline, expected.keys(), DRAIN_SECONDS)
            chaos.timeline.add("all answered")
            await wait_until_committed(pipeline, COMMIT_SECONDS)
            chaos.timeline.add("all committed")
            await chaos.inject("stop")
            check_scratch(pipeline.data_dir, [(await chaos.ready()).pid])
            await chaos.inject("stop")
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            print("\n".join(chaos.timeline.lines()))
        found, summaries = await outcomes(pipeline.bootstrap)
        check_outcomes(found, expected)
        check_summaries(summaries, expected)
        copies = sum(map(len, found.values())) - len(found)
        print(f"{len(found)} outcomes, {copies} copies")
    for fault, times in FAULTS.items():
        assert chaos.timeline.count(fault) >= times
    return found


async def _inject_faults_while_publishing(
    pipeline: PipelineProcess, chaos: Chaos, records: list[WorkloadRecord], rng: random.Random
) -> None:
    faults = [fault for fault, times in FAULTS.items() for _ in range(times)]
    rng.shuffle(faults)
    for number, fault in enumerate(faults):
        seconds = rng.uniform(*PAUSE_SECONDS)
        now = records[number :: len(faults)]
        await asyncio.gather(publish_within(pipeline, now, seconds, rng), asyncio.sleep(seconds))
        await chaos.inject(fault)
