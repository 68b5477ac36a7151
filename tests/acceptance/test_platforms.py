"""Two more platforms through all stages: one in code, one configured by settings alone."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import pytest_asyncio

from tests.acceptance.client import PipelineClient
from tests.pipeline_process import PipelineProcess
from tests.site_settings import settings_of
from tests.standin import expected_media, video_id
from tests.standin.media_marks import beeps, flashes
from tests.standin.other_sites import FILES
from tests.standin.youtube import short_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

SITE = {
    "hosts": ["hitrecord.org", "www.hitrecord.org"],
    "short_hosts": ["go.hitrecord.org"],
    "extractors": ["HitRecord"],
    "media_hosts": [".hitrecord.org"],
}
STREAMABLE = "https://streamable.com/{}"
HITRECORD = "https://hitrecord.org/records/{}"
BLUESKY = "https://bsky.app/profile/{}/post/{}"
SHORT = "https://go.hitrecord.org/{}"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pipeline(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PipelineProcess]:
    twitch = settings_of("twitch").model_dump(mode="json")
    sites = json.dumps({"hitrecord": SITE, "twitch": twitch})
    async with PipelineProcess(
        tmp_path_factory.mktemp("pipeline"), CLIPMILL_PLATFORMS=sites
    ) as pipeline:
        await pipeline.start_worker("all")
        yield pipeline


def small(serial: int) -> str:
    return video_id("kilobytes", param=64, serial=serial)


@pytest.mark.parametrize(
    ("page", "platform", "serial"),
    [(STREAMABLE, "streamable", 1), (HITRECORD, "hitrecord", 2), (SHORT, "hitrecord", 3)],
)
async def test_link_is_resolved_to_its_file(
    client: PipelineClient, page: str, platform: str, serial: int
) -> None:
    result = await client.request(page.format(small(serial)))
    assert result["status"] == "completed", result
    assert result["video"]["platform"] == platform
    expected = expected_media(small(serial), FILES["mp4"])
    (file,) = result["files"]
    assert (file["bytes"], file["sha256"]) == (expected.size, expected.sha256)
    assert f"/{platform}/" in file["uri"]


@pytest.mark.parametrize(
    ("account", "format_id"),
    [("some.bsky.social", "blob"), ("own.example", "hls-900+hls-a-sound")],
)
async def test_post_of_bluesky_becomes_a_file(
    client: PipelineClient, account: str, format_id: str
) -> None:
    result = await client.request(BLUESKY.format(account, video_id("ok", serial=9)))
    assert result["status"] == "completed", result
    assert result["video"]["platform"] == "bluesky"
    (file,) = result["files"]
    assert (file["format_id"], file["audio_codec"]) == (format_id, "aac")
    path = Path(unquote(urlsplit(file["uri"]).path))
    assert beeps(path) == pytest.approx(flashes(path), abs=0.04)


@pytest.mark.parametrize(
    ("platform", "url", "format_id"),
    [
        ("douyin", f"https://v.douyin.com/{video_id('ok', serial=9)}", "h264_720p_800000"),
        ("facebook", f"https://fb.watch/{video_id('ok', serial=9)}", "0+1"),
        ("instagram", f"https://instagram.com/share/reel/{video_id('ok', serial=9)}", "101v"),
        ("reddit", f"https://v.redd.it/{video_id('ok', serial=9)}", "fallback+dash-1"),
        ("twitch", f"https://clips.twitch.tv/{video_id('ok', serial=9)}", "1080"),
        ("vimeo", f"https://vimeo.com/{video_id('ok', serial=9)}", "http-720p"),
        (
            "vimeo",
            f"https://vimeo.com/{video_id('dash', serial=9)}",
            "dash-akfire_interconnect_quic-0+dash-akfire_interconnect_quic-1",
        ),
        ("x", f"https://x.com/a/status/{video_id('ok', serial=9)}", "http-2176"),
        ("youtube", f"https://youtu.be/{short_id(video_id('ok', serial=9))}", "136+140"),
    ],
)
async def test_post_becomes_a_playable_file(
    client: PipelineClient, platform: str, url: str, format_id: str
) -> None:
    result = await client.request(url)
    assert result["status"] == "completed", result
    assert result["video"]["platform"] == platform
    (file,) = result["files"]
    assert (file["format_id"], file["audio_codec"]) == (format_id, "aac")
    path = Path(unquote(urlsplit(file["uri"]).path))
    assert beeps(path) == pytest.approx(flashes(path), abs=0.04)


async def test_ciphered_video_becomes_a_file_with_the_program_of_the_player(
    client: PipelineClient,
) -> None:
    url = f"https://youtu.be/{short_id(video_id('ciphered', serial=9))}"
    result = await client.request(url)
    assert result["status"] == "completed", result
    (file,) = result["files"]
    assert (file["format_id"], file["audio_codec"]) == ("136+140", "aac")


async def test_post_with_several_videos_has_all_of_them(client: PipelineClient) -> None:
    result = await client.request(f"https://x.com/a/status/{video_id('photo', serial=9)}")
    assert result["status"] == "completed", result
    assert [each["format_id"] for each in result["files"]] == ["video-01", "video-02", "video-03"]
    assert {each["audio_codec"] for each in result["files"]} == {"aac"}


async def test_post_of_instagram_has_its_pictures_and_video(client: PipelineClient) -> None:
    result = await client.request(f"https://instagram.com/p/{video_id('photo', serial=9)}")
    assert result["status"] == "completed", result
    assert [each["format_id"] for each in result["files"]] == ["image-01", "video-02", "image-03"]


async def test_gif_becomes_a_file_without_sound(client: PipelineClient) -> None:
    result = await client.request(f"https://x.com/a/status/{video_id('silent', serial=9)}")
    assert result["status"] == "completed", result
    (file,) = result["files"]
    assert (file["format_id"], file["audio_codec"]) == ("http", None)


async def test_equivalent_urls_share_one_video(client: PipelineClient) -> None:
    first = await client.request(HITRECORD.format(small(4)))
    again = await client.request(f"http://www.hitrecord.org/records/{small(4)}/?utm_source=x")
    assert again["files"] == [first["files"][0] | {"reused": True}]
    assert client.request_counts(small(4)) == {"page": 1, "media": 1}


async def test_unsupported_page_or_stream_names_the_reason(client: PipelineClient) -> None:
    stream, other = await asyncio.gather(
        client.request(HITRECORD.format(video_id("noformats"))),
        client.request("https://hitrecord.org/about"),
    )
    assert stream["error"]["error_type"] == "content.no_formats"
    assert "HLS and DASH" in stream["error"]["user_message"]
    assert other["error"]["error_type"] == "content.unsupported"


async def test_unknown_extractor_is_logged_at_start(pipeline: PipelineProcess) -> None:
    sites = json.dumps({"hitrecord": SITE | {"extractors": ["HitRecrd"]}})
    worker = pipeline.spawn_worker("extraction", CLIPMILL_PLATFORMS=sites)
    async with asyncio.timeout(30):
        while "has no extractor named HitRecrd; similar ones: " not in worker.log.read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    worker.kill()
