"""A page layout change: several videos open the breaker, requests are parked and resume later."""

import asyncio
import time
from pathlib import Path

import pytest

from schemas.errors import ErrorCode
from tests.acceptance.client import PipelineClient, page
from tests.acceptance.outage import (
    SteadyLoad,
    breaker_changes,
    dead_letter_count,
    outage_timeline,
    parked_ids,
    reading_results,
    transitions,
)
from tests.acceptance.scale import full_or_short
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

WAVE_SECONDS = full_or_short(60, 10)
OPEN_SECONDS = full_or_short(15, 3)
SETTINGS = {
    "CLIPMILL_BREAKER__OPEN_SECONDS": str(OPEN_SECONDS),
    "CLIPMILL_RETRY__WAITS_SECONDS": '{"platform.changed": [3, 5]}',
}


@pytest.mark.alone
async def test_one_changed_page_keeps_the_breaker_closed_and_a_wave_opens_it(
    tmp_path: Path,
) -> None:
    async with PipelineProcess(tmp_path, **SETTINGS) as pipeline:
        await pipeline.start_worker("all")
        client = PipelineClient(pipeline)
        async with reading_results(pipeline):
            await _one_changed_page(pipeline, client)
            await _layout_change(pipeline, client)


async def _one_changed_page(pipeline: PipelineProcess, client: PipelineClient) -> None:
    """One changed page opens no breaker; one that stays changed fails after its retries."""
    changed, permanent = video_id("layout", times=4, serial=1), video_id("noitem", serial=2)
    await pipeline.publish({"id": "odd", "url": page(permanent), "action": "info"})
    for number in range(3):
        await pipeline.publish({"id": f"strange-{number}", "url": page(changed), "action": "info"})
    load = SteadyLoad(pipeline, per_second=5, first_serial=5_000)
    await load.run(4)
    await client.wait_for([*load.published, "odd", *(f"strange-{n}" for n in range(3))], 60)
    assert transitions(await breaker_changes(client, "extract", "proxy")) == []
    results = await pipeline.read_results(0)
    assert {results[name][0]["status"] for name in load.published} == {"completed"}
    first, last = results["strange-0"][0], results["odd"][0]
    assert first["status"] == "completed"
    assert {each["code"] for each in first["recovery"]} == {"platform.changed"}
    assert (last["status"], last["error"]["error_type"]) == ("failed", "platform.changed")
    assert (last["attempts"], last.get("parked")) == (3, None)


async def _layout_change(pipeline: PipelineProcess, client: PipelineClient) -> None:
    load = SteadyLoad(pipeline, per_second=8)
    began = time.time()
    pipeline.standin.switch("layout", for_seconds=WAVE_SECONDS)
    await load.run(WAVE_SECONDS + 3)
    await client.wait_for(list(load.published), 60 + 4 * OPEN_SECONDS)
    await asyncio.sleep(1)
    changes = await breaker_changes(client, "extract", "proxy")
    print("\n" + outage_timeline(began, changes, (began + WAVE_SECONDS, "pages are as before")))
    opened = next(each for each in changes if each.state.state == "open")
    assert opened.state.reason is ErrorCode.PLATFORM_CHANGED
    assert transitions(changes)[-1].state.state == "closed"
    results = await pipeline.read_results(0)
    assert {results[name][0]["status"] for name in load.published} == {"completed"}
    # Requests that failed before the breaker opened have consumed one retry.
    assert {results[name][0]["attempts"] for name in load.published} <= {1, 2}
    assert await parked_ids(client) & load.published.keys()
    assert await dead_letter_count(client) == 0
