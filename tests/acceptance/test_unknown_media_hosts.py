"""Media at a host that the platform does not list: requests wait until the settings permit it."""

import asyncio
import json
from pathlib import Path

import aiohttp

from tests.acceptance.client import PipelineClient, page
from tests.acceptance.console_process import console_process
from tests.acceptance.outage import reading_results
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id
from tests.standin.other_sites import ELSEWHERE
from tests.standin.posts import UNKNOWN_HOST

SITE = {
    "hosts": ["hitrecord.org"],
    "extractors": ["HitRecord"],
    "media_hosts": [".hitrecord.org"],
}
WAIT_SECONDS = 20
SOON_SECONDS = 15.0
SETTINGS = {
    "CLIPMILL_RETRY__WAITS_SECONDS": json.dumps({"platform.changed": [WAIT_SECONDS, 600]}),
    # The three videos of TikTok must not open the breaker.
    "CLIPMILL_BREAKER__SUSPICIOUS_VIDEOS": "100",
    "CLIPMILL_PLATFORMS": json.dumps({"hitrecord": SITE}),
}
PERMITTED = json.dumps(
    {
        "hitrecord": SITE | {"media_hosts": [".hitrecord.org", f".{ELSEWHERE}"]},
        "tiktok": {"page_hosts": ["www.tiktok.example"], "media_hosts": [f".{UNKNOWN_HOST}"]},
    }
)
POSTS = {f"post-{serial}": video_id("elsewhere", serial=serial) for serial in range(3)}
RECORD = video_id("hostile", param=1, serial=9)
WAITING = {"hitrecord": {ELSEWHERE: 1}, "tiktok": {UNKNOWN_HOST: len(POSTS)}}


async def test_videos_wait_for_a_host_until_it_is_added_and_workers_restarted(
    tmp_path: Path,
) -> None:
    async with PipelineProcess(tmp_path, **SETTINGS) as pipeline:
        workers = [await pipeline.start_worker("all") for _ in range(2)]
        client = PipelineClient(pipeline)
        async with reading_results(pipeline):
            for name, video in POSTS.items():
                await pipeline.publish({"id": name, "url": page(video)})
            record = f"https://hitrecord.org/records/{RECORD}"
            await pipeline.publish({"id": "record", "url": record})
            await _until_waiting(pipeline, WAITING)
            await _check_console(pipeline)
            _, table, _ = await pipeline.clipmill("platforms", "--breakers")
            assert f'add ".{UNKNOWN_HOST}" to platforms.tiktok.media_hosts' in table
            # No worker ends what it has begun: all that is known is in Kafka.
            for worker in workers:
                worker.kill()
            await pipeline.start_worker("all", CLIPMILL_PLATFORMS=PERMITTED)
            for name in (*POSTS, "record"):
                result = await client.outcome(name, WAIT_SECONDS + 30)
                assert result["status"] == "completed", result
                assert {each["code"] for each in result["recovery"]} == {"platform.changed"}
            await _until_waiting(pipeline, {"hitrecord": {}, "tiktok": {}})
            moved = await client.request(page(video_id(serial=77)).replace(".com", ".example"))
            assert moved["status"] == "completed", moved
            assert moved["video"]["url"].startswith("https://www.tiktok.com/")


async def _until_waiting(pipeline: PipelineProcess, expected: dict[str, dict[str, int]]) -> None:
    """Wait until `clipmill platforms` of a worker without the hosts shows these videos."""
    async with asyncio.timeout(SOON_SECONDS):
        while True:
            _, lines, _ = await pipeline.clipmill("platforms", "--breakers", "--json")
            rows = [json.loads(line) for line in lines.splitlines()]
            if {row["name"]: row["waiting"] for row in rows if row["name"] in expected} == expected:
                return
            await asyncio.sleep(0.2)


async def _check_console(pipeline: PipelineProcess) -> None:
    async with (
        console_process(pipeline) as url,
        aiohttp.ClientSession(base_url=url) as session,
        session.get("/api/v1/overview") as answer,
    ):
        problems = (await answer.json())["problems"]
    found = [each for each in problems if "media at" in each["message"]]
    assert [each["message"] for each in found] == [
        f"3 videos wait for media at {UNKNOWN_HOST}, which is not a host of tiktok.",
        f"1 video waits for media at {ELSEWHERE}, which is not a host of hitrecord.",
    ]
    remedy = f'add ".{ELSEWHERE}" to the setting platforms.hitrecord.media_hosts'
    assert remedy in found[1]["remedy"]
