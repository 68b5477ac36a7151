"""The console of a running pipeline."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.acceptance.client import page
from tests.acceptance.console_process import console_process
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

SOON_SECONDS = 20.0


@asynccontextmanager
async def running_console(pipeline: PipelineProcess) -> AsyncIterator[aiohttp.ClientSession]:
    """Run `clipmill console`; yields a session with it."""
    async with (
        console_process(pipeline) as url,
        aiohttp.ClientSession(base_url=url) as session,
    ):
        yield session


async def states(session: aiohttp.ClientSession, *names: str) -> list[Any]:
    """Return the states of requests when all of them have a result."""
    async with asyncio.timeout(SOON_SECONDS):
        while True:
            found = [await (await session.get(f"/api/v1/requests/{name}")).json() for name in names]
            if all(each.get("is_final") for each in found):
                return [each["state"] for each in found]
            await asyncio.sleep(0.1)


async def test_console_follows_requests_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path) as pipeline:
        await pipeline.start_worker("all")
        video = page(video_id("kilobytes", param=16))
        async with running_console(pipeline) as session:
            await pipeline.publish(
                {"id": "one", "url": video, "action": "info"},
                {"id": "wrong", "url": "https://example.com/x"},
                {"id": "b", "urls": [video, page(video_id("deleted"))], "action": "info"},
            )
            names = ("one", "wrong", "b/0", "b/1", "b")
            found = await states(session, *names)
            assert found == ["completed", "rejected", "completed", "failed", "batch_finished"]
            story = await (await session.get("/api/v1/requests/one")).json()
            assert [each["transition"] for each in story["events"]] == ["accepted", "finished"]
            before = await (await session.get("/api/v1/requests")).json()
            text = await (await session.get("/?state=failed")).text()
            assert "content.not_found" in text
        await pipeline.publish({"id": "meanwhile", "url": video, "action": "info"})
        async with running_console(pipeline) as session:
            assert await states(session, "meanwhile") == ["completed"]
            after = await (await session.get("/api/v1/requests")).json()
    assert after["requests"][1:] == before["requests"]


async def test_requests_are_submitted_cancelled_and_retried_over_the_api(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path) as pipeline:
        await pipeline.start_worker("all")
        async with running_console(pipeline) as session:

            async def post(path: str, body: object) -> Any:
                response = await session.post(f"/api/v1/{path}", json=body)
                assert response.status == 202, await response.text()
                return await response.json()

            url = page(video_id("kilobytes", param=16))
            endless = page(video_id("media.takes", param=60))
            await post("requests", [{"id": "one", "url": url}, {"id": "slow", "url": endless}])
            assert await states(session, "one") == ["completed"]
            again = await post("requests/one/retry", {"options": {"quality": "360p"}})
            assert await states(session, again["id"]) == ["completed"]
            await post("requests/slow/cancel", {})
            assert await states(session, "slow") == ["cancelled"]
            refused = await post("requests/slow-not/retry", {})
            assert await states(session, refused["id"]) == ["rejected"]
            story = await (await session.get("/api/v1/requests/slow")).json()
            assert "console" in json.dumps(story["events"])
