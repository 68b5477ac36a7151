"""Posts of other sites with a login, with several files, and after a rate limit."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from schemas.errors import ClipmillError, ErrorCode
from schemas.video import Cookie, VideoRef
from tests.integration.failure_samples import EngineHarness, engine_harness
from tests.integration.sites import DEADLINE_SECONDS, PLATFORMS, URLS, post_of
from tests.standin import video_id
from tests.unit.agents.platforms.doubles import FakeAccount

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def harness(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EngineHarness]:
    async with engine_harness(tmp_path_factory.mktemp("standin")) as harness:
        yield harness


async def test_limited_post_of_x_is_read_from_the_api_of_embedded_posts(
    harness: EngineHarness,
) -> None:
    video = PLATFORMS["x"].parse_url(URLS["x"].format(video_id("page.429", times=1)))
    assert isinstance(video, VideoRef)
    extraction = await PLATFORMS["x"].get_video_info(
        video, harness.pool, egress="direct", deadline_seconds=DEADLINE_SECONDS
    )
    sources = PLATFORMS["x"].get_media_sources(extraction)
    assert "http-2176" in {each.format.format_id for each in sources}


PRIVATE_CODE = video_id("members") + "x" * 28
"""Codes of private posts have 28 further characters."""


async def test_post_of_instagram_for_followers_is_private(harness: EngineHarness) -> None:
    video = PLATFORMS["instagram"].parse_url(URLS["instagram"].format(PRIVATE_CODE))
    assert isinstance(video, VideoRef)
    with pytest.raises(ClipmillError) as caught:
        await PLATFORMS["instagram"].get_video_info(
            video, harness.pool, egress="direct", deadline_seconds=DEADLINE_SECONDS
        )
    assert caught.value.code is ErrorCode.CONTENT_PRIVATE


@pytest.mark.parametrize(
    ("site", "cookie", "formats"),
    [
        ("douyin", "s_v_web_id", ["h264_720p_800000"]),
        ("facebook", "xs", ["0", "1", "sd", "hd"]),
        ("instagram", "sessionid", ["101v", "102v"]),
    ],
)
async def test_post_for_members_is_read_with_a_login(
    harness: EngineHarness, site: str, cookie: str, formats: list[str]
) -> None:
    account = FakeAccount(Cookie(name=cookie, value="secret", domain=f".{site}.com"))
    extraction = await PLATFORMS[site].get_video_info(
        post_of(site, "members"),
        harness.pool,
        egress="direct",
        deadline_seconds=DEADLINE_SECONDS,
        account=account,
    )
    sources = PLATFORMS[site].get_media_sources(extraction)
    assert [each.format.format_id for each in sources] == formats
    assert not extraction.cookies


@pytest.mark.parametrize(
    ("site", "scenario", "pictures"),
    [
        ("douyin", "photo", [1, 2, 3]),
        ("instagram", "photo", [1, 3]),
        ("instagram", "photo.mute", [1]),
    ],
)
async def test_post_has_its_pictures(
    harness: EngineHarness, site: str, scenario: str, pictures: list[int]
) -> None:
    post = video_id(scenario, param=3 if scenario == "photo" else 1)
    video = PLATFORMS[site].parse_url(URLS[site].format(post))
    assert isinstance(video, VideoRef)
    extraction = await PLATFORMS[site].get_video_info(
        video, harness.pool, egress="direct", deadline_seconds=DEADLINE_SECONDS
    )
    sources = PLATFORMS[site].get_media_sources(extraction)
    found = [each.format for each in sources if not each.format.motion]
    info = PLATFORMS[site].describe(video, extraction, sources)
    assert (info.content, info.missing_pictures) == ("photos", ())
    assert {each.width for each in found} == {1080}
    assert [each.picture for each in found] == pictures
