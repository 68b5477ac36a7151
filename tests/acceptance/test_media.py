"""What comes is looked into, and nothing of a post is fetched twice."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import av
import pytest
import pytest_asyncio

from streams.topics import PROGRESS
from tests.acceptance.desk import Desk, Message, page
from tests.house import House
from tests.standin import expected_images, expected_media, video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = 30
MEBIBYTE = 1 << 20


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    tasks = {"CLIPMILL_LIMITS__DOWNLOAD_TASKS": str(MANY), "CLIPMILL_STAGE__CONCURRENCY": str(MANY)}
    async with House(tmp_path_factory.mktemp("house"), **tasks) as opened:
        await opened.start_worker("all")
        yield opened


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def desk(house: House) -> Desk:
    return Desk(house)


def path_of(file: Message) -> Path:
    return Path(unquote(urlsplit(file["uri"]).path))


@pytest.mark.parametrize(
    ("options", "codec"), [({"codec": "h264"}, "h264"), ({"codec": "h265"}, "h265")]
)
async def test_a_result_tells_what_is_in_the_file(options: Message, codec: str, desk: Desk) -> None:
    result = await desk.ask(page(video_id(serial=1)), options={"quality": "720p", **options})
    (file,) = result["files"]
    assert (file["width"], file["height"], file["duration_seconds"]) == (720, 1280, 10.0)
    assert (file["codec"], file["audio_codec"], file["sample_rate"]) == (codec, "aac", 8_000)
    assert file["probed"]
    with av.open(str(path_of(file)), "r") as container:
        assert len(list(container.decode(video=0))) == 2


async def test_sound_alone_is_sound(desk: Desk) -> None:
    result = await desk.ask(page(video_id(serial=2)), options={"audio_only": True})
    (file,) = result["files"]
    assert (file["codec"], file["width"], file["duration_seconds"]) == ("aac", None, 10.0)


async def test_what_is_damaged_once_is_fetched_by_a_fresh_link(desk: Desk) -> None:
    video = video_id("media.html", times=1)
    result = await desk.ask(page(video))
    assert result["status"] == "completed"
    (tried,) = result["recovery"]
    assert (tried["code"], tried["strategy"]) == ("content.damaged", "fresh_extraction")
    assert desk.counts(video) == {"page": 2, "media": 2}


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        ("media.html", "cannot be read"),
        ("media.short", "plays for 5.0 seconds, the page says 10.0"),
        ("media.soundonly", "no picture"),
    ],
)
async def test_what_stays_damaged_is_told_and_not_kept(
    scenario: str, reason: str, desk: Desk, house: House
) -> None:
    video = video_id(scenario)
    result = await desk.ask(page(video))
    assert result["status"] == "failed"
    assert result["error"]["error_type"] == "content.damaged"
    assert reason in result["error"]["user_message"]
    assert {each["strategy"] for each in result["recovery"]} >= {"fresh_extraction", "other_format"}
    assert not list((house.data_dir / "files" / "tiktok").glob(f"{video}/*"))


async def test_a_photo_post_is_fetched_whole(desk: Desk) -> None:
    video = video_id("photo", param=12)
    result = await desk.ask(page(video))
    pictures = [file for file in result["files"] if file["codec"] == "jpeg"]
    assert [file["sha256"] for file in pictures] == [each.sha256 for each in expected_images(video)]
    assert {(file["width"], file["height"]) for file in pictures} == {(1080, 1440)}
    (music,) = [file for file in result["files"] if file["codec"] == "aac"]
    assert music["sha256"] == expected_media(video, "audio").sha256
    (last, *_) = sorted(
        await desk.messages(PROGRESS, request_id=result["request_id"]),
        key=lambda each: -int(each["files_done"]),
    )
    assert (last["files_done"], last["files_total"]) == (13, 13)
    assert last["bytes"] == sum(file["bytes"] for file in result["files"])


async def test_a_killed_worker_fetches_no_picture_twice(desk: Desk, house: House) -> None:
    video = video_id("photo", param=12, serial=2)
    house.standin.switch("media.slow", param=200, video=video)
    await house.publish({"id": "killed", "url": page(video)})
    async with asyncio.timeout(20):
        while desk.counts(video).get("image", 0) < 7:
            await house.read_results(0.01)
    stored = len(list((house.data_dir / "files" / "tiktok").glob(f"{video}/*")))
    house.workers[-1].kill()
    house.standin.clear(video=video)
    await house.start_worker("all")
    result = await desk.outcome("killed", 60)
    assert len(result["files"]) == 13
    assert stored >= 3
    assert desk.counts(video)["image"] + desk.counts(video)["media"] <= 13 + 4


async def test_many_at_once_come_forward_alike(desk: Desk, house: House) -> None:
    """None waits for another's end: when half of all bytes are there, each has come forward."""
    videos = [video_id("size", param=1, serial=100 + number) for number in range(MANY)]
    house.standin.pace(media_bytes_per_second=300_000)
    names = [f"many-{number}" for number in range(MANY)]
    await house.publish(
        *[{"id": name, "url": page(video)} for name, video in zip(names, videos, strict=True)]
    )
    await desk.wait_for(names, 60)
    house.standin.pace()
    reports = [each for each in await desk.messages(PROGRESS) if each["request_id"] in names]
    half = [each for each in reports if MEBIBYTE // 4 <= each["bytes"] < MEBIBYTE]
    assert {each["request_id"] for each in half} == set(names)
    assert house.standin.counters()["max_open_media"] > MANY // 2
