"""A deadline ends what runs and what waits, within a second."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.acceptance.desk import Desk, page
from tests.house import House
from tests.standin import video_id

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.alone]

DEADLINE_SECONDS = 3.0
VIDEOS = {
    "a download": video_id("media.takes", param=60),
    "a retry": video_id("blocked"),
    "a page": video_id("page.hang"),
}
"""What is under way at the deadline, and would be for half a minute and more."""


async def test_a_deadline_ends_work_and_waiting_within_a_second(desk: Desk, house: House) -> None:
    await desk.ask(page(video_id(serial=1)), action="info")
    end = datetime.now(UTC) + timedelta(seconds=DEADLINE_SECONDS)
    asks = [desk.ask(page(video), deadline=end.isoformat()) for video in VIDEOS.values()]
    results = dict(zip(VIDEOS, await asyncio.gather(*asks), strict=True))
    assert {name: each["status"] for name, each in results.items()} == dict.fromkeys(
        VIDEOS, "expired"
    )
    late = {
        name: (datetime.fromisoformat(each["finished_at"]) - end).total_seconds()
        for name, each in results.items()
    }
    print(f"seconds after the deadline: {late}")
    assert all(0 <= seconds <= 1 for seconds in late.values()), late
    assert not (house.data_dir / "files" / "tiktok" / VIDEOS["a download"]).exists()
