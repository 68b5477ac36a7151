"""What a console knows of workers and users: caches, engine, orders; each console the same."""

from pathlib import Path
from typing import Any

import aiohttp

from tests.acceptance.client import PipelineClient, page
from tests.acceptance.console_process import console_process
from tests.acceptance.test_console import call, read_until
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

PROXIED = {
    "CLIPMILL_CONSOLE__USER_HEADER": "X-User",
    "CLIPMILL_CONSOLE__PROXIES": '["127.0.0.1"]',
}


def cache(body: Any, stage: str, name: str) -> dict[str, Any]:
    """Return a cache, empty before its worker has published it."""
    found = (each for each in body["caches"] if (each["stage"], each["name"]) == (stage, name))
    return next(found, {"hits": 0, "lookups": 0, "workers": 0})


async def test_caches_and_engine_are_those_of_the_workers(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path) as pipeline:
        await pipeline.start_worker("all")
        client = PipelineClient(pipeline)
        url = page(video_id("kilobytes", param=16))
        for name in ("first", "second"):
            await pipeline.publish({"id": name, "url": url})
            assert (await client.outcome(name))["status"] == "completed"
        async with (
            console_process(pipeline) as address,
            aiohttp.ClientSession(base_url=address) as session,
        ):
            engines = await read_until(session, "engine", lambda body: body["engines"])
            caches = await read_until(
                session, "caches", lambda body: cache(body, "download", "files")["hits"] == 1
            )
            topics = await call(session, "GET", "topics")
    (engine,) = engines["engines"]
    assert engine["processes_alive"] == engine["processes"] > 0
    assert engine["versions"]["yt_dlp"]
    info = cache(caches, "extraction", "video_info")
    assert (info["lookups"], info["hits"], info["hit_ratio"]) == (2, 1, 0.5)
    workers = {each["worker"] for each in caches["workers"]} | {engine["worker"]}
    members = {
        member["name"].rpartition("-")[0] for each in topics["stages"] for member in each["members"]
    }
    assert workers == members


async def test_orders_have_their_user_in_every_console(tmp_path: Path) -> None:
    other = {"CLIPMILL_DATA_DIR": str(tmp_path / "other")}
    async with PipelineProcess(tmp_path) as pipeline:
        await pipeline.start_worker("all")
        async with (
            console_process(pipeline, **PROXIED) as address,
            aiohttp.ClientSession(base_url=address, headers={"X-User": "ann"}) as session,
        ):
            body = [{"id": name, "url": "https://example.com/x"} for name in ("a", "b")]
            await call(session, "POST", "requests", body)
            await read_until(session, "counts", lambda body: body["states"].get("rejected", 0) == 2)
            await call(session, "POST", "requests/a/cancel", {})
            await pipeline.clipmill("cancel", "b")
            listed = await read_until(session, "orders", lambda body: len(body["orders"]) == 3)
        async with (
            console_process(pipeline, **PROXIED, **other) as address,
            aiohttp.ClientSession(base_url=address, headers={"X-User": "eve"}) as session,
        ):
            again = await read_until(session, "orders", lambda body: len(body["orders"]) == 3)
            own = await call(session, "GET", "orders?by=ann&order=submit")
    assert again == listed
    orders = [(each["order"], each["subject"], each["count"]) for each in listed["orders"]]
    assert orders == [("cancel", "b", 1), ("cancel", "a", 1), ("submit", "a", 2)]
    assert [each["by"] for each in listed["orders"][1:]] == ["ann", "ann"]
    assert listed["problem"] is None
    assert [each["subject"] for each in own["orders"]] == ["a"]
