"""A deadline ends running and waiting requests within a second."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.acceptance.client import PipelineClient, page
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.alone]

DEADLINE_SECONDS = 3.0
VIDEOS = {
    "a download": video_id("media.takes", param=60),
    "a retry": video_id("blocked"),
    "a page": video_id("page.hang"),
}
"""Requests in flight at the deadline; each would take half a minute or more."""


async def test_deadline_expires_running_and_waiting_requests_within_a_second(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    await client.request(page(video_id(serial=1)), action="info")
    end = datetime.now(UTC) + timedelta(seconds=DEADLINE_SECONDS)
    requests = [client.request(page(video), deadline=end.isoformat()) for video in VIDEOS.values()]
    results = dict(zip(VIDEOS, await asyncio.gather(*requests), strict=True))
    assert {name: each["status"] for name, each in results.items()} == dict.fromkeys(
        VIDEOS, "expired"
    )
    late = {
        name: (datetime.fromisoformat(each["finished_at"]) - end).total_seconds()
        for name, each in results.items()
    }
    print(f"seconds after the deadline: {late}")
    assert all(0 <= seconds <= 1 for seconds in late.values()), late
    assert not (pipeline.data_dir / "files" / "tiktok" / VIDEOS["a download"]).exists()
