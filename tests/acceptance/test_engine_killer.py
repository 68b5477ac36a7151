"""A video that kills its engine process ends as a dead letter, without an endless retry loop."""

import asyncio
import contextlib
from pathlib import Path

import psutil

from tests.acceptance.client import PipelineClient, page
from tests.acceptance.engine_processes import fork_server_of
from tests.pipeline_process import PipelineProcess, Process
from tests.standin import video_id

SETTINGS = {"CLIPMILL_RETRY__WAITS_SECONDS": '{"system.engine_crash": [1, 1]}'}
KILLER = video_id(serial=666)


async def test_video_that_kills_its_engine_process_becomes_a_dead_letter(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path, **SETTINGS) as pipeline:
        client = PipelineClient(pipeline)
        worker = await pipeline.start_worker("all")
        pipeline.standin.switch("page.hang", video=KILLER)
        await pipeline.publish({"id": "killer", "url": page(KILLER), "action": "info"})
        killing = asyncio.create_task(_kill_engine_processes_on_request(client, worker))
        outcome = await client.outcome("killer", 60)
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
        assert outcome["error"]["error_type"] == "system.engine_crash"
        assert outcome["attempts"] == 3
        # Each attempt extracts once in a shared process and once isolated.
        assert client.request_counts(KILLER)["page"] <= 6
        assert (await client.request(page(video_id(serial=1))))["status"] == "completed"
        pipeline.standin.clear()
        assert (await pipeline.clipmill("deadletters", "replay", "--all"))[0] == 0
        assert (await client.outcome("killer/replay-1"))["status"] == "completed"


async def _kill_engine_processes_on_request(client: PipelineClient, worker: Process) -> None:
    seen = 0
    while True:
        count = (await asyncio.to_thread(client.request_counts, KILLER)).get("page", 0)
        if count > seen:
            seen = count
            for process in _engine_processes(worker):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        await asyncio.sleep(0.05)


def _engine_processes(worker: Process) -> list[psutil.Process]:
    return fork_server_of(worker.pid).children()
