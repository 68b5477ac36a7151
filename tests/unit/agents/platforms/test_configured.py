from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.engine.interface import EngineFailure
from agents.network.transfer import FetchLimits
from agents.platforms.configured import ConfiguredPlatform
from agents.platforms.interface import DEFAULT_LIMITS, Platform, ShortLink
from agents.platforms.urls import parse_link
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import ListingRef
from schemas.video import Extraction, VideoRef
from tests.unit.agents.platforms.doubles import VERSIONS, FakeEngine, FakeFetcher
from tests.unit.agents.platforms.hostile_urls import HOSTILE_URLS, Hostile

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FILE = "https://cdn.mine.example/a.mp4?expires=1800000000"
VIDEO = {"id": "1", "title": "a clip", "url": FILE}


class Site:
    """A site as configured in the settings."""

    hosts = ("mine.example", "www.mine.example")
    short_hosts = ("mi.ne",)
    extractors = ("Mine", "MineEmbed")
    media_hosts = (".mine.example",)


@pytest.fixture
def platform() -> Platform:
    return ConfiguredPlatform("mine", Site(), clock=lambda: NOW)


def video(platform: Platform, url: str = "https://mine.example/a") -> VideoRef:
    found = platform.parse_url(url)
    assert isinstance(found, VideoRef)
    return found


async def read(platform: Platform, engine: FakeEngine) -> Extraction:
    return await platform.get_video_info(video(platform), engine, egress="a", deadline_seconds=12)


def test_capabilities_come_from_the_settings(platform: Platform) -> None:
    capabilities = platform.get_capabilities()
    assert capabilities.name == "mine"
    assert capabilities.page_hosts == ("mine.example", "www.mine.example", "mi.ne")
    assert capabilities.link_hosts == ("mi.ne",)
    assert capabilities.media_hosts == (".mine.example",)
    assert capabilities.extractors == ("yt-dlp:Mine,MineEmbed",)
    assert capabilities.content == ("video",)
    assert capabilities.listings == ()


@pytest.mark.parametrize(
    ("url", "valid"),
    [
        ("https://mine.example/a", True),
        ("WWW.Mine.example/a", True),
        ("https://mi.ne/x", True),
        ("https://notmine.example/a", False),
        ("https://mine.example.evil.example/a", False),
        ("https://cdn.mine.example/a", False),
        ("nonsense", False),
    ],
)
def test_url_is_valid_on_its_hosts(platform: Platform, url: str, valid: bool) -> None:
    assert platform.is_valid_url(url) is valid


def test_link_of_another_site_is_rejected(platform: Platform) -> None:
    with pytest.raises(ClipmillError, match=r"other\.example is not a host of mine") as caught:
        platform.parse_url("https://other.example/a")
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED


@pytest.mark.parametrize("hostile", HOSTILE_URLS, ids=lambda hostile: hostile.name)
def test_hostile_links_are_rejected(platform: Platform, hostile: Hostile) -> None:
    with pytest.raises(ClipmillError):
        platform.parse_url(hostile.url)  # type: ignore[arg-type]


def test_short_link_is_parsed_for_resolution(platform: Platform) -> None:
    assert platform.parse_url("http://mi.ne/x?utm_source=y") == ShortLink(url="https://mi.ne/x")


async def test_page_is_read_by_the_configured_extractors(platform: Platform) -> None:
    engine = FakeEngine(VIDEO)
    extraction = await read(platform, engine)
    (job,) = engine.jobs
    assert (job.url, job.extractor) == ("https://mine.example/a", "yt-dlp:Mine,MineEmbed")
    assert (job.egress, job.deadline_seconds) == ("a", 12)
    assert extraction.extracted_at == NOW
    info = platform.describe(video(platform), extraction, platform.get_media_sources(extraction))
    assert info.id == video(platform).id
    assert info.title == "a clip"
    (source,) = platform.get_media_sources(extraction)
    assert (source.url, source.format) == (FILE, info.formats[0])
    assert platform.get_expiry_seconds(extraction) == 1_800_000_000


@pytest.mark.parametrize(
    ("raw", "code", "reason"),
    [
        ({"_type": "playlist", "entries": []}, ErrorCode.CONTENT_UNSUPPORTED, "several videos"),
        ({"_type": "multi_video"}, ErrorCode.CONTENT_UNSUPPORTED, "several videos"),
        (
            {"_type": "url", "url": "https://u:p@other.example/x?token=hunter2"},
            ErrorCode.CONTENT_UNSUPPORTED,
            "leads to other.example, which no extractor",
        ),
        ({"_type": "url_transparent", "url": "https://["}, ErrorCode.CONTENT_UNSUPPORTED, "leads"),
        ({"_type": "url"}, ErrorCode.CONTENT_UNSUPPORTED, "leads to another page"),
        ({}, ErrorCode.CONTENT_NO_FORMATS, "has no file"),
        ({"url": "https://a.example/x.f4m"}, ErrorCode.CONTENT_NO_FORMATS, "HLS and DASH"),
        ([], ErrorCode.PLATFORM_CHANGED, "does not describe a video"),
        (None, ErrorCode.PLATFORM_CHANGED, "does not describe a video"),
    ],
)
async def test_result_that_is_no_single_video_is_rejected(
    platform: Platform, raw: Any, code: ErrorCode, reason: str
) -> None:
    with pytest.raises(ClipmillError, match=reason) as caught:
        await read(platform, FakeEngine(raw))
    assert caught.value.code is code
    assert "hunter2" not in str(caught.value)


async def test_failure_names_the_platform(platform: Platform) -> None:
    engine = FakeEngine(failure=EngineFailure(types=("HTTPError",), message="", status=503))
    with pytest.raises(ClipmillError, match="mine's servers failed to answer") as caught:
        await read(platform, engine)
    assert caught.value.code is ErrorCode.NETWORK_SERVER


async def test_download_is_limited_to_the_media_hosts(platform: Platform, tmp_path: Path) -> None:
    (source,) = platform.get_media_sources(await read(platform, FakeEngine(VIDEO)))
    fetcher, progress = FakeFetcher(), list[tuple[int, int | None]]()
    limits = FetchLimits(total_seconds=3)
    fetched = await platform.download_video(
        source, tmp_path / "x", fetcher, lambda *now: progress.append(now), limits=limits
    )
    assert fetched.bytes == 10
    assert progress == [(5, 10)]
    assert fetcher.arguments["hosts"] == (".mine.example",)
    assert fetcher.arguments["limits"] == limits != DEFAULT_LIMITS


async def test_listings_are_unsupported(platform: Platform) -> None:
    listing = ListingRef(platform="mine", kind="profile", id="a", url="https://mine.example/a")
    with pytest.raises(ClipmillError, match="mine has no listings") as caught:
        await platform.get_listing(listing, FakeEngine(), egress="a", deadline_seconds=1, limit=1)
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED


def test_clock_defaults_to_now() -> None:
    assert ConfiguredPlatform("mine", Site())._clock() > NOW


def test_invalid_raw_result_is_an_error_on_use(platform: Platform) -> None:
    extraction = Extraction(raw=msgspec.Raw(b"[1"), engine=VERSIONS, extracted_at=NOW)
    with pytest.raises(ClipmillError, match="does not describe a video"):
        platform.get_media_sources(extraction)


def test_canonical_url_is_parsed_unchanged(platform: Platform) -> None:
    url = "https://mine.example/a?b=1"
    assert parse_link(video(platform, url).url).url == url
