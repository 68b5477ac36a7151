"""Memory pressure: caches are evicted, consumption pauses, and both recover with more memory.

The worker reads the limit of a control group from a file in its mount namespace, so that the limit
can be lowered and raised at runtime, as `docker update --memory` does.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from benchmarks.soak import soak
from tests.acceptance.client import PipelineClient, get, page
from tests.pipeline_process import PipelineProcess, Process
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

GROUP = "/sys/fs/cgroup"
PLENTY = 2 * 2**30
IN_CONTROL_GROUP = (
    "unshare",
    "-rm",
    "sh",
    "-c",
    f'mount -t tmpfs none {GROUP} && echo $0 > {GROUP}/memory.max && exec "$@"',
)
SETTINGS = {
    "CLIPMILL_MEMORY__SAMPLE_SECONDS": "0.2",
    "CLIPMILL_MEMORY__RELIEF_SECONDS": "1",
    "CLIPMILL_MEMORY__GIVE_UP_SECONDS": "6",
    "CLIPMILL_ENGINE__PROCESSES": "1",
}
USED = "clipmill_memory_bytes"
RELIEFS = "clipmill_memory_reliefs_total"
PAUSED = "clipmill_stage_intake_paused"
SECONDS = 20
REQUESTS = 12
FILES_MORE = 8
"""Allowed growth of open files, for connections opened during the run."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pipeline(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PipelineProcess]:
    """A pipeline of one worker, whose memory limit the tests set."""
    async with PipelineProcess(tmp_path_factory.mktemp("pipeline"), **SETTINGS) as pipeline:
        await pipeline.start_worker("all", prefix=(*IN_CONTROL_GROUP, str(PLENTY)))
        yield pipeline


@pytest.fixture
def worker(pipeline: PipelineProcess) -> Process:
    return pipeline.workers[0]


def set_memory_limit(worker: Process, limit_bytes: float) -> None:
    """Set a worker's memory limit."""
    file = Path(f"/proc/{worker.pid}/root{GROUP}/memory.max")
    file.write_text(f"{int(limit_bytes)}\n")


async def publish(pipeline: PipelineProcess) -> list[str]:
    """Publish download requests; return their ids."""
    request_ids = [f"m-{secrets.token_hex(4)}" for _ in range(REQUESTS)]
    for serial, name in enumerate(request_ids):
        url = page(video_id("kilobytes", param=16, serial=serial))
        await pipeline.publish({"id": name, "url": url})
    return request_ids


async def wait_until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Poll until a condition holds."""
    async with asyncio.timeout(SECONDS):
        while not await condition():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.1)


async def statuses(client: PipelineClient, request_ids: list[str]) -> set[str]:
    return {(await client.outcome(name))["status"] for name in request_ids}


async def run_out_of_memory(client: PipelineClient, worker: Process) -> list[str]:
    """Set the limit below the memory in use; return the ids of requests published afterwards."""
    set_memory_limit(worker, (await client.metrics())[USED] / 1.5)
    await client.wait_for_problem(worker, "memory")
    return await publish(client.pipeline)


@pytest.mark.alone
async def test_soak_reports_every_process_and_every_outcome(
    pipeline: PipelineProcess, worker: Process
) -> None:
    """Its verdict on slopes needs minutes; open files show a leak at once."""
    report = await soak(pipeline, worker, seconds=8, rate=8, sample_seconds=0.5)
    print(f"\n{report}")
    files = {each.name: each.last.files - each.first.files for each in report.figures}
    assert {"worker", "fork server", "engine 1", "kafka", "stand-in"} <= set(files)
    assert max(files["worker"], files["fork server"], files["engine 1"]) <= FILES_MORE
    assert not report.outcomes.open
    assert not report.ended
    assert "internal.bug" not in {error for _, _, error in report.outcomes.unexpected}


async def test_memory_pressure_evicts_caches_and_requests_complete(
    client: PipelineClient, pipeline: PipelineProcess, worker: Process
) -> None:
    assert await statuses(client, await publish(pipeline)) == {"completed"}
    before = await client.metrics()
    assert (before["clipmill_memory_limit_bytes"], before[RELIEFS]) == (PLENTY, 0)
    set_memory_limit(worker, before[USED] / 0.8)

    async def caches_are_evicted() -> bool:
        return (await client.metrics())[RELIEFS] > 0

    await wait_until(caches_are_evicted)
    assert await statuses(client, await publish(pipeline)) == {"completed"}
    set_memory_limit(worker, PLENTY)


async def test_exhausted_memory_pauses_consumption_until_the_limit_is_raised(
    client: PipelineClient, pipeline: PipelineProcess, worker: Process
) -> None:
    waiting = await run_out_of_memory(client, worker)
    problem = await client.wait_for_problem(worker, "memory")
    print(f"\nhealth says: {problem}")
    assert "MiB" in problem
    assert "container" in problem
    assert await client.wait_for_problem(worker, "validation")
    assert (await client.metrics())[PAUSED] > 1
    assert not set(waiting) & set(await pipeline.read_results(1)), "they wait in Kafka"
    set_memory_limit(worker, PLENTY)
    assert await statuses(client, waiting) == {"completed"}

    async def worker_is_ready() -> bool:
        return not json.loads(await get(f"{worker.ready['http']}/health/ready"))["problems"]

    await wait_until(worker_is_ready)


async def test_memory_that_stays_exhausted_ends_the_worker_and_loses_no_request(
    client: PipelineClient, pipeline: PipelineProcess, worker: Process
) -> None:
    """The worker that replaces it processes the waiting requests."""
    waiting = await run_out_of_memory(client, worker)

    async def worker_has_ended() -> bool:
        return not worker.running()

    await wait_until(worker_has_ended)
    assert "memory.limit_bytes" in worker.log.read_text().splitlines()[-1]
    await pipeline.start_worker("all")
    assert await statuses(client, waiting) == {"completed"}
