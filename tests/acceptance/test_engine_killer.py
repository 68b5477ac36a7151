"""A video that kills the process that reads it ends as a dead letter, and not as a loop."""

import asyncio
import contextlib
from pathlib import Path

import psutil

from tests.acceptance.desk import Desk, page
from tests.acceptance.engine_processes import fork_server_of
from tests.house import House, Process
from tests.standin import video_id

SETTINGS = {"CLIPMILL_RETRY__WAITS_SECONDS": '{"system.engine_crash": [1, 1]}'}
KILLER = video_id(serial=666)


async def test_a_video_that_kills_its_process_ends_as_a_dead_letter(tmp_path: Path) -> None:
    async with House(tmp_path, **SETTINGS) as house:
        desk = Desk(house)
        worker = await house.start_worker("all")
        house.standin.switch("page.hang", video=KILLER)
        await house.publish({"id": "killer", "url": page(KILLER), "action": "info"})
        killing = asyncio.create_task(_kill_whoever_reads_it(desk, worker))
        outcome = await desk.outcome("killer", 60)
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
        assert outcome["error"]["error_type"] == "system.engine_crash"
        assert outcome["attempts"] == 3
        # Once in company with each attempt, and then alone.
        assert desk.counts(KILLER)["page"] <= 6
        assert (await desk.ask(page(video_id(serial=1))))["status"] == "completed"
        house.standin.clear()
        assert (await house.clipmill("deadletters", "replay"))[0] == 0
        assert (await desk.outcome("killer/replay-1"))["status"] == "completed"


async def _kill_whoever_reads_it(desk: Desk, worker: Process) -> None:
    seen = 0
    while True:
        asked = (await asyncio.to_thread(desk.counts, KILLER)).get("page", 0)
        if asked > seen:
            seen = asked
            for process in _engine_processes(worker):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        await asyncio.sleep(0.05)


def _engine_processes(worker: Process) -> list[psutil.Process]:
    return fork_server_of(worker.pid).children()
