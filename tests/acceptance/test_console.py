"""The console of a running pipeline."""

import asyncio
import itertools
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from streams.topics import COMMANDS, REQUESTS
from tests.acceptance.client import PipelineClient, page
from tests.acceptance.console_process import console_process
from tests.acceptance.test_dead_letters import SETTINGS, untrusted_egress
from tests.event_stream import EventStream, opened
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

SOON_SECONDS = 45.0
"""A worker publishes its caches every 30 s while they change."""

JOB_REQUESTS = 300
"""Three chunks of a job."""


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


async def call(session: aiohttp.ClientSession, method: str, path: str, body: object = None) -> Any:
    response = await session.request(method, f"/api/v1/{path}", json=body)
    assert response.ok, await response.text()
    return await response.json()


async def read_until(
    session: aiohttp.ClientSession, path: str, condition: Callable[[Any], bool]
) -> Any:
    """Return the first response that meets a condition."""
    async with asyncio.timeout(SOON_SECONDS):
        while not condition(found := await call(session, "GET", path)):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return found


async def publish_and_fail(
    pipeline: PipelineProcess, session: aiohttp.ClientSession, *names: str
) -> dict[str, str]:
    """Publish requests that become dead letters; return the ids of these."""
    for serial, name in enumerate(names):
        url = page(video_id(serial=serial))
        await pipeline.publish({"id": name, "url": url, "action": "info"})
    assert await states(session, *names) == ["failed"] * len(names)
    listed = await read_until(session, "deadletters", lambda found: found["count"] == len(names))
    return {each["request_id"]: each["id"] for each in listed["deadletters"]}


async def test_dead_letters_are_replayed_and_resolved_over_the_api(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path, **SETTINGS) as pipeline:
        worker = await pipeline.start_worker("all", **untrusted_egress(tmp_path))
        async with running_console(pipeline) as session:
            ids = await publish_and_fail(pipeline, session, "a", "b", "c")
            shown = await call(session, "GET", f"deadletters/{ids['c']}")
            assert (shown["code"], shown["value"]["format"]) == ("system.config", "json")
            await call(session, "POST", f"deadletters/{ids['c']}/resolve", {"note": "known"})
            await asyncio.to_thread(worker.terminate)
            await pipeline.start_worker("all")
            order = {"filter": {"code": "system"}}
            dry_run = await call(session, "POST", "replay/dry-run", order)
            assert set(dry_run["ids"]) == {ids["a"], ids["b"]}
            assert dry_run["skipped"] == {"resolved: requires --force": 1}
            await call(session, "POST", "replay", order)
            await read_until(session, "replay", lambda it: it["replay"]["state"] == "finished")
            assert await states(session, "a/replay-1", "b/replay-1") == ["completed"] * 2
            marked = await read_until(
                session, "deadletters?state=replayed", lambda it: it["count"] == 2
            )
            assert {each["mark"]["by"] for each in marked["deadletters"]} == {"console"}
            text = await (await session.get("/deadletters")).text()
            assert all(each in text for each in ids.values())


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


async def soon(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(SOON_SECONDS):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.1)


async def test_job_of_a_killed_console_retries_each_request_exactly_once(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path) as pipeline:
        await pipeline.start_worker("all")
        client = PipelineClient(pipeline)
        names = [f"r{number}" for number in range(JOB_REQUESTS)]
        for number, name in enumerate(names):
            await pipeline.publish({"id": name, "url": page(video_id("deleted", serial=number))})
        await pipeline.results(JOB_REQUESTS)
        async with running_console(pipeline) as session:

            async def all_failed() -> bool:
                counts = await (await session.get("/api/v1/counts")).json()
                return bool(counts["states"] == {"failed": JOB_REQUESTS})

            async def has_published() -> bool:
                return bool(await client.records(COMMANDS))

            await soon(all_failed)
            order = {
                "command": "retry",
                "filter": {"error": "content.not_found"},
                "options": {"quality": "360p"},
                "expected": JOB_REQUESTS,
            }
            response = await session.post("/api/v1/jobs", json=order)
            assert response.status == 202, await response.text()
            job = await response.json()
            # The console publishes a chunk, and is killed before it has stored the cursor.
            jobs = sqlite3.connect(pipeline.data_dir / "console.db", isolation_level=None)
            jobs.execute("BEGIN IMMEDIATE")
            await soon(has_published)
        jobs.close()
        assert len(await client.records(COMMANDS)) < JOB_REQUESTS
        async with running_console(pipeline) as session:

            async def is_done() -> bool:
                found = await (await session.get(f"/api/v1/jobs/{job['id']}")).json()
                return bool(found["state"] == "done")

            await soon(is_done)
        results = await pipeline.results(2 * JOB_REQUESTS)
        requests = [json.loads(each.value) for each in await client.records(REQUESTS)]
        assert len(await client.records(COMMANDS)) > JOB_REQUESTS
    retried = {each["id"]: each for each in requests if "retry_of" in each}
    assert sorted(each["retry_of"] for each in retried.values()) == sorted(names)
    assert all(each["options"]["quality"] == "360p" for each in retried.values())
    assert results.keys() == {*names, *retried}
    assert all(len(each) == 1 for each in results.values())


CONSOLES = 4
CHANGES_OF_CONSOLE = 30


async def publish_steadily(
    pipeline: PipelineProcess, published: list[str], enough: asyncio.Event
) -> None:
    """Publish requests that are rejected at once, and add their ids."""
    for number in itertools.count():
        if enough.is_set():
            return
        await pipeline.publish({"id": f"r{number}", "url": "https://example.com/x"})
        published.append(f"r{number}")
        await asyncio.sleep(0.03)


async def collect(stream: EventStream, found: dict[str, str]) -> None:
    """Add the states of changed requests, until the stream breaks off."""
    while True:
        try:
            event = await stream.next("requests", "reset")
        except (EOFError, aiohttp.ClientError):
            return
        assert event.name == "requests"
        found |= event.states


def has_more(found: dict[str, str], count: int) -> bool:
    return len(found) > count


async def collect_until(
    condition: Callable[[], bool], collecting: asyncio.Task[None], found: dict[str, str]
) -> None:
    """Wait until what the stream has sent meets a condition."""
    try:
        async with asyncio.timeout(SOON_SECONDS):
            while not condition():
                if collecting.done():
                    raise AssertionError(f"the stream ended early: {collecting}; sent: {found}")
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"the stream has sent {found}") from None


async def test_event_stream_goes_on_without_a_gap_after_kills(tmp_path: Path) -> None:
    found: dict[str, str] = {}
    published: list[str] = []
    enough = asyncio.Event()
    async with PipelineProcess(tmp_path) as pipeline:
        await pipeline.start_worker("all")
        last_id = ""
        publishing: asyncio.Task[None] | None = None
        for number in range(CONSOLES):
            async with AsyncExitStack() as clients:
                async with console_process(pipeline) as url:
                    session = aiohttp.ClientSession(base_url=url)
                    await clients.enter_async_context(session)
                    stream = await clients.enter_async_context(opened(session, last_id))
                    publishing = publishing or asyncio.create_task(
                        publish_steadily(pipeline, published, enough)
                    )
                    collecting = asyncio.create_task(collect(stream, found))
                    enough_changes = partial(has_more, found, len(found) + CHANGES_OF_CONSOLE)
                    await collect_until(enough_changes, collecting, found)
                    if number == CONSOLES - 1:
                        enough.set()
                        await publishing
                        await collect_until(
                            lambda: found == dict.fromkeys(published, "rejected"), collecting, found
                        )
                await collecting
            last_id = stream.last_id
