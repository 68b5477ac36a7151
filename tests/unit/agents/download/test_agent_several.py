"""Several files of one post: fetched concurrently, each complete, and none twice."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.download.agent import FILE_CONCURRENCY
from agents.download.file_index import TABLE, StoredFilesRow
from agents.media.protocol import MediaFacts, Unreadable
from agents.network.download import Fetched
from agents.network.transfer import FetchLimits, OnBytes
from agents.pipeline.step import step_handler
from agents.storage.local import LocalStorage
from schemas.attempts import NetworkAttempt
from schemas.codec import decode, encode
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import Progress, SelectedVideo
from schemas.files import StoredFile
from schemas.request import Options
from schemas.results import Cancelled, Completed, Expired
from schemas.signals import BREAKER, BreakerState, CancelSignal, RefreshSignal
from schemas.video import MediaSource, SelectedSource, VideoFormat
from streams.records import Effect
from streams.topics import ATTEMPTS, PROGRESS
from tests.unit.agents.builders import (
    VIDEO,
    WRITTEN_AT,
    apply_writes,
    body_of,
    event_record,
    failure,
    header,
    make_context,
    make_settings,
    outcome,
    seconds_from_now,
    selected,
    sent_to,
    writes,
)
from tests.unit.agents.download.downloads import FakeProbe, WholeFiles, make_download

PICTURES = 12
AsyncCallback = Callable[[], Awaitable[None]]


def picture(number: int) -> SelectedSource:
    chosen = VideoFormat(
        format_id=f"image-{number:02}",
        container="jpeg",
        width=1080,
        height=1440,
        bytes=100,
        picture=number,
    )
    return SelectedSource(format=chosen, url=f"https://p16.tiktokcdn.com/{number}.jpeg")


MUSIC = SelectedSource(
    format=VideoFormat(format_id="audio", container="m4a", audio_codec="aac", bytes=200),
    url="https://v16.tiktokcdn.com/music",
)
SOURCES = (*[picture(number) for number in range(1, PICTURES + 1)], MUSIC)
IDS = [source.format.format_id for source in SOURCES]


def body(format_id: str) -> bytes:
    return format_id.encode() * 10


def photos(**changes: Any) -> SelectedVideo:
    return msgspec.structs.replace(selected(**changes), sources=SOURCES)


class FakeFetcher(WholeFiles):
    """Writes a body derived from the format id, then awaits the callback of that format."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.then: dict[str, AsyncCallback] = {}
        self.running = self.running_max = 0

    async def fetch(
        self,
        source: MediaSource,
        target: Path,
        *,
        hosts: tuple[str, ...],
        limits: FetchLimits,
        on_bytes: OnBytes,
    ) -> Fetched:
        format_id = source.format.format_id
        assert hosts
        assert limits.max_bytes
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        try:
            content = body(format_id)
            on_bytes(len(content), len(content))
            await asyncio.to_thread(target.write_bytes, content)
            await self.then.get(format_id, _yield_once)()
        finally:
            self.running -= 1
        self.fetched.append(format_id)
        return Fetched(
            bytes=len(content), sha256=sha256(content).hexdigest(), mime_type="image/jpeg"
        )


async def _yield_once() -> None:
    await asyncio.sleep(0)


def raising(code: ErrorCode) -> AsyncCallback:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ClipmillError(code, "it is so")

    return fail


async def never_returns() -> None:
    await asyncio.Event().wait()


class DownloadHarness:
    """The handler of the stage over a real storage."""

    def __init__(self, storage: LocalStorage) -> None:
        self.storage = storage
        self.fetcher = FakeFetcher()
        self.probe: FakeProbe | None = None
        self.context, self.best_effort_records = make_context(make_settings(), TABLE)

    async def run(self, event: SelectedVideo, *, killed: bool = False) -> list[Effect]:
        """Handle an event; ``killed`` leaves out its table writes, as a crash before them."""
        work = make_download(self.storage, {"direct": self.fetcher}, self.context, probe=self.probe)
        handle = step_handler("download", SelectedVideo, work.work, self.context.shared_state)
        effects = list(await handle(event_record(event)))
        if not killed:
            apply_writes(self.context.tables[TABLE], effects)
        return effects

    def reports(self) -> list[Progress]:
        return [body_of(each, Progress) for each in sent_to(self.best_effort_records, PROGRESS)]


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[DownloadHarness]:
    async with LocalStorage.open(tmp_path) as storage:
        yield DownloadHarness(storage)


def files_of(effects: list[Effect]) -> tuple[StoredFile, ...]:
    found = outcome(effects)
    assert isinstance(found, Completed)
    return found.files


def content_of(file: StoredFile) -> bytes:
    return Path(file.uri.removeprefix("file://")).read_bytes()


def workspaces(folder: Path) -> list[Path]:
    return list(folder.rglob("job-*"))


async def test_all_files_of_a_post_are_in_one_result_in_order(harness: DownloadHarness) -> None:
    effects = await harness.run(photos())
    files = files_of(effects)
    assert [file.format_id for file in files] == IDS
    assert [content_of(file) for file in files] == [body(each) for each in IDS]
    assert not any(file.reused for file in files)
    (row,) = writes(effects)
    assert set(decode(row.value or b"", StoredFilesRow).files) == set(IDS)


async def test_files_are_fetched_with_bounded_concurrency(harness: DownloadHarness) -> None:
    barrier = asyncio.Barrier(FILE_CONCURRENCY)

    async def wait_for_all() -> None:
        await barrier.wait()

    harness.fetcher.then = dict.fromkeys(IDS[:FILE_CONCURRENCY], wait_for_all)
    await asyncio.wait_for(harness.run(photos()), 5)
    assert harness.fetcher.running_max == FILE_CONCURRENCY


async def test_all_stored_files_are_reused(harness: DownloadHarness) -> None:
    await harness.run(photos())
    effects = await harness.run(photos(request_id="r2"))
    assert all(file.reused for file in files_of(effects))
    assert len(harness.fetcher.fetched) == len(IDS)
    assert not writes(effects)


async def test_only_the_missing_file_is_fetched(harness: DownloadHarness) -> None:
    await harness.run(photos())
    removed = harness.storage._files / "tiktok" / VIDEO.id / f"{VIDEO.id}.image-05.jpeg"
    removed.unlink()
    effects = await harness.run(photos())
    assert [file.format_id for file in files_of(effects) if not file.reused] == ["image-05"]
    (row,) = writes(effects)
    assert set(decode(row.value or b"", StoredFilesRow).files) == set(IDS)
    assert not any(file.reused for file in decode(row.value or b"", StoredFilesRow).files.values())


# Failure of one file


@pytest.mark.parametrize("failing", ["image-01", "image-07", "audio"])
async def test_failure_of_one_file_fails_the_post_and_names_the_format(
    failing: str, harness: DownloadHarness
) -> None:
    harness.fetcher.then[failing] = raising(ErrorCode.CONTENT_LINK_EXPIRED)
    effects = await harness.run(photos())
    found = failure(effects)
    assert found.error.error_type is ErrorCode.CONTENT_LINK_EXPIRED
    assert found.format_id == failing
    assert not writes(effects)


async def test_files_stored_before_the_failure_are_not_fetched_again(
    harness: DownloadHarness,
) -> None:
    harness.fetcher.then["audio"] = raising(ErrorCode.CONTENT_LINK_EXPIRED)
    await harness.run(photos())
    before = harness.fetcher.fetched.copy()
    harness.fetcher.then.clear()
    files = files_of(await harness.run(photos()))
    assert set(before) >= set(IDS[: PICTURES - FILE_CONCURRENCY])
    assert sorted(harness.fetcher.fetched) == sorted(IDS)
    assert [file.sha256 for file in files] == [sha256(body(each)).hexdigest() for each in IDS]
    assert {file.format_id for file in files if file.reused} == set(before)


async def test_retry_with_fresh_links_reuses_stored_files(harness: DownloadHarness) -> None:
    """Recovery reads the page again with the refresh option, as clients do."""
    received_at = datetime.now(UTC)
    harness.fetcher.then["audio"] = raising(ErrorCode.CONTENT_LINK_EXPIRED)
    await harness.run(photos(received_at=received_at))
    harness.fetcher.then.clear()
    await harness.run(photos(received_at=received_at, options=Options(refresh=True)))
    assert sorted(harness.fetcher.fetched) == sorted(IDS)


async def test_crash_before_the_row_fetches_nothing_twice(harness: DownloadHarness) -> None:
    first = files_of(await harness.run(photos(), killed=True))
    effects = await harness.run(photos())
    second = files_of(effects)
    assert len(harness.fetcher.fetched) == len(IDS)
    assert [file.sha256 for file in second] == [file.sha256 for file in first]
    assert [file.mime_type for file in second] == ["image/jpeg"] * PICTURES + ["audio/mp4"]
    (row,) = writes(effects)
    assert set(decode(row.value or b"", StoredFilesRow).files) == set(IDS)


# Stored files without a row


def age_stored_files(harness: DownloadHarness, seconds: float) -> None:
    for path in harness.storage._files.rglob("*.*"):
        moment = path.stat().st_mtime - seconds
        os.utime(path, (moment, moment))


async def test_files_older_than_the_row_ttl_are_fetched_again(harness: DownloadHarness) -> None:
    await harness.run(photos(), killed=True)
    age_stored_files(harness, harness.context.settings.cache.file_seconds + 60)
    assert not any(file.reused for file in files_of(await harness.run(photos())))


async def test_files_older_than_a_refresh_are_fetched_again(harness: DownloadHarness) -> None:
    await harness.run(photos(), killed=True)
    age_stored_files(harness, 60)
    signal = RefreshSignal(by="ann", at=seconds_from_now(-30))
    harness.context.shared_state.put(f"refresh/{VIDEO.key}", encode(signal))
    assert not any(file.reused for file in files_of(await harness.run(photos())))


@pytest.mark.parametrize("moment", ["found", "opened"])
async def test_stored_file_removed_meanwhile_is_fetched_without_an_outage(
    harness: DownloadHarness, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    await harness.run(photos(), killed=True)
    removed_path = next(harness.storage._files.rglob("*.image-02.*"))
    reading = harness.storage.reading

    @asynccontextmanager
    async def removed_first(uri: str) -> AsyncIterator[Path]:
        if moment == "found" and uri == removed_path.as_uri():
            removed_path.unlink()
        async with reading(uri) as path:
            if path == removed_path:
                removed_path.unlink()
            yield path

    monkeypatch.setattr(harness.storage, "reading", removed_first)
    harness.fetcher.fetched.clear()
    files = files_of(await harness.run(photos()))
    assert harness.fetcher.fetched == ["image-02"]
    assert [file.format_id for file in files if not file.reused] == ["image-02"]
    assert not harness.context.intake.paused


async def test_each_file_of_a_post_is_a_separate_trial(harness: DownloadHarness) -> None:
    granted = ("r1:download:1:image-01", "r1:download:1:image-02")
    state = BreakerState(
        platform="tiktok",
        operation="download",
        egress="direct",
        state="half_open",
        since=WRITTEN_AT,
        trials=granted,
        trials_max=2,
    )
    harness.context.shared_state.put(f"{BREAKER}{state.name}", encode(state))
    await harness.run(photos())
    assert set(harness.fetcher.fetched) == {"image-01", "image-02"}
    sent = sent_to(harness.best_effort_records, ATTEMPTS)
    made = [each for each in sent if header(each, "ce_type") == "io.clipmill.network.attempt.v1"]
    assert {body_of(each, NetworkAttempt).trial for each in made} == set(granted)


async def test_stored_file_that_fails_verification_is_fetched_again(
    harness: DownloadHarness,
) -> None:
    await harness.run(photos(), killed=True)
    sound = MediaFacts(video_codec="jpeg", audio_codec="aac", width=1, height=1)
    harness.probe = FakeProbe(Unreadable(reason="torn"), sound)
    files = files_of(await harness.run(photos()))
    assert sum(not file.reused for file in files) == 1
    assert all(file.probed for file in files)


@pytest.mark.parametrize("killed", [True, False])
async def test_file_extension_follows_the_content_and_files_are_reused(
    killed: bool, harness: DownloadHarness
) -> None:
    found = MediaFacts(container="webp", video_codec="webp", audio_codec="aac", width=1, height=1)
    harness.probe = FakeProbe(found)
    await harness.run(photos(), killed=killed)
    files = files_of(await harness.run(photos()))
    assert {file.uri.rpartition(".")[2] for file in files} == {"webp"}
    assert {file.mime_type for file in files} == {"image/webp"}
    assert all(file.reused for file in files)


async def test_stored_file_with_a_wrong_extension_is_fetched_again(
    harness: DownloadHarness,
) -> None:
    await harness.run(photos(), killed=True)
    harness.probe = FakeProbe(MediaFacts(container="png", video_codec="png", audio_codec="aac"))
    files = files_of(await harness.run(photos()))
    assert not any(file.reused for file in files)
    assert {file.uri.rpartition(".")[2] for file in files} == {"png"}


# Totals, cancellation and deadline


async def test_progress_counts_all_files(harness: DownloadHarness) -> None:
    await harness.run(photos())
    last = harness.reports()[-1]
    total = sum(len(body(each)) for each in IDS)
    assert (last.bytes, last.total_bytes) == (total, total)
    assert (last.files_done, last.files_total) == (len(IDS), len(IDS))


@pytest.mark.parametrize("fewer", [0, 1])
async def test_max_bytes_applies_to_the_sum_of_the_files(
    fewer: int, harness: DownloadHarness
) -> None:
    total = sum(len(body(each)) for each in IDS)
    effects = await harness.run(photos(options=Options(max_bytes=total - fewer)))
    if not fewer:
        assert len(files_of(effects)) == len(IDS)
        return
    assert failure(effects).error.error_type is ErrorCode.REQUEST_TOO_LARGE
    assert "together" in failure(effects).error.technical_details["reason"]


async def test_reused_files_count_towards_max_bytes(harness: DownloadHarness) -> None:
    await harness.run(photos())
    total = sum(len(body(each)) for each in IDS)
    found = failure(await harness.run(photos(options=Options(max_bytes=total - 1))))
    assert found.error.error_type is ErrorCode.REQUEST_TOO_LARGE


async def test_cancellation_stops_all_files(harness: DownloadHarness, tmp_path: Path) -> None:
    reached = asyncio.Event()

    async def block() -> None:
        if harness.fetcher.running == FILE_CONCURRENCY:
            reached.set()
        await never_returns()

    harness.fetcher.then = dict.fromkeys(IDS[2:], block)
    task = asyncio.create_task(harness.run(photos()))
    await asyncio.wait_for(reached.wait(), 5)
    harness.context.shared_state.put("cancel/r1", encode(CancelSignal(by="ann", at=WRITTEN_AT)))
    effects = await asyncio.wait_for(task, 1)
    assert isinstance(outcome(effects), Cancelled)
    assert harness.fetcher.running == 0
    assert workspaces(tmp_path) == []


async def test_deadline_stops_all_files(harness: DownloadHarness, tmp_path: Path) -> None:
    harness.fetcher.then = dict.fromkeys(IDS, never_returns)
    effects = await harness.run(photos(deadline=seconds_from_now(0.05)))
    assert isinstance(outcome(effects), Expired)
    assert harness.fetcher.running == 0
    assert workspaces(tmp_path) == []
