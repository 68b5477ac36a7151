import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import aiohttp
import msgspec
import pytest

from agents.network.bandwidth import BURST_SECONDS, UNLIMITED, BandwidthLimiter
from agents.network.download import Fetched, MediaDownloader
from agents.network.egress import Egress
from agents.network.session import open_session
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import Cookie, MediaSource, VideoFormat
from tests.integration.media_client import (
    HOSTS,
    QUICK,
    TOKEN,
    SleepRecorder,
    fetch,
    limits,
    sha256_of,
)
from tests.standin import Standin, expected_media, video_id
from tests.standin.ids import case_of_id
from tests.standin.links import DOWNLOAD_HOST, VIDEO_HOSTS, Issue, media_url
from tests.standin.posts import post_for


@pytest.fixture
async def standin(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Standin]:
    async with Standin(tmp_path_factory.getbasetemp()) as running:
        yield running


def source_of(
    video: str,
    format_id: str = "play",
    *,
    host: str = VIDEO_HOSTS[0],
    cookies: tuple[Cookie, ...] = (TOKEN,),
    expected_bytes: int | None = None,
) -> MediaSource:
    post = post_for(video, case=case_of_id(video))
    return MediaSource(
        format=VideoFormat(format_id=format_id, container="mp4", bytes=expected_bytes),
        url=media_url(post, host, format_id, Issue(time.time())),
        headers={"Referer": f"https://www.tiktok.com/@_/video/{video}"},
        cookies=cookies,
    )


def egress_of(standin: Standin) -> Egress:
    return Egress(proxy=standin.proxy_url, ca_file=standin.ca_file)


@pytest.mark.parametrize("format_id", ["play", "h264_720p_800000", "audio"])
async def test_media_are_fetched_completely_with_their_digest(
    format_id: str, standin: Standin, tmp_path: Path
) -> None:
    video = video_id()
    reports: list[tuple[int, int | None]] = []
    fetched = await fetch(
        egress_of(standin),
        source_of(video, format_id),
        tmp_path / "file",
        on_bytes=lambda so_far, total: reports.append((so_far, total)),
    )
    expected = expected_media(video, format_id)
    assert fetched == Fetched(
        bytes=expected.size, sha256=expected.sha256, mime_type=expected.media_type
    )
    assert sha256_of(tmp_path / "file") == expected.sha256
    assert reports[-1] == (expected.size, expected.size)
    assert reports == sorted(reports)


async def fetch_small(session: aiohttp.ClientSession, folder: Path, numbers: Iterable[int]) -> None:
    """Fetch files one after the other."""
    for number in numbers:
        await MediaDownloader(session).fetch(
            source_of(video_id("kilobytes", serial=number + 1)),
            folder / str(number),
            hosts=HOSTS,
            limits=QUICK,
            on_bytes=lambda _, __: None,
        )


async def test_connection_is_reused_for_the_next_file(standin: Standin, tmp_path: Path) -> None:
    async with open_session(egress_of(standin)) as session:
        await fetch_small(session, tmp_path, range(20))
    assert standin.counters.of(video_id("kilobytes", serial=20), "media") == 1
    assert standin.counters.connections == 1


async def test_connections_equal_the_concurrent_downloads(standin: Standin, tmp_path: Path) -> None:
    async with open_session(egress_of(standin)) as session, asyncio.TaskGroup() as group:
        for first in range(4):
            group.create_task(fetch_small(session, tmp_path, range(first, 20, 4)))
    assert standin.counters.requests["media"] == 20
    assert standin.counters.connections == 4


async def test_interrupted_transfer_closes_one_connection(standin: Standin, tmp_path: Path) -> None:
    async with open_session(egress_of(standin)) as session:
        await fetch_small(session, tmp_path, range(2))
        standin.switches.set("media.truncated", times=1, video=video_id("kilobytes", serial=3))
        await fetch_small(session, tmp_path, range(2, 5))
    assert standin.counters.connections == 2


# Concurrent downloads


MANY = 30


async def fetch_many(
    standin: Standin, folder: Path, *, bandwidth: BandwidthLimiter = UNLIMITED
) -> tuple[list[int], list[int], float]:
    """Fetch MANY files of 1 MiB; return the bytes of each at half of all bytes and at the end.

    The third value is the duration in seconds.
    """
    done, half = [0] * MANY, list[int]()

    def record_bytes(number: int, so_far: int) -> None:
        done[number] = so_far
        if not half and sum(done) >= MANY << 19:
            half.extend(done)

    async def fetch_one(session: aiohttp.ClientSession, number: int) -> None:
        await MediaDownloader(session, bandwidth=bandwidth).fetch(
            source_of(video_id("size", param=1, serial=number + 1)),
            folder / str(number),
            hosts=HOSTS,
            limits=limits(stall_seconds=5.0),
            on_bytes=lambda so_far, _: record_bytes(number, so_far),
        )

    started = time.monotonic()
    async with open_session(egress_of(standin)) as session, asyncio.TaskGroup() as group:
        for number in range(MANY):
            group.create_task(fetch_one(session, number))
    return half, done, time.monotonic() - started


async def test_concurrent_downloads_progress_evenly(standin: Standin, tmp_path: Path) -> None:
    standin.switches.media_bytes_per_second = 1_000_000.0
    half, done, _ = await fetch_many(standin, tmp_path)
    assert done == [1 << 20] * MANY
    assert min(half) > 1 << 18
    assert max(half) < 1 << 20
    assert standin.counters.max_open_media == MANY


async def test_bandwidth_limit_is_shared_evenly_by_all_downloads(
    standin: Standin, tmp_path: Path
) -> None:
    rate = 16_000_000.0
    half, done, seconds = await fetch_many(standin, tmp_path, bandwidth=BandwidthLimiter(rate))
    assert done == [1 << 20] * MANY
    assert min(half) > 0
    wanted = sum(done) / rate
    assert wanted - BURST_SECONDS <= seconds < wanted + 2


@pytest.mark.parametrize(
    ("scenario", "param", "code"),
    [
        ("media.403", 0, ErrorCode.CONTENT_LINK_EXPIRED),
        ("media.404", 0, ErrorCode.CONTENT_LINK_EXPIRED),
        ("expired", 0, ErrorCode.CONTENT_LINK_EXPIRED),
        ("media.429", 0, ErrorCode.RATE_LIMIT_API),
        ("media.500", 0, ErrorCode.NETWORK_SERVER),
        ("media.503", 0, ErrorCode.NETWORK_SERVER),
        ("media.hang", 0, ErrorCode.NETWORK_TIMEOUT),
        ("media.stall", 64, ErrorCode.NETWORK_TIMEOUT),
        ("media.reset", 64, ErrorCode.NETWORK_CONNECTION),
        ("media.truncated", 64, ErrorCode.NETWORK_CONNECTION),
        ("media.tls", 0, ErrorCode.NETWORK_CONNECTION),
    ],
)
async def test_media_host_failures_have_error_codes(
    scenario: str, param: int, code: ErrorCode, standin: Standin, tmp_path: Path
) -> None:
    source = source_of(video_id(scenario, param=param))
    with pytest.raises(ClipmillError) as caught:
        await fetch(egress_of(standin), source, tmp_path / "file", limits=limits(resumes=0))
    assert caught.value.code is code
    assert "tiktok" in caught.value.message
    assert "signature" not in f"{caught.value} {caught.value.details}"


@pytest.mark.parametrize(
    ("scenario", "code"),
    [
        ("connect.502", ErrorCode.NETWORK_CONNECTION),
        ("connect.tls", ErrorCode.NETWORK_CONNECTION),
        ("connect.hang", ErrorCode.NETWORK_TIMEOUT),
    ],
)
async def test_proxy_failures_have_error_codes(
    scenario: str, code: ErrorCode, standin: Standin, tmp_path: Path
) -> None:
    standin.switches.set(scenario)
    with pytest.raises(ClipmillError) as caught:
        await fetch(
            egress_of(standin),
            source_of(video_id()),
            tmp_path / "file",
            limits=limits(connect_seconds=0.3),
        )
    assert caught.value.code is code


async def test_host_denied_by_the_proxy_is_a_config_error(standin: Standin, tmp_path: Path) -> None:
    source = msgspec.structs.replace(
        source_of(video_id()), url="https://media.example/x?sig=secret"
    )
    with pytest.raises(ClipmillError, match=r"refused the connection to media\.example:") as caught:
        await fetch(egress_of(standin), source, tmp_path / "file", hosts=(".example",))
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG


async def test_untrusted_ca_is_a_config_error(standin: Standin, tmp_path: Path) -> None:
    with pytest.raises(ClipmillError, match="is not trusted") as caught:
        await fetch(Egress(proxy=standin.proxy_url), source_of(video_id()), tmp_path / "file")
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG


@pytest.mark.parametrize("scenario", ["media.reset", "media.truncated", "media.stall"])
async def test_interrupted_transfer_resumes_with_backoff(
    scenario: str, standin: Standin, tmp_path: Path
) -> None:
    video = video_id(scenario, param=256, times=2)
    pauses = SleepRecorder()
    fetched = await fetch(egress_of(standin), source_of(video), tmp_path / "file", pauses=pauses)
    expected = expected_media(video, "play")
    assert (fetched.bytes, fetched.sha256) == (expected.size, expected.sha256)
    assert sha256_of(tmp_path / "file") == expected.sha256
    assert list(standin.counters.statuses.elements()).count(206) == 2
    assert pauses.seconds == [0.25, 1.0]


async def test_changed_file_is_fetched_again_from_zero(standin: Standin, tmp_path: Path) -> None:
    video = video_id("media.changed", param=128)
    fetched = await fetch(egress_of(standin), source_of(video), tmp_path / "file")
    expected = expected_media(video, "play", version=2)
    assert (fetched.bytes, fetched.sha256) == (expected.size, expected.sha256)
    assert sha256_of(tmp_path / "file") == expected.sha256


async def test_server_without_ranges_restarts_from_zero(standin: Standin, tmp_path: Path) -> None:
    video = video_id()
    standin.switches.set("media.reset", param=64, times=1, video=video)

    def on_bytes(_: int, __: int | None) -> None:
        standin.switches.set("media.norange", video=video)

    fetched = await fetch(
        egress_of(standin), source_of(video), tmp_path / "file", on_bytes=on_bytes
    )
    expected = expected_media(video, "play")
    assert (fetched.bytes, fetched.sha256) == (expected.size, expected.sha256)
    assert sha256_of(tmp_path / "file") == expected.sha256
    assert standin.counters.statuses == {200: 2}


async def test_resumes_are_limited(standin: Standin, tmp_path: Path) -> None:
    video = video_id("media.reset", param=16)
    pauses = SleepRecorder()
    with pytest.raises(ClipmillError) as caught:
        await fetch(egress_of(standin), source_of(video), tmp_path / "file", pauses=pauses)
    assert caught.value.code is ErrorCode.NETWORK_CONNECTION
    assert standin.counters.of(video, "media") == 1 + QUICK.resumes
    assert pauses.seconds == [0.25, 1.0, 4.0]


async def test_file_without_content_length_is_fetched(standin: Standin, tmp_path: Path) -> None:
    video = video_id("media.unsized")
    expected = expected_media(video, "play")
    reports: list[int | None] = []
    fetched = await fetch(
        egress_of(standin),
        source_of(video, expected_bytes=expected.size),
        tmp_path / "file",
        on_bytes=lambda _, total: reports.append(total),
    )
    assert (fetched.bytes, fetched.sha256) == (expected.size, expected.sha256)
    assert set(reports) == {None}


async def test_truncation_without_content_length_is_detected_by_the_page_size(
    standin: Standin, tmp_path: Path
) -> None:
    video = video_id("media.unsized", param=100)
    size = expected_media(video, "play").size
    with pytest.raises(ClipmillError, match=f"of {size} bytes") as caught:
        await fetch(
            egress_of(standin),
            source_of(video, expected_bytes=size),
            tmp_path / "file",
            limits=limits(resumes=0),
        )
    assert caught.value.code is ErrorCode.NETWORK_CONNECTION


@pytest.mark.parametrize("factor", [0.5, 2.0])
async def test_content_length_overrides_the_page_size(
    factor: float, standin: Standin, tmp_path: Path
) -> None:
    video = video_id()
    size = expected_media(video, "play").size
    source = source_of(video, expected_bytes=int(size * factor))
    fetched = await fetch(egress_of(standin), source, tmp_path / "file")
    assert fetched.bytes == size


async def test_content_length_over_the_limit_is_refused_immediately(
    standin: Standin, tmp_path: Path
) -> None:
    with pytest.raises(ClipmillError) as caught:
        await fetch(
            egress_of(standin),
            source_of(video_id("size", param=8)),
            tmp_path / "file",
            limits=limits(max_bytes=1 << 20),
        )
    assert caught.value.code is ErrorCode.REQUEST_TOO_LARGE
    assert (tmp_path / "file").stat().st_size == 0


async def test_size_over_the_limit_without_content_length_ends_the_transfer(
    standin: Standin, tmp_path: Path
) -> None:
    with pytest.raises(ClipmillError) as caught:
        await fetch(
            egress_of(standin),
            source_of(video_id("media.unsized")),
            tmp_path / "file",
            limits=limits(max_bytes=100_000),
        )
    assert caught.value.code is ErrorCode.REQUEST_TOO_LARGE
    assert (tmp_path / "file").stat().st_size <= 100_000


async def test_slow_transfer_ends_at_the_total_timeout(standin: Standin, tmp_path: Path) -> None:
    with pytest.raises(ClipmillError, match=r"took longer than 0\.5 seconds") as caught:
        await fetch(
            egress_of(standin),
            source_of(video_id("media.slow", param=16)),
            tmp_path / "file",
            limits=limits(total_seconds=0.5),
        )
    assert caught.value.code is ErrorCode.NETWORK_TIMEOUT


async def test_cancelled_download_closes_its_file(standin: Standin, tmp_path: Path) -> None:
    begun = asyncio.Event()
    async with open_session(egress_of(standin)) as session:
        running = asyncio.create_task(
            MediaDownloader(session).fetch(
                source_of(video_id("media.slow", param=64)),
                tmp_path / "file",
                hosts=HOSTS,
                limits=QUICK,
                on_bytes=lambda _, __: begun.set(),
            )
        )
        await begun.wait()
        assert str(tmp_path / "file") in open_files()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert str(tmp_path / "file") not in open_files()


def open_files() -> set[str]:
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(link.readlink()))
    return found


async def test_cookie_is_required_by_its_host_only(standin: Standin, tmp_path: Path) -> None:
    with pytest.raises(ClipmillError) as caught:
        await fetch(egress_of(standin), source_of(video_id(), cookies=()), tmp_path / "one")
    assert caught.value.code is ErrorCode.CONTENT_LINK_EXPIRED
    elsewhere = source_of(video_id(), host=DOWNLOAD_HOST, cookies=())
    assert (await fetch(egress_of(standin), elsewhere, tmp_path / "two")).bytes > 0
