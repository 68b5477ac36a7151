"""What comes is looked into, and nothing of a post is fetched twice."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
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


SOUNDS: dict[str, tuple[str, Message, float]] = {
    "the video's, not a song's": ("song.long", {}, 10.0),
    "without a song": ("song.none", {}, 10.0),
    "in the smallest file, whatever quality": ("song.long", {"quality": "1080p"}, 10.0),
    "wider than high": ("landscape", {"codec": "h265"}, 10.0),
    "the song on demand": ("song.long", {"audio": "song"}, 60.0),
    "of a photo post": ("photo", {}, 10.0),
}


@pytest.mark.parametrize(("post", "options", "seconds"), SOUNDS.values(), ids=SOUNDS.keys())
async def test_sound_alone_is_the_sound_asked_for(
    post: str, options: Message, seconds: float, desk: Desk
) -> None:
    video = video_id(post, serial=20 + [*SOUNDS.values()].index((post, options, seconds)))
    result = await desk.ask(page(video), options={"audio_only": True, **options})
    (file,) = result["files"]
    assert (file["codec"], file["width"], file["duration_seconds"]) == ("aac", None, seconds)
    assert (file["mime_type"], path_of(file).suffix) == ("audio/mp4", ".m4a")
    assert file["song"] == (post == "photo" or "audio" in options)
    content = path_of(file).read_bytes()
    assert (len(content), sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
    assert file["probed"]
    assert desk.counts(video)["media"] == 1


async def test_a_silent_video_has_no_sound_to_give(desk: Desk) -> None:
    result = await desk.ask(page(video_id("silent", serial=3)), options={"audio_only": True})
    assert result["error"]["error_type"] == "content.no_formats"


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


SONG = {"audio_only": True, "audio": "song"}
"""A file that is kept as it was sent."""


@pytest.mark.parametrize("scenario", ["media.gzip", "media.rest200"])
async def test_a_file_is_whole_whatever_the_server_makes_of_the_answer(
    scenario: str, desk: Desk
) -> None:
    video = video_id(scenario, serial=3)
    result = await desk.ask(page(video), options=SONG)
    (file,) = result["files"]
    assert file["sha256"] == expected_media(video, file["format_id"]).sha256
    assert result["recovery"] == []


@pytest.mark.parametrize("options", [SONG, {}], ids=["song", "video"])
async def test_a_cut_file_is_not_kept(options: Message, desk: Desk, house: House) -> None:
    video = video_id("media.cut", serial=len(options))
    result = await desk.ask(page(video), options=options)
    assert result["error"]["error_type"] == "content.damaged"
    assert "cut short" in result["error"]["user_message"]
    assert not list((house.data_dir / "files" / "tiktok").glob(f"{video}/*"))


async def test_pictures_are_called_after_what_they_are(desk: Desk) -> None:
    video = video_id("photo.webp")
    files = (await desk.ask(page(video)))["files"]
    assert {each["mime_type"] for each in files} == {"image/jpeg"}
    assert {each["uri"].rpartition(".")[2] for each in files} == {"jpeg"}
    assert [each["sha256"] for each in files] == [each.sha256 for each in expected_images(video)]


LADDER: dict[str, tuple[str, int, Message, str, int]] = {
    # What fails, its number; options; the format given, and the attempts.
    "a size is gone": ("media.nosize", 1080, {}, "h264_720p_800000-0", 6),
    "a host is gone": ("media.nohost", 1, {}, "h264_1080p_1600000-1", 3),
    "a codec is gone": ("media.nocodec", 264, {}, "bytevc1_1080p_900000-0", 4),
    "a size is silent": (
        "media.mute",
        1080,
        {"quality": "1080p"},
        "h264_720p_800000-0",
        3,
    ),
}


@pytest.mark.parametrize("name", LADDER)
async def test_the_next_file_is_taken_and_each_is_asked_for_once(
    name: str, desk: Desk, house: House
) -> None:
    scenario, param, options, format_id, attempts = LADDER[name]
    video = video_id(scenario, param=param, serial=3)
    result = await desk.ask(page(video), options=options)
    assert (result["status"], result["attempts"]) == ("completed", attempts)
    (file,) = result["files"]
    assert (file["format_id"], file["audio_codec"], file["probed"]) == (format_id, "aac", True)
    assert not result["silent"]
    assert desk.counts(video) == {"page": 2 - (scenario == "media.mute"), "media": attempts}
    (stored,) = (house.data_dir / "files" / "tiktok").glob(f"{video}/*")
    assert str(stored) == str(path_of(file))
    tried = [each["format_id"] for each in result["recovery"]]
    assert len(set(tried[1:])) == len(tried[1:])


async def test_a_post_without_any_sound_is_silent_and_says_so(desk: Desk) -> None:
    video = video_id("media.mute", serial=4)
    result = await desk.ask(page(video), options={"quality": "720p"})
    assert (result["status"], result["silent"]) == ("completed", True)
    (file,) = result["files"]
    assert (file["format_id"], file["audio_codec"]) == ("h264_720p_800000-0", None)
    assert file["silent"]
    asked = desk.counts(video)["media"]
    again = await desk.ask(page(video), options={"quality": "720p"})
    assert (again["silent"], again["files"][0]["reused"]) == (True, True)
    assert desk.counts(video)["media"] == asked


async def test_a_picture_without_sound_gets_that_of_another_format(desk: Desk) -> None:
    video = video_id("pictureonly", serial=5)
    result = await desk.ask(page(video))
    assert (result["status"], result["attempts"]) == ("completed", 1)
    (file,) = result["files"]
    assert file["format_id"].startswith("bytevc1_1080p_900000-0+")
    assert (file["codec"], file["audio_codec"], file["width"]) == ("h265", "aac", 1080)
    assert not result["silent"]
    assert desk.counts(video) == {"page": 1, "media": 2}
    again = await desk.ask(page(video))
    assert again["files"][0] == {**file, "reused": True}
    assert desk.counts(video) == {"page": 1, "media": 2}


async def test_sound_is_joined_to_the_best_picture_when_none_of_its_size_has_any(
    desk: Desk,
) -> None:
    video = video_id("media.mute", param=1080, serial=6)
    result = await desk.ask(page(video))
    assert result["status"] == "completed"
    (file,) = result["files"]
    assert file["format_id"].startswith("h264_1080p_1600000-0+")
    assert (file["width"], file["audio_codec"]) == (1080, "aac")
    assert [each["code"] for each in result["recovery"]] == ["content.no_sound"] * 2


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
