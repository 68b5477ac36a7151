"""Sites beside TikTok, each by yt-dlp's unmodified extractor against a stand-in of its answers."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from schemas.errors import ClipmillError, ErrorCode
from tests.integration.failure_samples import EngineHarness, engine_harness
from tests.integration.sites import PLATFORMS, post_of, read
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def harness(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EngineHarness]:
    async with engine_harness(tmp_path_factory.mktemp("standin")) as harness:
        yield harness


@pytest.mark.parametrize(
    ("site", "scenario", "formats"),
    [
        (
            "vimeo",
            "ok",
            {
                ("https", "http-720p", 720),
                ("hls", "hls-akfire_interconnect_quic-900", 720),
                ("hls", "hls-akfire_interconnect_quic-300", 360),
                ("dash", "dash-akfire_interconnect_quic-0", 64),
            },
        ),
        (
            "reddit",
            "ok",
            {
                ("https", "fallback", 720),
                ("hls", "hls-900", 720),
                ("hls", "hls-300", 360),
                ("dash", "dash-0", 64),
            },
        ),
        (
            "twitch",
            "ok",
            {
                ("https", "1080", 1080),
                ("https", "480", 480),
                ("https", "portrait-1080", 1080),
            },
        ),
        (
            "x",
            "ok",
            {
                ("hls", "hls-900", 720),
                ("hls", "hls-300", 360),
                ("https", "http-632", 320),
                ("https", "http-2176", 720),
            },
        ),
        ("douyin", "ok", {("https", "h264_720p_800000", 720)}),
        (
            "facebook",
            "ok",
            {("https", "hd", 0), ("https", "sd", 0), ("dash", "0", 64)},
        ),
        ("instagram", "ok", {("https", "101v", 720), ("https", "102v", 360)}),
        ("instagram", "photo", {("https", "video-02", 720)}),
        (
            "youtube",
            "ok",
            {("https", "136", 720)},
        ),
        ("x", "silent", {("https", "http", 64)}),
        (
            "x",
            "photo",
            {(("https", f"video-0{number}", 720)) for number in (1, 2, 3)},
        ),
    ],
)
async def test_page_offers_its_formats(
    harness: EngineHarness, site: str, scenario: str, formats: set[tuple[str, str, int]]
) -> None:
    extraction = await read(harness, site, scenario)
    sources = PLATFORMS[site].get_media_sources(extraction)
    info = PLATFORMS[site].describe(post_of(site, scenario), extraction, sources)
    assert video_id(scenario) in f"{info.title} {info.description}"
    assert info.author.name
    pictures = {
        (each.protocol, each.format_id, each.smaller_side)
        for each in info.formats
        if each.video_codec
    }
    assert pictures == formats
    assert any(each.audio_codec for each in info.formats)


@pytest.mark.parametrize(
    ("site", "scenario", "code"),
    [
        ("douyin", "missing", ErrorCode.CONTENT_NOT_FOUND),
        ("douyin", "selfsee", ErrorCode.CONTENT_PRIVATE),
        ("douyin", "members", ErrorCode.CONTENT_LOGIN_REQUIRED),
        ("douyin", "page.429", ErrorCode.RATE_LIMIT_API),
        ("douyin", "page.503", ErrorCode.NETWORK_SERVER),
        ("facebook", "missing", ErrorCode.CONTENT_NOT_FOUND),
        ("facebook", "private", ErrorCode.CONTENT_LOGIN_REQUIRED),
        ("facebook", "page.429", ErrorCode.RATE_LIMIT_API),
        ("facebook", "page.503", ErrorCode.NETWORK_SERVER),
        ("instagram", "missing", ErrorCode.CONTENT_NOT_FOUND),
        ("instagram", "members", ErrorCode.CONTENT_LOGIN_REQUIRED),
        ("instagram", "login", ErrorCode.RATE_LIMIT_API),
        ("instagram", "page.429", ErrorCode.RATE_LIMIT_API),
        ("instagram", "page.503", ErrorCode.NETWORK_SERVER),
        ("reddit", "page.404", ErrorCode.CONTENT_NOT_FOUND),
        ("reddit", "missing", ErrorCode.CONTENT_NOT_FOUND),
        ("reddit", "reviewing", ErrorCode.CONTENT_NOT_FOUND),
        ("reddit", "private", ErrorCode.CONTENT_PRIVATE),
        ("reddit", "page.429", ErrorCode.RATE_LIMIT_API),
        ("reddit", "page.503", ErrorCode.NETWORK_SERVER),
        ("reddit", "noformats", ErrorCode.CONTENT_NO_FORMATS),
        ("reddit", "stranger", ErrorCode.CONTENT_UNSUPPORTED),
        ("twitch", "missing", ErrorCode.CONTENT_NOT_FOUND),
        ("twitch", "page.401", ErrorCode.CONTENT_LOGIN_REQUIRED),
        ("twitch", "page.429", ErrorCode.RATE_LIMIT_API),
        ("twitch", "page.503", ErrorCode.NETWORK_SERVER),
        ("vimeo", "page.404", ErrorCode.CONTENT_NOT_FOUND),
        ("vimeo", "private", ErrorCode.CONTENT_PRIVATE),
        ("vimeo", "members", ErrorCode.CONTENT_PRIVATE),
        ("vimeo", "page.429", ErrorCode.RATE_LIMIT_API),
        ("vimeo", "page.403", ErrorCode.RATE_LIMIT_IP_BLOCK),
        ("vimeo", "page.503", ErrorCode.NETWORK_SERVER),
        ("vimeo", "noformats", ErrorCode.CONTENT_NO_FORMATS),
        ("x", "missing", ErrorCode.CONTENT_NOT_FOUND),
        ("x", "blocked", ErrorCode.CONTENT_NOT_FOUND),
        ("x", "private", ErrorCode.CONTENT_PRIVATE),
        ("x", "adults", ErrorCode.CONTENT_LOGIN_REQUIRED),
        ("x", "page.429", ErrorCode.RATE_LIMIT_API),
        ("x", "page.503", ErrorCode.NETWORK_SERVER),
        ("x", "noformats", ErrorCode.CONTENT_NO_FORMATS),
        ("youtube", "missing", ErrorCode.CONTENT_NOT_FOUND),
        ("youtube", "private", ErrorCode.CONTENT_PRIVATE),
        ("youtube", "age", ErrorCode.CONTENT_AGE_RESTRICTED),
        ("youtube", "captcha", ErrorCode.RATE_LIMIT_IP_BLOCK),
        ("youtube", "blocked", ErrorCode.RATE_LIMIT_API),
        ("youtube", "page.429", ErrorCode.RATE_LIMIT_API),
        ("youtube", "page.503", ErrorCode.NETWORK_SERVER),
    ],
)
async def test_failure_has_its_error_code(
    harness: EngineHarness, site: str, scenario: str, code: ErrorCode
) -> None:
    with pytest.raises(ClipmillError) as caught:
        await read(harness, site, scenario)
    assert caught.value.code is code, (caught.value, caught.value.details)
