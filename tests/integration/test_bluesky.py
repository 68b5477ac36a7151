"""Bluesky: yt-dlp's unmodified extractor against a stand-in of its API."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agents.platforms.bluesky import Bluesky
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import Extraction
from tests.integration.failure_samples import EngineHarness, engine_harness
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLATFORM = Bluesky()
URL = "https://bsky.app/profile/{}/post/{}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def harness(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EngineHarness]:
    async with engine_harness(tmp_path_factory.mktemp("standin")) as harness:
        yield harness


async def read(
    harness: EngineHarness, scenario: str, account: str = "some.bsky.social"
) -> Extraction:
    video = PLATFORM.parse_url(URL.format(account, video_id(scenario)))
    return await PLATFORM.get_video_info(video, harness.pool, egress="direct", deadline_seconds=8)


async def test_post_offers_its_streams_and_its_file(harness: EngineHarness) -> None:
    extraction = await read(harness, "ok")
    video = PLATFORM.parse_url(URL.format("some.bsky.social", video_id("ok")))
    sources = PLATFORM.get_media_sources(extraction)
    info = PLATFORM.describe(video, extraction, sources)
    assert info.title == f"Post {video_id('ok')}"
    found = {each.format.format_id: each.format for each in sources}
    assert {name: each.protocol for name, each in found.items()} == {
        "hls-a-sound": "hls",
        "hls-a-comments": "hls",
        "hls-300": "hls",
        "hls-900": "hls",
        "blob": "https",
    }
    assert found["hls-a-comments"].preference < found["hls-a-sound"].preference
    assert (found["hls-900"].smaller_side, found["hls-900"].audio_codec) == (720, None)


async def test_file_on_the_author_s_own_server_is_left_out(harness: EngineHarness) -> None:
    sources = PLATFORM.get_media_sources(await read(harness, "ok", "own.example"))
    assert {each.format.protocol for each in sources} == {"hls"}


@pytest.mark.parametrize(
    ("scenario", "code"),
    [
        ("missing", ErrorCode.CONTENT_NOT_FOUND),
        ("private", ErrorCode.CONTENT_PRIVATE),
        ("noitem", ErrorCode.CONTENT_NO_FORMATS),
        ("stranger", ErrorCode.CONTENT_UNSUPPORTED),
        ("page.429", ErrorCode.RATE_LIMIT_API),
        ("page.503", ErrorCode.NETWORK_SERVER),
    ],
)
async def test_failure_has_its_error_code(
    harness: EngineHarness, scenario: str, code: ErrorCode
) -> None:
    with pytest.raises(ClipmillError) as caught:
        await read(harness, scenario)
    assert caught.value.code is code, caught.value
