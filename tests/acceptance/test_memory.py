"""Memory is short: caches are let go of, the intake stops and says so; more memory, and it goes on.

The worker believes a control group of its own, a file in a mount namespace, so that the limit can
be lowered and raised while it works, as `docker update --memory` does.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from benchmarks.soak import soak
from tests.acceptance.desk import Desk, get, page
from tests.house import House, Process
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

GROUP = "/sys/fs/cgroup"
PLENTY = 2 * 2**30
IN_A_GROUP = (
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
"""Connections that may be open at the end and were not at the beginning."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A house whose one worker has as much memory as a test grants."""
    async with House(tmp_path_factory.mktemp("house"), **SETTINGS) as house:
        await house.start_worker("all", prefix=(*IN_A_GROUP, str(PLENTY)))
        yield house


@pytest.fixture
def worker(house: House) -> Process:
    return house.workers[0]


def grant(worker: Process, limit_bytes: float) -> None:
    """Give a worker another limit."""
    file = Path(f"/proc/{worker.pid}/root{GROUP}/memory.max")
    file.write_text(f"{int(limit_bytes)}\n")


async def publish(house: House) -> list[str]:
    """Ask for some files; return the ids of the requests."""
    names = [f"m-{secrets.token_hex(4)}" for _ in range(REQUESTS)]
    for serial, name in enumerate(names):
        url = page(video_id("kilobytes", param=16, serial=serial))
        await house.publish({"id": name, "url": url})
    return names


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Return when something holds; it is asked about again and again."""
    async with asyncio.timeout(SECONDS):
        while not await holds():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.1)


async def statuses(desk: Desk, names: list[str]) -> set[str]:
    return {(await desk.outcome(name))["status"] for name in names}


async def run_out_of_memory(desk: Desk, worker: Process) -> list[str]:
    """Grant less than is in use; return the ids of requests that were made then."""
    grant(worker, (await desk.metrics())[USED] / 1.5)
    await desk.problem(worker, "memory")
    return await publish(desk.house)


@pytest.mark.alone
async def test_a_soak_sees_every_process_and_every_outcome(house: House, worker: Process) -> None:
    """Its judgement of slopes needs minutes; open files show a leak at once."""
    report = await soak(house, worker, seconds=8, rate=8, sample_seconds=0.5)
    print(f"\n{report}")
    files = {each.name: each.last.files - each.first.files for each in report.figures}
    assert {"worker", "fork server", "engine 1", "kafka", "stand-in"} <= set(files)
    assert max(files["worker"], files["fork server"], files["engine 1"]) <= FILES_MORE
    assert not report.outcomes.open
    assert not report.ended
    assert "internal.bug" not in {error for _, _, error in report.outcomes.unexpected}


async def test_caches_are_let_go_of_and_the_work_goes_on(
    desk: Desk, house: House, worker: Process
) -> None:
    assert await statuses(desk, await publish(house)) == {"completed"}
    before = await desk.metrics()
    assert (before["clipmill_memory_limit_bytes"], before[RELIEFS]) == (PLENTY, 0)
    grant(worker, before[USED] / 0.8)

    async def caches_are_gone() -> bool:
        return (await desk.metrics())[RELIEFS] > 0

    await until(caches_are_gone)
    assert await statuses(desk, await publish(house)) == {"completed"}
    grant(worker, PLENTY)


async def test_without_memory_nothing_is_taken_in_until_there_is_some(
    desk: Desk, house: House, worker: Process
) -> None:
    waiting = await run_out_of_memory(desk, worker)
    problem = await desk.problem(worker, "memory")
    print(f"\nhealth says: {problem}")
    assert "MiB" in problem
    assert "container" in problem
    assert await desk.problem(worker, "validation")
    assert (await desk.metrics())[PAUSED] > 1
    assert not set(waiting) & set(await house.read_results(1)), "they wait in Kafka"
    grant(worker, PLENTY)
    assert await statuses(desk, waiting) == {"completed"}

    async def worker_is_ready() -> bool:
        return not json.loads(await get(f"{worker.ready['http']}/health/ready"))["problems"]

    await until(worker_is_ready)


async def test_memory_that_stays_used_up_ends_the_worker_and_loses_nothing(
    desk: Desk, house: House, worker: Process
) -> None:
    """Whoever is started in its place does what was waiting."""
    waiting = await run_out_of_memory(desk, worker)

    async def worker_has_ended() -> bool:
        return not worker.running()

    await until(worker_has_ended)
    assert "memory.limit_bytes" in worker.log.read_text().splitlines()[-1]
    await house.start_worker("all")
    assert await statuses(desk, waiting) == {"completed"}
