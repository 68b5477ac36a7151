from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.engine.extractors import load_extractor
from agents.engine.interface import EngineError, EngineFailure, EngineJob, EngineResult
from agents.network.download import Fetched
from agents.network.transfer import FetchLimits, OnBytes
from agents.platforms.interface import DEFAULT_LIMITS, Platform, ShortLink
from agents.platforms.tiktok.handler import EXTRACTOR, MEDIA_HOSTS, TikTok
from agents.platforms.tiktok.listings import EXTRACTORS
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import ListingKind, ListingRef
from schemas.video import Cookie, MediaSource, VideoFormat
from tests.unit.agents.platforms.hostile_urls import HOSTILE_URLS
from tests.unit.agents.platforms.tiktok.extractions import (
    EXTRACTED_AT,
    TOKEN,
    VERSIONS,
    extraction_of,
    raw_of,
    video_of,
)

VIDEO = video_of()


class FakeEngine:
    def __init__(
        self,
        raw: object = None,
        failure: EngineFailure | None = None,
        cookies: tuple[Cookie, ...] = (TOKEN,),
    ) -> None:
        self.raw = raw
        self.cookies = cookies
        self.failure = failure
        self.jobs: list[EngineJob] = []

    async def extract(self, job: EngineJob) -> EngineResult:
        self.jobs.append(job)
        if self.failure:
            raise EngineError(self.failure)
        body = msgspec.Raw(msgspec.json.encode(self.raw))
        return EngineResult(raw=body, cookies=self.cookies, versions=VERSIONS)


class FakeAccount:
    name = "main"

    def __init__(self, cookies: tuple[Cookie, ...]) -> None:
        self.cookies = cookies

    def renew(self, cookies: tuple[Cookie, ...]) -> None: ...


class FakeFetcher:
    def __init__(self) -> None:
        self.arguments: dict[str, Any] = {}

    async def fetch(
        self,
        source: MediaSource,
        target: Path,
        *,
        hosts: tuple[str, ...],
        limits: FetchLimits,
        on_bytes: OnBytes,
    ) -> Fetched:
        self.arguments = {"source": source, "target": target, "hosts": hosts, "limits": limits}
        on_bytes(5, 10)
        return Fetched(bytes=10, sha256="0" * 64, mime_type="video/mp4")


@pytest.fixture
def platform() -> Platform:
    return TikTok(clock=lambda: EXTRACTED_AT)


async def test_video_info_is_the_result_of_the_engine(platform: Platform) -> None:
    engine = FakeEngine(raw_of())
    extraction = await platform.get_video_info(VIDEO, engine, egress="a", deadline_seconds=12)
    assert extraction == extraction_of(raw_of())
    assert engine.jobs == [
        EngineJob(url=VIDEO.url, extractor=EXTRACTOR, egress="a", deadline_seconds=12)
    ]


async def test_story_is_read_from_its_video_page(platform: Platform) -> None:
    story = msgspec.structs.replace(VIDEO, url=VIDEO.url.replace("/video/", "/story/"))
    engine = FakeEngine(raw_of())
    extraction = await platform.get_video_info(story, engine, egress="a", deadline_seconds=12)
    assert engine.jobs[0].url == VIDEO.url
    assert (
        platform.describe(story, extraction, platform.get_media_sources(extraction)).url
        == story.url
    )


async def test_photo_post_without_music_is_complete(platform: Platform) -> None:
    video, raw = video_of("photo.mute"), raw_of("photo.mute")
    extraction = await platform.get_video_info(
        video, FakeEngine(raw), egress="a", deadline_seconds=12
    )
    info = platform.describe(video, extraction, platform.get_media_sources(extraction))
    assert info.content == "photos"
    assert {each.picture for each in info.formats} == {1, 2, 3}


def listing_of(kind: ListingKind = "profile") -> ListingRef:
    url = f"https://www.tiktok.com/@name{'' if kind == 'profile' else f'/{kind}/cats-7'}"
    return ListingRef(platform="tiktok", kind=kind, id="name", url=url)


LIST = {
    "_type": "playlist",
    "title": "name",
    "entries": [{"url": VIDEO.url, "id": VIDEO.id}],
    "clipmill_complete": True,
}


@pytest.mark.parametrize("kind", EXTRACTORS)
async def test_listing_is_the_result_of_the_engine(kind: ListingKind, platform: Platform) -> None:
    listing, engine = listing_of(kind), FakeEngine(LIST)
    found = await platform.get_listing(listing, engine, egress="a", deadline_seconds=12, limit=20)
    assert [post.id for post in found.entries] == [VIDEO.id]
    assert (found.kind, found.id, found.url) == (kind, "name", listing.url)
    assert engine.jobs == [
        EngineJob(
            url=listing.url,
            extractor=EXTRACTORS[kind],
            egress="a",
            deadline_seconds=12,
            entries_max=20,
        )
    ]


async def test_listing_is_requested_with_account_cookies(platform: Platform) -> None:
    cookies = (Cookie(name="sessionid", value="s3cret", domain=".tiktok.com"),)
    engine = FakeEngine(LIST)
    await platform.get_listing(
        listing_of(),
        engine,
        egress="a",
        deadline_seconds=12,
        limit=20,
        account=FakeAccount(cookies),
    )
    assert engine.jobs[0].cookies == cookies


async def test_failed_listing_names_the_profile(platform: Platform) -> None:
    engine = FakeEngine(failure=EngineFailure(types=("EngineTimeout",), message="not done"))
    with pytest.raises(ClipmillError, match="TikTok profile name: its page") as caught:
        await platform.get_listing(listing_of(), engine, egress="a", deadline_seconds=12, limit=20)
    assert caught.value.code is ErrorCode.NETWORK_TIMEOUT


async def test_playlist_is_refused_without_a_request(platform: Platform) -> None:
    engine = FakeEngine(LIST)
    with pytest.raises(ClipmillError, match="no extractor reads TikTok's playlists") as caught:
        await platform.get_listing(
            listing_of("playlist"), engine, egress="a", deadline_seconds=12, limit=20
        )
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
    assert not engine.jobs


def test_extractor_accepts_canonical_urls() -> None:
    assert load_extractor(EXTRACTOR).suitable(VIDEO.url)


async def test_engine_failure_is_mapped_to_a_clipmill_error(platform: Platform) -> None:
    engine = FakeEngine(failure=EngineFailure(types=("EngineTimeout",), message="not done"))
    with pytest.raises(ClipmillError, match=VIDEO.id) as caught:
        await platform.get_video_info(VIDEO, engine, egress="a", deadline_seconds=12)
    assert caught.value.code is ErrorCode.NETWORK_TIMEOUT
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (raw_of("noformats"), ErrorCode.CONTENT_NO_FORMATS),
        ({}, ErrorCode.CONTENT_NO_FORMATS),
        ({"formats": [{"url": "http://127.0.0.1/"}]}, ErrorCode.CONTENT_NO_FORMATS),
        ([], ErrorCode.PLATFORM_CHANGED),
        (None, ErrorCode.PLATFORM_CHANGED),
    ],
    ids=["no formats", "empty", "no usable link", "list", "null"],
)
async def test_page_without_files_is_an_error(
    platform: Platform, raw: object, code: ErrorCode
) -> None:
    with pytest.raises(ClipmillError) as caught:
        await platform.get_video_info(VIDEO, FakeEngine(raw), egress="a", deadline_seconds=12)
    assert caught.value.code is code


async def test_clock_defaults_to_now() -> None:
    extraction = await TikTok().get_video_info(
        VIDEO, FakeEngine(raw_of()), egress="a", deadline_seconds=12
    )
    assert extraction.extracted_at.tzinfo is not None
    assert extraction.extracted_at > EXTRACTED_AT.replace(year=2020)


def test_description_and_sources_have_the_same_formats(platform: Platform) -> None:
    extraction = extraction_of(raw_of())
    sources = platform.get_media_sources(extraction)
    assert platform.describe(
        VIDEO, extraction, platform.get_media_sources(extraction)
    ).formats == tuple(each.format for each in sources)
    assert {source.cookies for source in sources} == {(TOKEN,)}


def test_expiry_is_the_earliest_of_the_links(platform: Platform) -> None:
    extraction = extraction_of(raw_of())
    assert platform.get_expiry_seconds(extraction) == EXTRACTED_AT.timestamp() + 48 * 3600
    assert platform.get_expiry_seconds(extraction_of(raw_of("noformats"))) is None


@pytest.mark.parametrize("limits", [DEFAULT_LIMITS, FetchLimits(max_bytes=7)])
async def test_download_passes_hosts_limits_and_progress(
    platform: Platform, tmp_path: Path, limits: FetchLimits
) -> None:
    source = MediaSource(
        format=VideoFormat(format_id="play", container="mp4"), url="https://v16.tiktokcdn.com/x"
    )
    fetcher, seen, target = FakeFetcher(), list[tuple[int, int | None]](), tmp_path / "x"
    fetched = await platform.download_video(
        source, target, fetcher, lambda *now: seen.append(now), limits=limits
    )
    assert fetched.bytes == 10
    assert seen == [(5, 10)]
    assert fetcher.arguments == {
        "source": source,
        "target": target,
        "hosts": MEDIA_HOSTS,
        "limits": limits,
    }


def test_media_hosts_are_suffixes_that_cover_the_page_s_files(platform: Platform) -> None:
    assert all(host.startswith(".") for host in MEDIA_HOSTS)
    hosts = [
        source.url.split("/")[2] for source in platform.get_media_sources(extraction_of(raw_of()))
    ]
    assert all(host.endswith(MEDIA_HOSTS) for host in hosts)


def test_capabilities_of_tiktok(platform: Platform) -> None:
    capabilities = platform.get_capabilities()
    assert capabilities.name == "tiktok"
    assert {"www.tiktok.com", "vm.tiktok.com"} <= set(capabilities.page_hosts) & set(
        capabilities.link_hosts
    )
    assert capabilities.media_hosts == MEDIA_HOSTS
    assert capabilities.content == ("video", "photos")
    assert capabilities.listings == ("profile", "collection")
    assert capabilities.extractors == (EXTRACTOR, *EXTRACTORS.values())
    assert all(load_extractor(name) for name in capabilities.extractors)


@pytest.mark.parametrize(
    ("url", "valid"),
    [
        (VIDEO.url, True),
        ("https://vm.tiktok.com/ZMabc/", True),
        ("https://www.tiktok.com/@name", True),
        ("https://example.com/", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
)
def test_url_is_valid_on_tiktok_hosts(platform: Platform, url: str, valid: bool) -> None:
    assert platform.is_valid_url(url) is valid


def test_is_valid_url_never_raises(platform: Platform) -> None:
    texts = [hostile.url for hostile in HOSTILE_URLS if isinstance(hostile.url, str)]
    assert {type(platform.is_valid_url(text)) for text in texts} == {bool}


def test_url_is_parsed_as_video_or_short_link(platform: Platform) -> None:
    assert platform.parse_url(VIDEO.url) == VIDEO
    assert platform.parse_url("vm.tiktok.com/ZMa") == ShortLink(url="https://vm.tiktok.com/ZMa/")


async def test_account_cookies_are_sent_and_not_returned() -> None:
    cookies = (
        Cookie(name="sessionid", value="s3cret", domain=".tiktok.com"),
        Cookie(name=TOKEN.name, value="old", domain=".tiktok.com"),
    )
    renewed = msgspec.structs.replace(cookies[0], value="s3cret too")
    engine = FakeEngine(raw_of(), cookies=(renewed, TOKEN))
    found = await TikTok().get_video_info(
        VIDEO, engine, egress="a", deadline_seconds=12, account=FakeAccount(cookies)
    )
    assert engine.jobs[0].cookies == cookies
    assert found.cookies == (TOKEN,)


# Media hosts


def at_host(host: str, *, scenario: str = "ok", only_first: bool = False) -> dict[str, Any]:
    """Return the info dictionary of a post with its files at another host."""
    raw = raw_of(scenario)
    for row in raw["formats"][: 1 if only_first else None]:
        row["url"] = f"https://{host}/file"
    return raw


@pytest.mark.parametrize(
    "host", ["v16.cdn.example.net", "tiktokcdn.com.evil.example", "eviltiktokcdn.com"]
)
async def test_files_on_unknown_hosts_only_are_an_error_that_names_them(
    platform: Platform, host: str
) -> None:
    engine = FakeEngine(at_host(host))
    with pytest.raises(ClipmillError) as caught:
        await platform.get_video_info(VIDEO, engine, egress="a", deadline_seconds=12)
    error = caught.value
    assert (error.code, error.details["hosts"]) == (ErrorCode.PLATFORM_CHANGED, host)
    assert host in error.message
    assert "platforms.tiktok.media_hosts" in error.details["reason"]


async def test_media_host_can_be_added() -> None:
    platform = TikTok().with_media_hosts((".cdn.example.net",))
    raw = at_host("v16.cdn.example.net")
    extraction = await platform.get_video_info(
        VIDEO, FakeEngine(raw), egress="a", deadline_seconds=12
    )
    sources = platform.get_media_sources(extraction)
    assert len(sources) == len(TikTok().get_media_sources(extraction_of(raw_of())))
    fetcher = FakeFetcher()
    await platform.download_video(sources[0], Path("x"), fetcher, lambda *_: None)
    assert fetcher.arguments["hosts"] == (*MEDIA_HOSTS, ".cdn.example.net")
    assert platform.get_capabilities().media_hosts == (*MEDIA_HOSTS, ".cdn.example.net")
    assert TikTok().get_capabilities().media_hosts == MEDIA_HOSTS


def test_file_on_an_unknown_host_is_dropped(platform: Platform) -> None:
    every = platform.get_media_sources(extraction_of(raw_of()))
    raw = at_host("v16.cdn.example.net", only_first=True)
    kept = platform.get_media_sources(extraction_of(raw))
    assert [each.format.format_id for each in kept] == [
        each.format.format_id for each in every if each.url != raw_of()["formats"][0]["url"]
    ]


def test_picture_on_an_unknown_host_is_kept(platform: Platform) -> None:
    raw = raw_of("photo.mute")
    raw["images"][1]["urls"] = ["https://pictures.example.net/2"]
    sources = platform.get_media_sources(extraction_of(raw))
    assert {each.format.picture for each in sources} == {1, 2, 3}


def test_redirect_target_is_part_of_the_description(platform: Platform) -> None:
    moved = {**raw_of(), "redirected_to": "7999999999999999999"}
    info = platform.describe(
        VIDEO, extraction_of(moved), platform.get_media_sources(extraction_of(moved))
    )
    assert (info.id, info.redirected_to) == (VIDEO.id, "7999999999999999999")
    assert (
        platform.describe(
            VIDEO, extraction_of(raw_of()), platform.get_media_sources(extraction_of(raw_of()))
        ).redirected_to
        is None
    )
