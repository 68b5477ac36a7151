from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agents.engine.extractors import load_extractor
from agents.engine.interface import EngineFailure
from agents.platforms.interface import Platform
from agents.platforms.streamable import Streamable
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import ListingRef
from schemas.video import Extraction, VideoRef
from tests.unit.agents.platforms.doubles import FakeEngine, FakeFetcher

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VIDEO = VideoRef(platform="streamable", id="moo", url="https://streamable.com/moo")
FILE = "https://cdn-cf-east.streamable.com/video/mp4/moo.mp4?Expires=1800000000"
RAW = {"title": "a clip", "formats": [{"format_id": "mp4", "url": FILE, "vcodec": "h264"}]}


@pytest.fixture
def platform() -> Platform:
    return Streamable(clock=lambda: NOW)


async def read(platform: Platform, engine: FakeEngine) -> Extraction:
    return await platform.get_video_info(VIDEO, engine, egress="a", deadline_seconds=12)


def test_extractor_is_yt_dlp_s_and_accepts_canonical_urls() -> None:
    found = load_extractor(Streamable.capabilities.extractors[0])
    assert found.__module__ == "yt_dlp.extractor.streamable"
    assert found.suitable(VIDEO.url)


@pytest.mark.parametrize(
    ("url", "valid"),
    [
        ("https://streamable.com/login", True),
        ("https://example.com/moo", False),
        ("", False),
    ],
)
def test_url_is_valid_on_its_hosts(platform: Platform, url: str, valid: bool) -> None:
    assert platform.is_valid_url(url) is valid


def test_link_is_parsed_as_a_video(platform: Platform) -> None:
    assert platform.parse_url("https://streamable.com/e/moo") == VIDEO


async def test_page_is_read_as_a_video(platform: Platform) -> None:
    engine = FakeEngine(RAW)
    extraction = await read(platform, engine)
    assert [job.extractor for job in engine.jobs] == list(Streamable.capabilities.extractors)
    assert extraction.extracted_at == NOW
    info = platform.describe(VIDEO, extraction, platform.get_media_sources(extraction))
    assert (info.id, info.title, info.formats[0].video_codec) == ("moo", "a clip", "h264")
    assert [source.url for source in platform.get_media_sources(extraction)] == [FILE]
    assert platform.get_expiry_seconds(extraction) == 1_800_000_000


@pytest.mark.parametrize(
    ("failure", "code", "reason"),
    [
        (
            {"message": "This video is currently unavailable. It may still be uploading"},
            ErrorCode.CONTENT_NOT_FOUND,
            "Streamable video moo: it is still being processed",
        ),
        ({"message": "", "status": 404}, ErrorCode.CONTENT_NOT_FOUND, "Streamable answered 404"),
        ({"message": "", "status": 500}, ErrorCode.NETWORK_SERVER, "Streamable's servers"),
    ],
)
async def test_failure_is_mapped_to_a_clipmill_error(
    platform: Platform, failure: dict[str, Any], code: ErrorCode, reason: str
) -> None:
    engine = FakeEngine(failure=EngineFailure(types=("ExtractorError",), **failure))
    with pytest.raises(ClipmillError, match=reason) as caught:
        await read(platform, engine)
    assert caught.value.code is code


async def test_page_without_files_is_an_error(platform: Platform) -> None:
    with pytest.raises(ClipmillError, match="has no file") as caught:
        await read(platform, FakeEngine({"formats": []}))
    assert caught.value.code is ErrorCode.CONTENT_NO_FORMATS


async def test_download_is_limited_to_the_media_hosts(platform: Platform, tmp_path: Path) -> None:
    (source,) = platform.get_media_sources(await read(platform, FakeEngine(RAW)))
    fetcher = FakeFetcher()
    await platform.download_video(source, tmp_path / "x", fetcher, lambda *_: None)
    assert fetcher.arguments["hosts"] == Streamable.capabilities.media_hosts == (".streamable.com",)


async def test_listings_are_unsupported(platform: Platform) -> None:
    listing = ListingRef(platform="streamable", kind="profile", id="a", url=VIDEO.url)
    with pytest.raises(ClipmillError, match="Streamable has no listings"):
        await platform.get_listing(listing, FakeEngine(), egress="a", deadline_seconds=1, limit=1)


def test_clock_defaults_to_now() -> None:
    assert Streamable()._clock() > NOW
