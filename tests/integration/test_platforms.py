"""Streamable in code and HitRecord by settings: yt-dlp's unmodified extractors and real files."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from agents.network.session import open_session
from agents.platforms.configured import ConfiguredPlatform
from agents.platforms.extractor_names import check_extractors
from agents.platforms.interface import Platform, ShortLink
from agents.platforms.registry import Platforms
from agents.platforms.short_links import LinkResolver
from agents.platforms.streamable import Streamable
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import Extraction, MediaSource, VideoRef
from streams.settings.platforms import ConfiguredSite
from tests.integration.failure_samples import EngineHarness, engine_harness
from tests.integration.media_client import fetch, sha256_of
from tests.standin import expected_media, video_id
from tests.standin.other_sites import FILES

pytestmark = pytest.mark.asyncio(loop_scope="module")

SITE = ConfiguredSite(
    hosts=("hitrecord.org", "www.hitrecord.org"),
    extractors=("Livestreamfails", "HitRecord"),
    media_hosts=(".hitrecord.org",),
    short_hosts=("go.hitrecord.org",),
)
SMALL = video_id("kilobytes", param=64, serial=7)
PAGES = {"streamable": "https://streamable.com/{}", "hitrecord": "https://hitrecord.org/records/{}"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def harness(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EngineHarness]:
    async with engine_harness(tmp_path_factory.mktemp("standin")) as harness:
        yield harness


@pytest.fixture(scope="module")
def platforms() -> Platforms:
    return Platforms([Streamable(), ConfiguredPlatform("hitrecord", SITE)])


def post_of(platform: Platform, url: str) -> VideoRef:
    found = platform.parse_url(url)
    assert isinstance(found, VideoRef)
    return found


async def read(harness: EngineHarness, platform: Platform, url: str) -> Extraction:
    video = post_of(platform, url)
    return await platform.get_video_info(video, harness.pool, egress="direct", deadline_seconds=5)


async def sources_of(
    harness: EngineHarness, platform: Platform, url: str
) -> tuple[MediaSource, ...]:
    return platform.get_media_sources(await read(harness, platform, url))


@pytest.mark.parametrize(
    ("name", "title", "sizes"),
    [
        ("streamable", f"Clip {SMALL}", [(720, 1280, "h264", "aac"), (576, 1024, "h264", "aac")]),
        ("hitrecord", f"Record {SMALL}", [(None, None, "unknown", "unknown")]),
    ],
)
async def test_metadata_of_a_page(
    harness: EngineHarness,
    platforms: Platforms,
    name: str,
    title: str,
    sizes: list[tuple[int | None, int | None, str, str]],
) -> None:
    platform, url = platforms.by_name(name), PAGES[name].format(SMALL)
    extraction = await read(harness, platform, url)
    info = platform.describe(
        post_of(platform, url), extraction, platform.get_media_sources(extraction)
    )
    assert (info.platform, info.title, info.duration_seconds) == (name, title, 10)
    assert info.author.name is not None
    assert info.statistics.views == 97
    assert [(f.width, f.height, f.video_codec, f.audio_codec) for f in info.formats] == sizes
    assert {each.container for each in info.formats} == {"mp4"}
    assert extraction.engine == harness.pool.stats().versions


@pytest.mark.parametrize(("name", "files"), [("streamable", list(FILES)), ("hitrecord", ["mp4"])])
async def test_every_source_is_the_expected_file(
    harness: EngineHarness, platforms: Platforms, tmp_path: Path, name: str, files: list[str]
) -> None:
    platform = platforms.by_name(name)
    hosts = platform.get_capabilities().media_hosts
    sources = await sources_of(harness, platform, PAGES[name].format(SMALL))
    for source, file in zip(sources, files, strict=True):
        fetched = await fetch(harness.egress, source, tmp_path / file, hosts=hosts)
        expected = expected_media(SMALL, FILES[file])
        assert (fetched.bytes, fetched.sha256) == (expected.size, expected.sha256)
        assert sha256_of(tmp_path / file) == expected.sha256


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(
    ("scenario", "code"),
    [
        ("page.404", ErrorCode.CONTENT_NOT_FOUND),
        ("page.403", ErrorCode.RATE_LIMIT_IP_BLOCK),
        ("page.429", ErrorCode.RATE_LIMIT_API),
        ("page.451", ErrorCode.CONTENT_GEO_BLOCKED),
        ("page.503", ErrorCode.NETWORK_SERVER),
        ("page.418", ErrorCode.PLATFORM_CHANGED),
        ("noformats", ErrorCode.CONTENT_NO_FORMATS),
    ],
)
async def test_failure_has_its_error_code(
    harness: EngineHarness, platforms: Platforms, name: str, scenario: str, code: ErrorCode
) -> None:
    with pytest.raises(ClipmillError) as caught:
        await read(harness, platforms.by_name(name), PAGES[name].format(video_id(scenario)))
    assert caught.value.code is code


async def test_retry_after_is_reported(harness: EngineHarness, platforms: Platforms) -> None:
    url = PAGES["hitrecord"].format(video_id("page.429after", param=17))
    with pytest.raises(ClipmillError) as caught:
        await read(harness, platforms.by_name("hitrecord"), url)
    assert caught.value.retry_after == 17


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("streamable", ErrorCode.CONTENT_NOT_FOUND, "still being processed"),
        ("hitrecord", ErrorCode.PLATFORM_CHANGED, "could not be parsed"),
    ],
)
async def test_site_message_determines_the_error(
    harness: EngineHarness, platforms: Platforms, name: str, code: ErrorCode, message: str
) -> None:
    with pytest.raises(ClipmillError, match=message) as caught:
        await read(harness, platforms.by_name(name), PAGES[name].format(video_id("missing")))
    assert caught.value.code is code


@pytest.mark.parametrize("name", PAGES)
async def test_streams_without_files_name_the_reason(
    harness: EngineHarness, platforms: Platforms, name: str
) -> None:
    with pytest.raises(ClipmillError, match="HLS and DASH"):
        await read(harness, platforms.by_name(name), PAGES[name].format(video_id("noformats")))


@pytest.mark.parametrize("name", PAGES)
async def test_file_on_a_foreign_host_is_not_fetched(
    harness: EngineHarness, platforms: Platforms, tmp_path: Path, name: str
) -> None:
    platform = platforms.by_name(name)
    sources = await sources_of(harness, platform, PAGES[name].format(video_id("hostile")))
    before = harness.standin.counters.requests["media"]
    hosts = platform.get_capabilities().media_hosts
    with pytest.raises(ClipmillError, match=r"files\.elsewhere\.example") as caught:
        await fetch(harness.egress, sources[0], tmp_path / "file", hosts=hosts)
    assert caught.value.code is ErrorCode.PLATFORM_CHANGED
    assert harness.standin.counters.requests["media"] == before


@pytest.mark.parametrize("path", ["about", "records/", "watch?v=1", "records/x"])
async def test_page_without_a_suitable_extractor_is_not_requested(
    harness: EngineHarness, platforms: Platforms, path: str
) -> None:
    before = harness.standin.counters.connections
    with pytest.raises(ClipmillError, match="does not know this kind of page") as caught:
        await read(harness, platforms.by_name("hitrecord"), f"https://hitrecord.org/{path}")
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
    assert harness.standin.counters.connections == before


async def test_short_link_resolves_to_its_page(
    harness: EngineHarness, platforms: Platforms
) -> None:
    platform = platforms.by_name("hitrecord")
    short = platform.parse_url(f"https://go.hitrecord.org/{SMALL}")
    assert isinstance(short, ShortLink)
    async with open_session(harness.egress) as session:
        found = await LinkResolver(session).resolve(short, platform)
    assert found == platform.parse_url(PAGES["hitrecord"].format(SMALL))


def platforms_with_extractors(*extractors: str) -> Platforms:
    site = SITE.model_copy(update={"extractors": extractors})
    return Platforms.from_entry_points([], {"mine": site})


async def test_valid_extractor_names_pass(harness: EngineHarness, platforms: Platforms) -> None:
    await check_extractors(platforms, harness.pool)
    await check_extractors(Platforms([]), harness.pool)


@pytest.mark.parametrize(
    ("extractor", "message"),
    [
        ("HitRecrd", "no extractor named HitRecrd; similar ones: HitRecord"),
        ("hitrecord", "similar ones: HitRecord"),
        ("Zzzzzzzzzz", "yt-dlp has no extractor named Zzzzzzzzzz$"),
        ("Generic", "Generic reads pages of any site, which is never allowed"),
        ("WordpressPlaylistEmbed", "has no URL pattern"),
    ],
)
async def test_invalid_extractor_name_is_reported_before_the_first_request(
    harness: EngineHarness, extractor: str, message: str
) -> None:
    with pytest.raises(ClipmillError, match=rf"platforms\.mine\.extractors: .*{message}") as caught:
        await check_extractors(platforms_with_extractors("HitRecord", extractor), harness.pool)
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG


async def test_only_engine_processes_import_yt_dlp() -> None:
    """Importing it costs memory and time, and the engine may use another release."""
    stages = (
        "validation.agent extraction.agent selection download.agent recovery.agent commands.agent "
        "engine_check"
    )
    script = "; ".join(
        [
            "import sys",
            *(f"import agents.{stage}" for stage in stages.split()),
            "from agents.platforms.registry import Platforms",
            "Platforms.load()",
            "print('yt_dlp' in sys.modules)",
        ]
    )
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script), stdout=subprocess.PIPE
    )
    output, _ = await child.communicate()
    assert output == b"False\n"
