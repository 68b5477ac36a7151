"""Streams that are killed, fail, are cancelled, or run beside many others."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from agents.download.segments.fetcher import SEGMENT_CONCURRENCY, TrackFetcher
from agents.network.download import MediaDownloader
from agents.network.session import open_session
from agents.network.transfer import FetchLimits
from schemas.errors import ErrorCode, ErrorContext
from schemas.files import StoredFile
from streams.observability.metrics import REGISTRY
from tests.integration.stream_site import (
    HOST,
    StreamSite,
    file_of,
    path_of,
    stream_harness,
    track,
    until,
)
from tests.standin.media_marks import Marked, beeps, flashes
from tests.standin.media_streams import TS, hls
from tests.standin.wire import Delivery, Reply, Request, text_reply, whole

MOVIE = Marked(group=6)
STREAM = hls(MOVIE, TS, ("hls_time", "0.2"))
SEGMENTS = [name for name in STREAM if name.endswith(".ts")]
MANY = 100
CANCEL_SECONDS = 0.1


@pytest.fixture
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


def slowly(site_files: Mapping[str, bytes], seconds: float) -> StreamSite:
    """Return a site whose segments wait that long for their first byte."""

    def answer(request: Request) -> Reply | None:
        body = site_files.get(request.path.removeprefix("/post/"))
        if body is None or not request.path.endswith(".ts"):
            return None
        return Reply(200, whole(body), delivery=Delivery(wait_seconds=seconds))

    return StreamSite(dict(site_files), answer)


def check_marks(file: StoredFile | ErrorContext) -> None:
    assert isinstance(file, StoredFile), file
    shown = flashes(path_of(file))
    assert shown == pytest.approx(MOVIE.marks, abs=0.04)
    assert beeps(path_of(file)) == pytest.approx(shown, abs=0.04)


async def test_killed_download_is_resumed(state_dir: Path, tmp_path: Path) -> None:
    slow = slowly(STREAM, 0.1)
    async with stream_harness(tmp_path, state_dir, STREAM, slow.answer) as harness:
        egress = harness.egress
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.integration.killed_download"),
            *(str(tmp_path), str(egress.proxy), str(egress.ca_file)),
        )
        async with asyncio.timeout(30):
            await until(lambda: len(harness.site.requested) > len(SEGMENTS) // 2)
        process.kill()
        await process.wait()
        check_marks(await harness.run(file_of(track())))
        counts = Counter(each for each in harness.site.requested if each in SEGMENTS)
        assert harness.unfinished() == []
    assert set(counts) == set(SEGMENTS)
    again = [name for name, count in counts.items() if count > 1]
    assert len(again) <= SEGMENT_CONCURRENCY, again
    assert max(counts.values()) <= 2


def bytes_over_egress() -> float:
    labels = {"platform": "tiktok", "egress": "direct"}
    return REGISTRY.get_sample_value("clipmill_egress_received_bytes_total", labels) or 0.0


async def test_failed_download_is_continued_by_the_next_attempt(
    state_dir: Path, tmp_path: Path
) -> None:
    gone = True

    def answer(request: Request) -> Reply | None:
        return text_reply(403, "expired") if gone and request.path.endswith("20.ts") else None

    async with stream_harness(tmp_path, state_dir, STREAM, answer) as harness:
        error = await harness.run(file_of(track()))
        assert isinstance(error, ErrorContext)
        assert error.error_type is ErrorCode.CONTENT_LINK_EXPIRED
        gone = False
        # The page is read again: the addresses have another signature.
        before, earlier = bytes_over_egress(), len(harness.site.requested)
        check_marks(await harness.run(file_of(track("media.m3u8?signature=2"))))
        again = [name for name in harness.site.requested[earlier:] if name in SEGMENTS]
        assert bytes_over_egress() - before == sum(len(STREAM[name]) for name in again)
        counts = Counter(harness.site.requested)
    assert counts["media20.ts"] == 2
    assert {counts[name] for name in SEGMENTS if name != "media20.ts"} == {1}


async def test_cancelled_download_stops_at_once(state_dir: Path, tmp_path: Path) -> None:
    slow = slowly(STREAM, 30.0)
    async with stream_harness(tmp_path, state_dir, STREAM, slow.answer) as harness:
        running = asyncio.create_task(harness.run(file_of(track())))
        async with asyncio.timeout(30):
            await until(lambda: len(harness.site.requested) > SEGMENT_CONCURRENCY)
        fetches = [each for each in asyncio.all_tasks() if "gather_bounded" in repr(each)]
        assert len(fetches) > SEGMENT_CONCURRENCY
        started = time.monotonic()
        running.cancel()
        await asyncio.wait(fetches, timeout=5)
        assert time.monotonic() - started < CANCEL_SECONDS
        await asyncio.gather(running, return_exceptions=True)


async def test_many_streams_progress_equally(state_dir: Path, tmp_path: Path) -> None:
    files = {"media.m3u8": STREAM["media.m3u8"], **{name: bytes(20_000) for name in SEGMENTS}}
    slow = slowly(files, 0.02)
    done: dict[int, int] = {}
    at_first_end: list[int] = []
    total = 20_000 * len(SEGMENTS)
    async with (
        stream_harness(tmp_path, state_dir, files, slow.answer) as harness,
        open_session(harness.egress) as session,
    ):
        tracks, fetcher = TrackFetcher(), MediaDownloader(session)

        async def fetch(number: int) -> None:
            folder = tmp_path / str(number)
            await asyncio.to_thread(folder.mkdir)
            await tracks.fetch(
                track(),
                folder,
                fetcher,
                hosts=(HOST,),
                limits=FetchLimits(),
                on_bytes=lambda size, _: done.__setitem__(number, size),
            )
            if not at_first_end:
                at_first_end.extend(done.get(each, 0) for each in range(MANY))

        async with asyncio.timeout(100):
            await asyncio.gather(*map(fetch, range(MANY)))
    assert set(done.values()) == {total}
    assert min(at_first_end) > total / 2
