"""Streamable by code and HitRecord by settings: yt-dlp's own extractors, unchanged, real files."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from agents.network.session import open_session
from agents.platforms.configured.handler import ConfiguredPlatform
from agents.platforms.extractor_names import check_extractors
from agents.platforms.interface import Platform, ShortLink
from agents.platforms.links import LinkResolver
from agents.platforms.registry import Platforms
from agents.platforms.streamable.handler import Streamable
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import Extraction, MediaSource, VideoRef
from streams.settings.platforms import ConfiguredSite
from tests.integration.failure_samples import Stage, staged
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
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("standin")) as stage:
        yield stage


@pytest.fixture(scope="module")
def platforms() -> Platforms:
    return Platforms([Streamable(), ConfiguredPlatform("hitrecord", SITE)])


def post_of(platform: Platform, url: str) -> VideoRef:
    found = platform.parse_url(url)
    assert isinstance(found, VideoRef)
    return found


async def read(stage: Stage, platform: Platform, url: str) -> Extraction:
    video = post_of(platform, url)
    return await platform.get_video_info(video, stage.pool, egress="direct", deadline_seconds=5)


async def sources_of(stage: Stage, platform: Platform, url: str) -> tuple[MediaSource, ...]:
    return platform.get_media_sources(await read(stage, platform, url))


@pytest.mark.parametrize(
    ("name", "title", "sizes"),
    [
        ("streamable", f"Clip {SMALL}", [(720, 1280, "h264", "aac"), (576, 1024, "h264", "aac")]),
        ("hitrecord", f"Record {SMALL}", [(None, None, "unknown", "unknown")]),
    ],
)
async def test_what_a_page_tells(
    stage: Stage,
    platforms: Platforms,
    name: str,
    title: str,
    sizes: list[tuple[int | None, int | None, str, str]],
) -> None:
    platform, url = platforms.by_name(name), PAGES[name].format(SMALL)
    extraction = await read(stage, platform, url)
    info = platform.describe(post_of(platform, url), extraction)
    assert (info.platform, info.title, info.duration_seconds) == (name, title, 10)
    assert info.author.name is not None
    assert info.statistics.views == 97
    assert [(f.width, f.height, f.video_codec, f.audio_codec) for f in info.formats] == sizes
    assert {each.container for each in info.formats} == {"mp4"}
    assert extraction.engine == stage.pool.stats().versions


@pytest.mark.parametrize(("name", "files"), [("streamable", list(FILES)), ("hitrecord", ["mp4"])])
async def test_every_file_is_the_one_that_is_meant(
    stage: Stage, platforms: Platforms, tmp_path: Path, name: str, files: list[str]
) -> None:
    platform = platforms.by_name(name)
    hosts = platform.get_capabilities().media_hosts
    sources = await sources_of(stage, platform, PAGES[name].format(SMALL))
    for source, file in zip(sources, files, strict=True):
        fetched = await fetch(stage.egress, source, tmp_path / file, hosts=hosts)
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
async def test_a_failure_has_its_meaning(
    stage: Stage, platforms: Platforms, name: str, scenario: str, code: ErrorCode
) -> None:
    with pytest.raises(ClipmillError) as caught:
        await read(stage, platforms.by_name(name), PAGES[name].format(video_id(scenario)))
    assert caught.value.code is code


async def test_retry_after_is_heeded(stage: Stage, platforms: Platforms) -> None:
    url = PAGES["hitrecord"].format(video_id("page.429after", param=17))
    with pytest.raises(ClipmillError) as caught:
        await read(stage, platforms.by_name("hitrecord"), url)
    assert caught.value.retry_after == 17


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("streamable", ErrorCode.CONTENT_NOT_FOUND, "still being processed"),
        ("hitrecord", ErrorCode.PLATFORM_CHANGED, "could not be understood"),
    ],
)
async def test_the_site_s_own_words(
    stage: Stage, platforms: Platforms, name: str, code: ErrorCode, said: str
) -> None:
    with pytest.raises(ClipmillError, match=said) as caught:
        await read(stage, platforms.by_name(name), PAGES[name].format(video_id("missing")))
    assert caught.value.code is code


@pytest.mark.parametrize("name", PAGES)
async def test_streams_are_no_files_and_the_reason_is_told(
    stage: Stage, platforms: Platforms, name: str
) -> None:
    with pytest.raises(ClipmillError, match="HLS or DASH"):
        await read(stage, platforms.by_name(name), PAGES[name].format(video_id("noformats")))


@pytest.mark.parametrize("name", PAGES)
async def test_a_file_on_a_host_of_somebody_else_is_not_fetched(
    stage: Stage, platforms: Platforms, tmp_path: Path, name: str
) -> None:
    platform = platforms.by_name(name)
    sources = await sources_of(stage, platform, PAGES[name].format(video_id("hostile")))
    before = stage.standin.counters.requests["media"]
    hosts = platform.get_capabilities().media_hosts
    with pytest.raises(ClipmillError, match=r"files\.elsewhere\.example") as caught:
        await fetch(stage.egress, sources[0], tmp_path / "file", hosts=hosts)
    assert caught.value.code is ErrorCode.PLATFORM_CHANGED
    assert stage.standin.counters.requests["media"] == before


@pytest.mark.parametrize("path", ["about", "records/", "watch?v=1", "records/x"])
async def test_a_page_that_no_extractor_is_suitable_for_is_not_even_asked_for(
    stage: Stage, platforms: Platforms, path: str
) -> None:
    before = stage.standin.counters.connections
    with pytest.raises(ClipmillError, match="does not know this kind of page") as caught:
        await read(stage, platforms.by_name("hitrecord"), f"https://hitrecord.org/{path}")
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
    assert stage.standin.counters.connections == before


async def test_a_short_link_leads_to_its_page(stage: Stage, platforms: Platforms) -> None:
    platform = platforms.by_name("hitrecord")
    short = platform.parse_url(f"https://go.hitrecord.org/{SMALL}")
    assert isinstance(short, ShortLink)
    async with open_session(stage.egress) as session:
        found = await LinkResolver(session).resolve(short, platform)
    assert found == platform.parse_url(PAGES["hitrecord"].format(SMALL))


def named(*extractors: str) -> Platforms:
    site = SITE.model_copy(update={"extractors": extractors})
    return Platforms.from_entry_points([], {"mine": site})


async def test_names_of_extractors_are_right(stage: Stage, platforms: Platforms) -> None:
    await check_extractors(platforms, stage.pool)
    await check_extractors(Platforms([]), stage.pool)


@pytest.mark.parametrize(
    ("extractor", "said"),
    [
        ("HitRecrd", "no extractor named HitRecrd; similar ones: HitRecord"),
        ("hitrecord", "similar ones: HitRecord"),
        ("Zzzzzzzzzz", "yt-dlp has no extractor named Zzzzzzzzzz$"),
        ("Generic", "Generic reads pages of any site, which is never allowed"),
        ("WordpressPlaylistEmbed", "reads no pages by themselves"),
    ],
)
async def test_a_wrong_name_is_told_before_the_first_request(
    stage: Stage, extractor: str, said: str
) -> None:
    with pytest.raises(ClipmillError, match=rf"platforms\.mine\.extractors: .*{said}") as caught:
        await check_extractors(named("HitRecord", extractor), stage.pool)
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG


async def test_yt_dlp_is_known_to_the_engine_s_processes_alone() -> None:
    """It costs memory and time wherever it is imported, and the engine's may be another release."""
    stages = "validation extraction selection download recovery commands pages.engine_check"
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
