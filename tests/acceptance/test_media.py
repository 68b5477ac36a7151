"""Downloaded media are verified, and no file of a post is fetched twice."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote, urlsplit

import av
import pytest
import pytest_asyncio

from streams.topics import PROGRESS
from tests.acceptance.client import Message, PipelineClient, page
from tests.pipeline_process import PipelineProcess
from tests.standin import expected_images, expected_media, video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = 30
MEBIBYTE = 1 << 20


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pipeline(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PipelineProcess]:
    tasks = {"CLIPMILL_LIMITS__DOWNLOAD_TASKS": str(MANY), "CLIPMILL_STAGE__CONCURRENCY": str(MANY)}
    async with PipelineProcess(tmp_path_factory.mktemp("pipeline"), **tasks) as opened:
        await opened.start_worker("all")
        yield opened


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(pipeline: PipelineProcess) -> PipelineClient:
    return PipelineClient(pipeline)


def path_of(file: Message) -> Path:
    return Path(unquote(urlsplit(file["uri"]).path))


@pytest.mark.parametrize(
    ("options", "codec"), [({"codec": "h264"}, "h264"), ({"codec": "h265"}, "h265")]
)
async def test_result_reports_the_probed_streams(
    options: Message, codec: str, client: PipelineClient
) -> None:
    result = await client.request(page(video_id(serial=1)), options={"quality": "720p", **options})
    (file,) = result["files"]
    assert (file["width"], file["height"], file["duration_seconds"]) == (720, 1280, 10.0)
    assert (file["codec"], file["audio_codec"], file["sample_rate"]) == (codec, "aac", 8_000)
    assert file["probed"]
    with av.open(str(path_of(file)), "r") as container:
        assert len(list(container.decode(video=0))) == 2


AUDIO_CASES: dict[str, tuple[str, Message, float]] = {
    "the video's, not a song's": ("song.long", {}, 10.0),
    "without a song": ("song.none", {}, 10.0),
    "in the smallest file, whatever quality": ("song.long", {"quality": "1080p"}, 10.0),
    "wider than high": ("landscape", {"codec": "h265"}, 10.0),
    "the song on demand": ("song.long", {"audio": "song"}, 60.0),
    "of a photo post": ("photo", {}, 10.0),
}


@pytest.mark.parametrize(
    ("post", "options", "seconds"), AUDIO_CASES.values(), ids=AUDIO_CASES.keys()
)
async def test_audio_only_returns_the_requested_audio(
    post: str, options: Message, seconds: float, client: PipelineClient
) -> None:
    video = video_id(post, serial=20 + [*AUDIO_CASES.values()].index((post, options, seconds)))
    result = await client.request(page(video), options={"audio_only": True, **options})
    (file,) = result["files"]
    assert (file["codec"], file["width"], file["duration_seconds"]) == ("aac", None, seconds)
    assert (file["mime_type"], path_of(file).suffix) == ("audio/mp4", ".m4a")
    assert file["song"] == (post == "photo" or "audio" in options)
    content = path_of(file).read_bytes()
    assert (len(content), sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
    assert file["probed"]
    assert client.request_counts(video)["media"] == 1


async def test_audio_only_of_a_silent_video_has_no_formats(client: PipelineClient) -> None:
    result = await client.request(page(video_id("silent", serial=3)), options={"audio_only": True})
    assert result["error"]["error_type"] == "content.no_formats"


async def test_damaged_file_is_fetched_again_after_a_fresh_extraction(
    client: PipelineClient,
) -> None:
    video = video_id("media.html", times=1)
    result = await client.request(page(video))
    assert result["status"] == "completed"
    (recovery,) = result["recovery"]
    assert (recovery["code"], recovery["strategy"]) == ("content.damaged", "fresh_extraction")
    assert client.request_counts(video) == {"page": 2, "media": 2}


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        ("media.html", "cannot be read"),
        ("media.short", "plays for 5.0 seconds, the page says 10.0"),
        ("media.soundonly", "no picture"),
    ],
)
async def test_file_that_stays_damaged_fails_and_is_not_stored(
    scenario: str, reason: str, client: PipelineClient, pipeline: PipelineProcess
) -> None:
    video = video_id(scenario)
    result = await client.request(page(video))
    assert result["status"] == "failed"
    assert result["error"]["error_type"] == "content.damaged"
    assert reason in result["error"]["user_message"]
    assert {each["strategy"] for each in result["recovery"]} >= {"fresh_extraction", "other_format"}
    assert not list((pipeline.data_dir / "files" / "tiktok").glob(f"{video}/*"))


SONG = {"audio_only": True, "audio": "song"}
"""Options of a file that is stored byte for byte."""


@pytest.mark.parametrize("scenario", ["media.gzip", "media.rest200"])
async def test_file_is_complete_for_any_encoding_or_status_of_the_response(
    scenario: str, client: PipelineClient
) -> None:
    video = video_id(scenario, serial=3)
    result = await client.request(page(video), options=SONG)
    (file,) = result["files"]
    assert file["sha256"] == expected_media(video, file["format_id"]).sha256
    assert result["recovery"] == []


@pytest.mark.parametrize("options", [SONG, {}], ids=["song", "video"])
async def test_truncated_file_is_not_stored(
    options: Message, client: PipelineClient, pipeline: PipelineProcess
) -> None:
    video = video_id("media.cut", serial=len(options))
    result = await client.request(page(video), options=options)
    assert result["error"]["error_type"] == "content.damaged"
    assert "truncated" in result["error"]["user_message"]
    assert not list((pipeline.data_dir / "files" / "tiktok").glob(f"{video}/*"))


async def test_picture_extension_follows_its_content(client: PipelineClient) -> None:
    video = video_id("photo.webp")
    files = (await client.request(page(video)))["files"]
    assert {each["mime_type"] for each in files} == {"image/jpeg"}
    assert {each["uri"].rpartition(".")[2] for each in files} == {"jpeg"}
    assert [each["sha256"] for each in files] == [each.sha256 for each in expected_images(video)]


FALLBACKS: dict[str, tuple[str, int, Message, str, int]] = {
    # Scenario, its parameter, options, the format of the result, attempts.
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


@pytest.mark.parametrize("name", FALLBACKS)
async def test_next_format_is_used_and_each_is_requested_once(
    name: str, client: PipelineClient, pipeline: PipelineProcess
) -> None:
    scenario, param, options, format_id, attempts = FALLBACKS[name]
    video = video_id(scenario, param=param, serial=3)
    result = await client.request(page(video), options=options)
    assert (result["status"], result["attempts"]) == ("completed", attempts)
    (file,) = result["files"]
    assert (file["format_id"], file["audio_codec"], file["probed"]) == (format_id, "aac", True)
    assert not result["silent"]
    assert client.request_counts(video) == {
        "page": 2 - (scenario == "media.mute"),
        "media": attempts,
    }
    (stored,) = (pipeline.data_dir / "files" / "tiktok").glob(f"{video}/*")
    assert str(stored) == str(path_of(file))
    recovery = [each["format_id"] for each in result["recovery"]]
    assert len(set(recovery[1:])) == len(recovery[1:])


async def test_post_without_audio_is_reported_as_silent(client: PipelineClient) -> None:
    video = video_id("media.mute", serial=4)
    result = await client.request(page(video), options={"quality": "720p"})
    assert (result["status"], result["silent"]) == ("completed", True)
    (file,) = result["files"]
    assert (file["format_id"], file["audio_codec"]) == ("h264_720p_800000-0", None)
    assert file["silent"]
    fetched = client.request_counts(video)["media"]
    again = await client.request(page(video), options={"quality": "720p"})
    assert (again["silent"], again["files"][0]["reused"]) == (True, True)
    assert client.request_counts(video)["media"] == fetched


async def test_video_only_format_is_merged_with_audio_of_another(client: PipelineClient) -> None:
    video = video_id("pictureonly", serial=5)
    result = await client.request(page(video))
    assert (result["status"], result["attempts"]) == ("completed", 1)
    (file,) = result["files"]
    assert file["format_id"].startswith("bytevc1_1080p_900000-0+")
    assert (file["codec"], file["audio_codec"], file["width"]) == ("h265", "aac", 1080)
    assert not result["silent"]
    assert client.request_counts(video) == {"page": 1, "media": 2}
    again = await client.request(page(video))
    assert again["files"][0] == {**file, "reused": True}
    assert client.request_counts(video) == {"page": 1, "media": 2}


async def test_audio_is_merged_into_the_best_video_when_its_size_has_none(
    client: PipelineClient,
) -> None:
    video = video_id("media.mute", param=1080, serial=6)
    result = await client.request(page(video))
    assert result["status"] == "completed"
    (file,) = result["files"]
    assert file["format_id"].startswith("h264_1080p_1600000-0+")
    assert (file["width"], file["audio_codec"]) == (1080, "aac")
    assert [each["code"] for each in result["recovery"]] == ["content.no_sound"] * 2


async def test_photo_post_returns_all_pictures_and_music(client: PipelineClient) -> None:
    video = video_id("photo", param=12)
    result = await client.request(page(video))
    pictures = [file for file in result["files"] if file["codec"] == "jpeg"]
    assert [file["sha256"] for file in pictures] == [each.sha256 for each in expected_images(video)]
    assert {(file["width"], file["height"]) for file in pictures} == {(1080, 1440)}
    (music,) = [file for file in result["files"] if file["codec"] == "aac"]
    assert music["sha256"] == expected_media(video, "audio").sha256
    (last, *_) = sorted(
        await client.messages(PROGRESS, request_id=result["request_id"]),
        key=lambda each: -int(each["files_done"]),
    )
    assert (last["files_done"], last["files_total"]) == (13, 13)
    assert last["bytes"] == sum(file["bytes"] for file in result["files"])


async def test_pictures_stored_before_a_kill_are_not_fetched_again(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    video = video_id("photo", param=12, serial=2)
    pipeline.standin.switch("media.slow", param=200, video=video)
    await pipeline.publish({"id": "killed", "url": page(video)})
    async with asyncio.timeout(20):
        while client.request_counts(video).get("image", 0) < 7:
            await pipeline.read_results(0.01)
    stored = len(list((pipeline.data_dir / "files" / "tiktok").glob(f"{video}/*")))
    pipeline.workers[-1].kill()
    pipeline.standin.clear(video=video)
    await pipeline.start_worker("all")
    result = await client.outcome("killed", 60)
    assert len(result["files"]) == 13
    assert stored >= 3
    assert client.request_counts(video)["image"] + client.request_counts(video)["media"] <= 13 + 4


async def test_concurrent_downloads_progress_evenly(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    """At half of all bytes every download has progressed: none waits for another to finish."""
    videos = [video_id("size", param=1, serial=100 + number) for number in range(MANY)]
    pipeline.standin.pace(media_bytes_per_second=300_000)
    names = [f"many-{number}" for number in range(MANY)]
    await pipeline.publish(
        *[{"id": name, "url": page(video)} for name, video in zip(names, videos, strict=True)]
    )
    await client.wait_for(names, 60)
    pipeline.standin.pace()
    reports = [each for each in await client.messages(PROGRESS) if each["request_id"] in names]
    half = [each for each in reports if MEBIBYTE // 4 <= each["bytes"] < MEBIBYTE]
    assert {each["request_id"] for each in half} == set(names)
    assert pipeline.standin.counters()["max_open_media"] > MANY // 2
