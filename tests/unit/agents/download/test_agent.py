import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.access.egress import open_fetchers
from agents.download.agent import STORAGE_ATTEMPTS_MAX, background_task
from agents.download.agent import stage as download_stage
from agents.download.file_index import SWEEP_SECONDS, TABLE, StoredFilesRow
from agents.download.storage_guard import STORAGE_ERROR_CODES, StorageGuard
from agents.media.prober import MediaProber
from agents.network.bandwidth import BandwidthLimiter
from agents.network.download import Fetched
from agents.network.transfer import FetchLimits, OnBytes
from agents.pipeline.step import step_handler
from agents.storage.local import LocalStorage
from schemas.attempts import NetworkAttempt
from schemas.codec import decode, encode
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import Failure, Progress, SelectedVideo
from schemas.files import StoredFile
from schemas.request import Options
from schemas.results import Cancelled, Completed, Expired
from schemas.signals import (
    BREAKER,
    MEDIA_HOST,
    BreakerState,
    CancelSignal,
    MediaHostWait,
    RefreshSignal,
)
from schemas.video import MediaSource, SelectedSource
from streams.media_host_waits import MediaHostWaits
from streams.observability.metrics import REGISTRY
from streams.records import Effect, TableWrite
from streams.settings import (
    CacheSettings,
    DownloadSettings,
    EgressSettings,
    LimitSettings,
    Settings,
)
from streams.topics import ATTEMPTS, PROGRESS, SIGNALS
from tests.unit.agents.builders import (
    ENGINE,
    FORMAT,
    FUTURE,
    INFO,
    SOURCE,
    VIDEO,
    WRITTEN_AT,
    apply_writes,
    body_of,
    event_record,
    failure,
    make_attempt,
    make_context,
    make_settings,
    only_record,
    outcome,
    seconds_from_now,
    selected,
    sent_to,
    table_of,
    transitions,
    writes,
)
from tests.unit.agents.caching.slices import effects_in
from tests.unit.agents.download.downloads import FakeProbe, WholeFiles, make_download

BODY = b"x" * 1_000


class FakeFetcher(WholeFiles):
    """Writes `BODY`, reported in four pieces, then awaits ``then``."""

    def __init__(
        self, then: Callable[[], Any] | None = None, *, announces_size: bool = True
    ) -> None:
        self.then = then
        self.announces_size = announces_size
        self.limits: list[FetchLimits] = []
        self.hosts: tuple[str, ...] = ()

    async def fetch(
        self,
        source: MediaSource,
        target: Path,
        *,
        hosts: tuple[str, ...],
        limits: FetchLimits,
        on_bytes: OnBytes,
    ) -> Fetched:
        assert source.url
        self.limits.append(limits)
        self.hosts = hosts
        for done in range(250, 1_001, 250):
            on_bytes(done, len(BODY) if self.announces_size else None)
        await asyncio.to_thread(target.write_bytes, BODY)
        if self.then is not None:
            await self.then()
        return Fetched(bytes=len(BODY), sha256="0" * 64, mime_type="video/mp4")


def raising(code: ErrorCode, **details: Any) -> Callable[[], Any]:
    async def raise_it() -> None:
        await asyncio.sleep(0)
        raise ClipmillError(code, "it is so", **details)

    return raise_it


async def never_returns() -> None:
    await asyncio.Event().wait()


class DownloadHarness:
    """The handler of the stage over a fake fetcher, a real storage and a table."""

    def __init__(self, storage: LocalStorage, settings: Settings) -> None:
        self.context, self.best_effort_records = make_context(settings, TABLE)
        self.table = table_of(self.context, TABLE)
        self.storage = storage
        self.fetcher = FakeFetcher()
        self.probe: FakeProbe | None = None
        self.waits = MediaHostWaits()
        self.ticks: asyncio.Queue[None] = asyncio.Queue()
        self.storage_guard = StorageGuard(
            storage, self.context.intake, settings.download, lambda _: self.ticks.get()
        )

    async def run(self, event: SelectedVideo) -> list[Effect]:
        work = make_download(
            self.storage,
            {"direct": self.fetcher},
            self.context,
            probe=self.probe,
            storage_guard=self.storage_guard,
            waits=self.waits,
        )
        handle = step_handler("download", SelectedVideo, work.work, self.context.shared_state)
        effects = list(await handle(event_record(event)))
        apply_writes(self.table, effects)
        return effects

    async def run_to_failure(self, event: SelectedVideo) -> Failure:
        """Return the failure of an event that the storage fails after each of its checks."""
        running = asyncio.create_task(self.run(event))
        async with background_task(self.storage_guard.watch()), asyncio.timeout(5):
            while not running.done():
                self.ticks.put_nowait(None)
                await asyncio.sleep(0.001)
        return failure(await running)

    def reports(self) -> list[Progress]:
        return [body_of(each, Progress) for each in sent_to(self.best_effort_records, PROGRESS)]

    def attempts(self) -> list[NetworkAttempt]:
        return [
            body_of(each, NetworkAttempt) for each in sent_to(self.best_effort_records, ATTEMPTS)
        ]


@asynccontextmanager
async def open_harness(folder: Path, **download: Any) -> AsyncIterator[DownloadHarness]:
    settings = make_settings(data_dir=folder, download=DownloadSettings(**download))
    async with LocalStorage.open(folder) as storage:
        yield DownloadHarness(storage, settings)


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[DownloadHarness]:
    async with open_harness(tmp_path) as made:
        yield made


def empty_row(end: float) -> StoredFilesRow:
    return StoredFilesRow(expires_at=end, fetched_at=0.0, files={})


def path_of(file: StoredFile) -> Path:
    return Path(file.uri.removeprefix("file://"))


def file_of(effects: list[Effect]) -> StoredFile:
    found = outcome(effects)
    assert isinstance(found, Completed)
    (file,) = found.files
    return file


async def test_file_is_fetched_and_reported_in_the_result(harness: DownloadHarness) -> None:
    effects = await harness.run(selected(attempts=(make_attempt(),), attributes={"a": "b"}))
    found = outcome(effects)
    file = file_of(effects)
    assert path_of(file).read_bytes() == BODY
    assert file == StoredFile(
        uri=file.uri,
        bytes=1_000,
        sha256="0" * 64,
        mime_type="video/mp4",
        format_id=FORMAT.format_id,
        width=720,
        height=1280,
        duration_seconds=12.5,
        codec="h265",
        audio_codec="aac",
    )
    assert (found.video, found.engine, found.cache) == (INFO, ENGINE, "miss")
    assert (found.attempts, len(found.recovery), found.attributes) == (2, 1, {"a": "b"})
    assert set(found.timings) == {"download"}
    assert transitions(effects) == ["finished"]


async def test_received_bytes_are_counted_by_platform_and_egress(harness: DownloadHarness) -> None:
    def arrived() -> float:
        labels = {"platform": "tiktok", "egress": "direct"}
        return REGISTRY.get_sample_value("clipmill_egress_received_bytes_total", labels) or 0.0

    before = arrived()
    await harness.run(selected())
    assert arrived() == before + len(BODY)
    harness.fetcher.then = raising(ErrorCode.NETWORK_CONNECTION)
    await harness.run(selected(options=Options(refresh=True), received_at=datetime.now(UTC)))
    assert arrived() == before + 2 * len(BODY)


async def test_row_has_the_key_of_the_record(harness: DownloadHarness) -> None:
    (row,) = writes(await harness.run(selected()))
    assert (row.table, row.key) == (TABLE, VIDEO.key)
    assert set(decode(row.value or b"", StoredFilesRow).files) == {FORMAT.format_id}


async def test_second_request_reuses_the_stored_file(harness: DownloadHarness) -> None:
    first = file_of(await harness.run(selected()))
    effects = await harness.run(selected(request_id="r2"))
    assert file_of(effects) == msgspec.structs.replace(first, reused=True)
    assert len(harness.fetcher.limits) == 1
    assert not writes(effects)


async def test_formats_of_one_video_are_stored_in_one_row(harness: DownloadHarness) -> None:
    other = SelectedSource(
        format=msgspec.structs.replace(FORMAT, format_id="other"), url="https://v16.tiktokcdn.com/o"
    )
    first = file_of(await harness.run(selected()))
    second = file_of(await harness.run(selected(other)))
    assert first.uri != second.uri
    assert file_of(await harness.run(selected())).reused
    assert file_of(await harness.run(selected(other))).reused
    assert len(harness.fetcher.limits) == 2


async def test_missing_file_is_fetched_again(harness: DownloadHarness) -> None:
    path_of(file_of(await harness.run(selected()))).unlink()
    file = file_of(await harness.run(selected()))
    assert not file.reused
    assert path_of(file).read_bytes() == BODY


async def test_file_of_another_size_is_fetched_again(harness: DownloadHarness) -> None:
    path_of(file_of(await harness.run(selected()))).write_bytes(b"cut")
    assert not file_of(await harness.run(selected())).reused


async def test_refresh_fetches_the_file_again(harness: DownloadHarness) -> None:
    await harness.run(selected())
    event = selected(options=Options(refresh=True), received_at=datetime.now(UTC))
    file = file_of(await harness.run(event))
    assert not file.reused
    assert len(harness.fetcher.limits) == 2


async def test_retry_of_a_refresh_reuses_files_fetched_since_the_request(
    harness: DownloadHarness,
) -> None:
    await harness.run(selected())
    file = file_of(
        await harness.run(selected(options=Options(refresh=True), received_at=WRITTEN_AT))
    )
    assert file.reused
    assert len(harness.fetcher.limits) == 1


@pytest.mark.parametrize("max_bytes", [None, 1_000])
async def test_stored_file_within_max_bytes_is_reused(
    harness: DownloadHarness, max_bytes: int | None
) -> None:
    await harness.run(selected())
    assert file_of(await harness.run(selected(options=Options(max_bytes=max_bytes)))).reused


async def test_stored_file_above_max_bytes_is_not_reused(harness: DownloadHarness) -> None:
    await harness.run(selected())
    found = failure(await harness.run(selected(options=Options(max_bytes=999))))
    assert found.error.error_type is ErrorCode.REQUEST_TOO_LARGE
    assert len(harness.fetcher.limits) == 2


async def test_undecodable_row_is_a_miss(harness: DownloadHarness) -> None:
    apply_writes(harness.table, [TableWrite(TABLE, VIDEO.key, b"\xff")])
    assert not file_of(await harness.run(selected())).reused


# Bounds


async def test_fetch_limits_come_from_the_settings(tmp_path: Path) -> None:
    async with open_harness(
        tmp_path,
        connect_timeout_seconds=1,
        stall_timeout_seconds=2,
        deadline_seconds=3,
        file_bytes=4_000,
    ) as harness:
        await harness.run(selected())
    expected = FetchLimits(connect_seconds=1, stall_seconds=2, total_seconds=3, max_bytes=4_000)
    assert harness.fetcher.limits == [expected]
    assert ".tiktokcdn.com" in harness.fetcher.hosts


async def test_deadline_during_the_download_expires_the_job(harness: DownloadHarness) -> None:
    harness.fetcher.then = never_returns
    effects = await harness.run(
        selected(deadline=seconds_from_now(0.05), attempts=(make_attempt(),))
    )
    found = outcome(effects)
    assert isinstance(found, Expired)
    assert found.attempts == 1
    assert 0.01 < found.timings["download"] < 5
    assert not writes(effects)


async def test_download_timeout_is_a_failure(tmp_path: Path) -> None:
    async with open_harness(tmp_path, deadline_seconds=0.05) as harness:
        harness.fetcher.then = never_returns
        found = failure(await harness.run(selected(deadline=seconds_from_now(600))))
        assert found.error.error_type is ErrorCode.NETWORK_TIMEOUT
        assert found.record.topic == "videos.selected"


class FastForward:
    """A sleep that advances the clock of the event loop at once, and runs what is due."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        time, self.passed = loop.time, 0.0
        monkeypatch.setattr(loop, "time", lambda: time() + self.passed)

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("spent_by", "code"), [("ours", None), ("the server's", ErrorCode.NETWORK_TIMEOUT)]
)
async def test_only_time_of_the_server_counts_against_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spent_by: str, code: ErrorCode | None
) -> None:
    fast_forward = FastForward(monkeypatch)
    bandwidth = BandwidthLimiter(
        1_000, clock=asyncio.get_running_loop().time, sleep=fast_forward.sleep
    )
    async with open_harness(tmp_path, deadline_seconds=600) as harness:
        harness.fetcher.then = lambda: (
            bandwidth.consume(3_600_000) if spent_by == "ours" else fast_forward.sleep(3_600)
        )
        await harness.run(selected())
        assert fast_forward.passed > 3_500
        assert [each.code for each in harness.attempts()] == [code]


async def test_unrelated_timeout_is_not_the_deadline(harness: DownloadHarness) -> None:
    async def stray() -> None:
        raise TimeoutError

    harness.fetcher.then = stray
    with pytest.raises(TimeoutError):
        await harness.run(selected(deadline=seconds_from_now(600)))


async def test_scratch_files_are_removed(harness: DownloadHarness, tmp_path: Path) -> None:
    harness.fetcher.then = never_returns
    await harness.run(selected(deadline=seconds_from_now(0.05)))
    harness.fetcher.then = raising(ErrorCode.NETWORK_CONNECTION)
    await harness.run(selected())
    names = await asyncio.to_thread(lambda: [path.name for path in tmp_path.rglob("*")])
    assert "media" not in names
    assert not [name for name in names if name.startswith("job-")]


async def test_wait_for_a_media_host_ends_with_the_files(harness: DownloadHarness) -> None:
    video = selected().video.key
    wait = MediaHostWait(
        platform="tiktok", host="cdn.example", video=video, until=seconds_from_now(9), at=WRITTEN_AT
    )
    harness.waits.apply(f"{MEDIA_HOST}{wait.name}", encode(wait))
    harness.fetcher.then = raising(ErrorCode.NETWORK_DNS)
    await harness.run(selected())
    assert sent_to(harness.best_effort_records, SIGNALS) == []
    harness.fetcher.then = None
    await harness.run(selected())
    ended = only_record(harness.best_effort_records, SIGNALS)
    assert (ended.key, ended.value) == (f"{MEDIA_HOST}{wait.name}".encode(), None)


# Failures


@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.CONTENT_LINK_EXPIRED,
        ErrorCode.NETWORK_CONNECTION,
        ErrorCode.REQUEST_TOO_LARGE,
        ErrorCode.RATE_LIMIT_API,
    ],
)
async def test_fetcher_error_is_a_failure(harness: DownloadHarness, code: ErrorCode) -> None:
    harness.fetcher.then = raising(code, retry_after=9.0)
    effects = await harness.run(selected())
    found = failure(effects)
    assert (found.step, found.error.error_type) == ("download", code)
    assert found.retry_after_seconds == 9.0
    assert decode(found.record.value, SelectedVideo).sources == (SOURCE,)
    assert len(effects) == 1


async def test_storage_write_error_is_a_failure(harness: DownloadHarness, tmp_path: Path) -> None:
    folder = tmp_path / "files" / "tiktok"
    folder.write_bytes(b"in the way")
    found = await harness.run_to_failure(selected())
    assert found.error.error_type is ErrorCode.SYSTEM_STORAGE
    assert SOURCE.url not in str(found.error)


async def test_storage_stat_error_is_a_failure(
    harness: DownloadHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.run(selected())

    async def broken(_uri: str) -> int | None:
        raise ClipmillError(ErrorCode.SYSTEM_STORAGE, "the disk is gone")

    monkeypatch.setattr(harness.storage, "stat", broken)
    found = await harness.run_to_failure(selected())
    assert found.error.error_type is ErrorCode.SYSTEM_STORAGE


async def test_unsafe_video_id_is_a_failure(harness: DownloadHarness) -> None:
    video = msgspec.structs.replace(VIDEO, id="../../etc/passwd")
    found = failure(await harness.run(msgspec.structs.replace(selected(), video=video)))
    assert found.error.error_type is ErrorCode.CONTENT_UNSUPPORTED


# Progress


@pytest.mark.parametrize("announces_size", [True, False], ids=["known size", "unknown size"])
async def test_completion_is_always_reported_and_progress_is_rate_limited(
    harness: DownloadHarness, announces_size: bool
) -> None:
    harness.fetcher.announces_size = announces_size
    await harness.run(selected())
    (report,) = harness.reports()
    assert (report.bytes, report.total_bytes) == (1_000, 1_000)
    assert (report.request_id, report.video_key) == ("r1", VIDEO.key)
    assert [each.key for each in sent_to(harness.best_effort_records, PROGRESS)] == [b"r1"]


async def test_failed_download_reports_no_completion(harness: DownloadHarness) -> None:
    harness.fetcher.announces_size = False
    harness.fetcher.then = raising(ErrorCode.NETWORK_CONNECTION)
    await harness.run(selected())
    assert harness.reports() == []


# The stage


async def test_stage_sweep_deletes_expired_and_undecodable_rows(tmp_path: Path) -> None:
    settings = make_settings(data_dir=tmp_path, cache=CacheSettings(file_seconds=60))
    context, _ = make_context(settings, TABLE)
    table = table_of(context, TABLE)
    async with download_stage.open(context):
        (seconds, sweep), *_ = context.periodic
        rows = {"old": 1.0, "new": 1e11}
        for key, end in rows.items():
            apply_writes(table, [TableWrite(TABLE, key, encode(empty_row(end)))])
        apply_writes(table, [TableWrite(TABLE, "unreadable", b"\xff")])
        swept = effects_in(sweep())
    assert seconds == SWEEP_SECONDS
    assert {(each.key, each.value) for each in writes(swept)} == {
        ("old", None),
        ("unreadable", None),
    }


async def test_all_egresses_share_the_bandwidth() -> None:
    settings = make_settings(
        download=DownloadSettings(bytes_per_second=5e6),
        egress=EgressSettings(proxies={"a": "http://127.0.0.1:1", "b": "http://127.0.0.1:2"}),
        limits=LimitSettings(download_tasks=1_000),
    )
    async with AsyncExitStack() as stack:
        fetchers = await open_fetchers(settings, stack)
        assert set(fetchers) == {"a", "b"}
        (bandwidth,) = {each._bandwidth for each in fetchers.values()}
        assert bandwidth._rate == 5e6
        connectors = [each._session.connector for each in fetchers.values()]
        assert [each and each.limit for each in connectors] == [1_000, 1_000]


@pytest.mark.parametrize("enabled", [True, False])
async def test_files_are_probed_unless_disabled(
    enabled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes: list[object] = []
    monkeypatch.setattr("agents.download.verification.FileVerifier", probes.append)
    settings = make_settings(data_dir=tmp_path, download=DownloadSettings(probe=enabled))
    async with download_stage.open(make_context(settings, TABLE)[0]):
        assert [isinstance(each, MediaProber) for each in probes] == [enabled]


# Outbound gate


def open_breaker(harness: DownloadHarness) -> None:
    """Open the breaker of the only egress."""
    state = BreakerState(
        platform="tiktok",
        operation="download",
        egress="direct",
        state="open",
        reason=ErrorCode.NETWORK_SERVER,
        since=WRITTEN_AT,
        until=FUTURE,
    )
    harness.context.shared_state.put(f"{BREAKER}{state.name}", encode(state))


async def test_open_breaker_fetches_nothing(harness: DownloadHarness) -> None:
    open_breaker(harness)
    found = failure(await harness.run(selected()))
    assert (found.error.error_type, found.permitted) == (ErrorCode.NETWORK_SERVER, False)
    assert (found.operation, found.egress) == ("download", "direct")
    assert harness.fetcher.limits == []


async def test_stored_file_is_served_behind_an_open_breaker(harness: DownloadHarness) -> None:
    await harness.run(selected())
    open_breaker(harness)
    assert file_of(await harness.run(selected())).reused


async def test_storage_error_does_not_count_against_the_platform(
    harness: DownloadHarness, tmp_path: Path
) -> None:
    (tmp_path / "files" / "tiktok").write_bytes(b"in the way")
    found = await harness.run_to_failure(selected())
    assert (found.error.error_type, found.operation) == (ErrorCode.SYSTEM_STORAGE, None)
    assert {each.code for each in harness.attempts()} == {None}


async def test_download_timeout_is_reported_to_the_monitor(tmp_path: Path) -> None:
    async with open_harness(tmp_path, deadline_seconds=0.05) as harness:
        harness.fetcher.then = never_returns
        await harness.run(selected())
        assert [each.code for each in harness.attempts()] == [ErrorCode.NETWORK_TIMEOUT]


# Cancellation and refresh


def matching_paths(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.rglob(pattern))


async def blocked_download(harness: DownloadHarness) -> "asyncio.Task[list[Effect]]":
    """Return a download that blocks in the middle."""
    reached = asyncio.Event()

    async def block() -> None:
        reached.set()
        await never_returns()

    harness.fetcher.then = block
    task = asyncio.create_task(harness.run(selected()))
    async with asyncio.timeout(5):
        await reached.wait()
    return task


async def test_cancelled_download_stops_at_once_and_removes_its_files(
    harness: DownloadHarness, tmp_path: Path
) -> None:
    task = await blocked_download(harness)
    assert matching_paths(tmp_path, "media")
    harness.context.shared_state.put("cancel/r1", encode(CancelSignal(by="ann", at=WRITTEN_AT)))
    effects = await asyncio.wait_for(task, 1)
    assert isinstance(outcome(effects), Cancelled)
    assert matching_paths(tmp_path, "media") == matching_paths(tmp_path, "job-*") == []
    assert harness.attempts() == []


@pytest.mark.parametrize(("seconds", "reused"), [(-60, True), (0, False)])
async def test_files_older_than_a_refresh_are_not_reused(
    harness: DownloadHarness, seconds: float, *, reused: bool
) -> None:
    await harness.run(selected())
    signal = RefreshSignal(by="ann", at=seconds_from_now(seconds))
    harness.context.shared_state.put(f"refresh/{VIDEO.key}", encode(signal), live=False)
    effects = await harness.run(selected())
    assert file_of(effects).reused is reused


async def test_refresh_invalidates_all_formats(harness: DownloadHarness) -> None:
    other = SelectedSource(
        format=msgspec.structs.replace(FORMAT, format_id="other"), url="https://v16.tiktokcdn.com/o"
    )
    await harness.run(selected(other))
    signal = RefreshSignal(by="ann", at=datetime.now(UTC))
    harness.context.shared_state.put(f"refresh/{VIDEO.key}", encode(signal))
    await harness.run(selected())
    assert not file_of(await harness.run(selected(other))).reused
    assert file_of(await harness.run(selected())).reused


# Storage outage


async def test_low_disk_space_fetches_nothing_and_pauses_consumption(tmp_path: Path) -> None:
    async with open_harness(tmp_path, free_bytes=2**60) as harness:
        found = outcome(await harness.run(selected(deadline=seconds_from_now(0.1))))
        assert isinstance(found, Expired)
        assert (harness.fetcher.limits, harness.attempts()) == ([], [])
        assert "free" in (harness.context.intake.problem() or "")


@pytest.mark.parametrize("code", [ErrorCode.SYSTEM_DISK_FULL, ErrorCode.SYSTEM_STORAGE])
async def test_event_resumes_when_the_storage_works_again(
    harness: DownloadHarness, code: ErrorCode
) -> None:
    harness.fetcher.then = raising(code)
    waiting = asyncio.create_task(harness.run(selected()))
    async with background_task(harness.storage_guard.watch()):
        while not harness.context.intake.paused:  # noqa: ASYNC110  (no event is set)
            await asyncio.sleep(0.001)
        assert not waiting.done()
        harness.fetcher.then = None
        harness.ticks.put_nowait(None)
        found = outcome(await asyncio.wait_for(waiting, 5))
    assert isinstance(found, Completed)
    assert (found.attempts, found.recovery, found.parked) == (1, (), None)


@pytest.mark.parametrize("code", [ErrorCode.SYSTEM_DISK_FULL, ErrorCode.SYSTEM_STORAGE])
async def test_repeated_storage_failures_of_one_event_are_a_failure(
    harness: DownloadHarness, code: ErrorCode
) -> None:
    harness.fetcher.then = raising(code)
    assert (await harness.run_to_failure(selected())).error.error_type is code
    assert len(harness.fetcher.limits) == STORAGE_ATTEMPTS_MAX


@pytest.mark.parametrize("code", sorted(set(ErrorCode) - STORAGE_ERROR_CODES))
async def test_other_failures_do_not_pause_consumption(
    harness: DownloadHarness, code: ErrorCode
) -> None:
    harness.fetcher.then = raising(code)
    await harness.run(selected())
    assert not harness.context.intake.paused


async def test_bugs_do_not_pause_consumption(harness: DownloadHarness) -> None:
    async def fail() -> None:
        raise KeyError

    harness.fetcher.then = fail
    with pytest.raises(KeyError):
        await harness.run(selected())
    assert not harness.context.intake.paused


async def test_events_in_flight_wait_for_the_end_of_the_outage(
    harness: DownloadHarness, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    files.rename(tmp_path / "away")
    first = asyncio.create_task(harness.run(selected()))
    async with background_task(harness.storage_guard.watch()):
        while not harness.context.intake.paused:  # noqa: ASYNC110  (no event is set)
            await asyncio.sleep(0.001)
        second = asyncio.create_task(harness.run(selected(request_id="r2")))
        harness.ticks.put_nowait(None)
        await asyncio.sleep(0.05)
        assert not first.done()
        assert not second.done()
        (tmp_path / "away").rename(files)
        harness.ticks.put_nowait(None)
        for waiting in (first, second):
            assert path_of(file_of(await asyncio.wait_for(waiting, 5))).read_bytes() == BODY
    assert not harness.context.intake.paused


async def test_event_waiting_for_the_storage_can_be_cancelled_and_expires(
    harness: DownloadHarness,
) -> None:
    harness.context.intake.pause("storage", "away")
    assert isinstance(
        outcome(await harness.run(selected(deadline=seconds_from_now(0.05)))), Expired
    )
    waiting = asyncio.create_task(harness.run(selected()))
    await asyncio.sleep(0.01)
    harness.context.shared_state.put("cancel/r1", encode(CancelSignal(by="ann", at=WRITTEN_AT)))
    assert isinstance(outcome(await asyncio.wait_for(waiting, 1)), Cancelled)
