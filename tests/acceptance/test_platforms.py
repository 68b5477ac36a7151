"""Two more platforms, one by code and one by settings alone, through all stages."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.acceptance.desk import Desk
from tests.house import House
from tests.standin import expected_media, video_id
from tests.standin.other_sites import FILES

pytestmark = pytest.mark.asyncio(loop_scope="module")

SITE = {
    "hosts": ["hitrecord.org", "www.hitrecord.org"],
    "short_hosts": ["go.hitrecord.org"],
    "extractors": ["HitRecord"],
    "media_hosts": [".hitrecord.org"],
}
STREAMABLE = "https://streamable.com/{}"
HITRECORD = "https://hitrecord.org/records/{}"
SHORT = "https://go.hitrecord.org/{}"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    sites = json.dumps({"hitrecord": SITE})
    async with House(tmp_path_factory.mktemp("house"), CLIPMILL_PLATFORMS=sites) as house:
        await house.start_worker("all")
        yield house


def small(serial: int) -> str:
    return video_id("kilobytes", param=64, serial=serial)


@pytest.mark.parametrize(
    ("page", "platform", "serial"),
    [(STREAMABLE, "streamable", 1), (HITRECORD, "hitrecord", 2), (SHORT, "hitrecord", 3)],
)
async def test_a_link_becomes_its_file(desk: Desk, page: str, platform: str, serial: int) -> None:
    result = await desk.ask(page.format(small(serial)))
    assert result["status"] == "completed", result
    assert result["video"]["platform"] == platform
    expected = expected_media(small(serial), FILES["mp4"])
    (file,) = result["files"]
    assert (file["bytes"], file["sha256"]) == (expected.size, expected.sha256)
    assert f"/{platform}/" in file["uri"]


async def test_two_ways_to_write_a_link_are_one_video(desk: Desk) -> None:
    first = await desk.ask(HITRECORD.format(small(4)))
    again = await desk.ask(f"http://www.hitrecord.org/records/{small(4)}/?utm_source=x")
    assert again["files"] == [first["files"][0] | {"reused": True}]
    assert desk.counts(small(4)) == {"page": 1, "media": 1}


async def test_what_cannot_be_fetched_says_why(desk: Desk) -> None:
    stream, other = await asyncio.gather(
        desk.ask(HITRECORD.format(video_id("noformats"))), desk.ask("https://hitrecord.org/about")
    )
    assert stream["error"]["error_type"] == "content.no_formats"
    assert "HLS or DASH" in stream["error"]["user_message"]
    assert other["error"]["error_type"] == "content.unsupported"


async def test_a_wrong_extractor_is_told_at_the_start(house: House) -> None:
    sites = json.dumps({"hitrecord": SITE | {"extractors": ["HitRecrd"]}})
    worker = house.spawn_worker("extraction", CLIPMILL_PLATFORMS=sites)
    async with asyncio.timeout(30):
        while "has no extractor named HitRecrd; similar ones: " not in worker.log.read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    worker.kill()
