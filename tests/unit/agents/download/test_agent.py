import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.download.agent import STORAGE_TRIES, SWEEP_SECONDS, open_fetchers
from agents.download.agent import stage as download_stage
from agents.download.bounded_gather import running
from agents.download.file_index import TABLE, KnownFiles
from agents.download.storage_guard import StorageGuard
from agents.media.prober import MediaProber
from agents.network.bandwidth import Bandwidth
from agents.network.download import Fetched, FetchLimits, OnBytes
from agents.pipeline.step import step_handler
from agents.storage.local import LocalStorage
from schemas.attempts import NetworkAttempt
from schemas.codec import decode, encode
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import SelectedVideo
from schemas.failure import Failure
from schemas.files import StoredFile
from schemas.progress import Progress
from schemas.request import Options
from schemas.results import Cancelled, Completed, Expired
from schemas.signals import BREAKER, BreakerState, CancelSignal, RefreshSignal
from schemas.video import MediaSource, SelectedSource
from streams.observability.metrics import REGISTRY
from streams.records import Effect, TableWrite
from streams.settings import (
    CacheSettings,
    DownloadSettings,
    EgressSettings,
    LimitSettings,
    Settings,
)
from streams.topics import ATTEMPTS, PROGRESS
from tests.unit.agents.builders import (
    ENGINE,
    FORMAT,
    FUTURE,
    INFO,
    SOURCE,
    VIDEO,
    WRITTEN_AT,
    body_of,
    event_record,
    failure,
    make_attempt,
    make_context,
    make_settings,
    outcome,
    selected,
    sent_to,
    show,
    soon,
    transitions,
    writes,
)
from tests.unit.agents.download.downloads import FakeProbe, make_download

BODY = b"x" * 1_000


class FakeFetcher:
    """Writes `BODY` in four pieces, then does what a test wants."""

    def __init__(self, then: Callable[[], Any] | None = None, *, told: bool = True) -> None:
        self.then = then
        self.told = told
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
            on_bytes(done, len(BODY) if self.told else None)
        await asyncio.to_thread(target.write_bytes, BODY)
        if self.then is not None:
            await self.then()
        return Fetched(bytes=len(BODY), sha256="0" * 64, mime_type="video/mp4")


def fails(code: ErrorCode, **details: Any) -> Callable[[], Any]:
    async def raise_it() -> None:
        await asyncio.sleep(0)
        raise ClipmillError(code, "it is so", **details)

    return raise_it


async def never() -> None:
    await asyncio.Event().wait()


class Kit:
    """The stage's handler over a fake fetcher, a real store and a table."""

    def __init__(self, storage: LocalStorage, settings: Settings) -> None:
        self.context, self.supplements = make_context(settings, TABLE)
        self.table = self.context.tables[TABLE]
        self.storage = storage
        self.fetcher = FakeFetcher()
        self.probe: FakeProbe | None = None
        self.ticks: asyncio.Queue[None] = asyncio.Queue()
        self.outage = StorageGuard(
            storage, self.context.intake, settings.download, lambda _: self.ticks.get()
        )

    async def run(self, event: SelectedVideo) -> list[Effect]:
        work = make_download(
            self.storage,
            {"direct": self.fetcher},
            self.context,
            probe=self.probe,
            outage=self.outage,
        )
        handle = step_handler("download", SelectedVideo, work.work, self.context.signals)
        effects = list(await handle(event_record(event)))
        show(self.table, effects)
        return effects

    async def run_to_failure(self, event: SelectedVideo) -> Failure:
        """The failure of an event that the storage fails again and again, between looks at it."""
        running_now = asyncio.create_task(self.run(event))
        async with running(self.outage.watch()), asyncio.timeout(5):
            while not running_now.done():
                self.ticks.put_nowait(None)
                await asyncio.sleep(0.001)
        return failure(await running_now)

    def reports(self) -> list[Progress]:
        return [body_of(each, Progress) for each in sent_to(self.supplements, PROGRESS)]

    def attempts(self) -> list[NetworkAttempt]:
        return [body_of(each, NetworkAttempt) for each in sent_to(self.supplements, ATTEMPTS)]


@asynccontextmanager
async def opened(folder: Path, **download: Any) -> AsyncIterator[Kit]:
    settings = make_settings(data_dir=folder, download=DownloadSettings(**download))
    async with LocalStorage.open(folder) as storage:
        yield Kit(storage, settings)


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    async with opened(tmp_path) as made:
        yield made


def known_files(end: float) -> KnownFiles:
    return KnownFiles(expires_at=end, fetched_at=0.0, files={})


def path_of(file: StoredFile) -> Path:
    return Path(file.uri.removeprefix("file://"))


def file_of(effects: list[Effect]) -> StoredFile:
    found = outcome(effects)
    assert isinstance(found, Completed)
    (file,) = found.files
    return file


async def test_a_file_is_fetched_and_told_of(kit: Kit) -> None:
    effects = await kit.run(selected(attempts=(make_attempt(),), attributes={"a": "b"}))
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


async def test_bytes_count_by_platform_and_egress_as_they_arrive(kit: Kit) -> None:
    def arrived() -> float:
        labels = {"platform": "tiktok", "egress": "direct"}
        return REGISTRY.get_sample_value("clipmill_egress_received_bytes_total", labels) or 0.0

    before = arrived()
    await kit.run(selected())
    assert arrived() == before + len(BODY)
    kit.fetcher.then = fails(ErrorCode.NETWORK_CONNECTION)
    await kit.run(selected(options=Options(refresh=True), received_at=datetime.now(UTC)))
    assert arrived() == before + 2 * len(BODY)


async def test_the_row_is_keyed_like_the_records_of_the_stage(kit: Kit) -> None:
    (row,) = writes(await kit.run(selected()))
    assert (row.table, row.key) == (TABLE, VIDEO.key)
    assert set(decode(row.value or b"", KnownFiles).files) == {FORMAT.format_id}


async def test_the_second_asker_gets_the_first_one_s_file(kit: Kit) -> None:
    first = file_of(await kit.run(selected()))
    effects = await kit.run(selected(request_id="r2"))
    assert file_of(effects) == msgspec.structs.replace(first, reused=True)
    assert len(kit.fetcher.limits) == 1
    assert not writes(effects)


async def test_formats_of_one_video_are_remembered_side_by_side(kit: Kit) -> None:
    other = SelectedSource(
        format=msgspec.structs.replace(FORMAT, format_id="other"), url="https://v16.tiktokcdn.com/o"
    )
    first = file_of(await kit.run(selected()))
    second = file_of(await kit.run(selected(other)))
    assert first.uri != second.uri
    assert file_of(await kit.run(selected())).reused
    assert file_of(await kit.run(selected(other))).reused
    assert len(kit.fetcher.limits) == 2


async def test_a_file_that_vanished_is_fetched_again(kit: Kit) -> None:
    path_of(file_of(await kit.run(selected()))).unlink()
    file = file_of(await kit.run(selected()))
    assert not file.reused
    assert path_of(file).read_bytes() == BODY


async def test_a_file_of_another_size_is_fetched_again(kit: Kit) -> None:
    path_of(file_of(await kit.run(selected()))).write_bytes(b"cut")
    assert not file_of(await kit.run(selected())).reused


async def test_a_refresh_fetches_again(kit: Kit) -> None:
    await kit.run(selected())
    event = selected(options=Options(refresh=True), received_at=datetime.now(UTC))
    file = file_of(await kit.run(event))
    assert not file.reused
    assert len(kit.fetcher.limits) == 2


async def test_the_retry_of_a_refresh_finds_what_was_fetched_since_it_was_asked_for(
    kit: Kit,
) -> None:
    await kit.run(selected())
    file = file_of(await kit.run(selected(options=Options(refresh=True), received_at=WRITTEN_AT)))
    assert file.reused
    assert len(kit.fetcher.limits) == 1


@pytest.mark.parametrize("max_bytes", [None, 1_000])
async def test_a_known_file_within_the_bound_is_an_answer(kit: Kit, max_bytes: int | None) -> None:
    await kit.run(selected())
    assert file_of(await kit.run(selected(options=Options(max_bytes=max_bytes)))).reused


async def test_a_known_file_that_is_too_large_is_no_answer(kit: Kit) -> None:
    await kit.run(selected())
    found = failure(await kit.run(selected(options=Options(max_bytes=999))))
    assert found.error.error_type is ErrorCode.REQUEST_TOO_LARGE
    assert len(kit.fetcher.limits) == 2


async def test_a_row_that_nobody_can_read_is_no_answer(kit: Kit) -> None:
    kit.table.show(TableWrite(TABLE, VIDEO.key, b"\xff"))
    assert not file_of(await kit.run(selected())).reused


# Bounds


async def test_the_bounds_of_the_settings_are_passed_on(tmp_path: Path) -> None:
    async with opened(
        tmp_path,
        connect_timeout_seconds=1,
        stall_timeout_seconds=2,
        deadline_seconds=3,
        file_bytes=4_000,
    ) as kit:
        await kit.run(selected())
    expected = FetchLimits(connect_seconds=1, stall_seconds=2, total_seconds=3, max_bytes=4_000)
    assert kit.fetcher.limits == [expected]
    assert ".tiktokcdn.com" in kit.fetcher.hosts


async def test_a_deadline_that_passes_in_the_middle_ends_the_job(kit: Kit) -> None:
    kit.fetcher.then = never
    effects = await kit.run(selected(deadline=soon(0.05), attempts=(make_attempt(),)))
    found = outcome(effects)
    assert isinstance(found, Expired)
    assert found.attempts == 1
    assert 0.01 < found.timings["download"] < 5
    assert not writes(effects)


async def test_a_download_that_takes_too_long_is_a_failure(tmp_path: Path) -> None:
    async with opened(tmp_path, deadline_seconds=0.05) as kit:
        kit.fetcher.then = never
        found = failure(await kit.run(selected(deadline=soon(600))))
        assert found.error.error_type is ErrorCode.NETWORK_TIMEOUT
        assert found.record.topic == "videos.selected"


class Hours:
    """Time that passes at once, for the loop too: whatever is due meanwhile happens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        time, self.passed = loop.time, 0.0
        monkeypatch.setattr(loop, "time", lambda: time() + self.passed)

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("whose", "code"), [("ours", None), ("the server's", ErrorCode.NETWORK_TIMEOUT)]
)
async def test_only_what_the_server_takes_counts_against_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str, code: ErrorCode | None
) -> None:
    hours = Hours(monkeypatch)
    bandwidth = Bandwidth(1_000, clock=asyncio.get_running_loop().time, sleep=hours.sleep)
    async with opened(tmp_path, deadline_seconds=600) as kit:
        kit.fetcher.then = lambda: (
            bandwidth.spend(3_600_000) if whose == "ours" else hours.sleep(3_600)
        )
        await kit.run(selected())
        assert hours.passed > 3_500
        assert [each.code for each in kit.attempts()] == [code]


async def test_a_stray_timeout_is_not_taken_for_the_deadline(kit: Kit) -> None:
    async def stray() -> None:
        raise TimeoutError

    kit.fetcher.then = stray
    with pytest.raises(TimeoutError):
        await kit.run(selected(deadline=soon(600)))


async def test_nothing_is_left_behind(kit: Kit, tmp_path: Path) -> None:
    kit.fetcher.then = never
    await kit.run(selected(deadline=soon(0.05)))
    kit.fetcher.then = fails(ErrorCode.NETWORK_CONNECTION)
    await kit.run(selected())
    left = await asyncio.to_thread(lambda: [path.name for path in tmp_path.rglob("*")])
    assert "media" not in left
    assert not [name for name in left if name.startswith("job-")]


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
async def test_what_the_fetcher_cannot_do_is_a_failure(kit: Kit, code: ErrorCode) -> None:
    kit.fetcher.then = fails(code, retry_after=9.0)
    effects = await kit.run(selected())
    found = failure(effects)
    assert (found.step, found.error.error_type) == ("download", code)
    assert found.retry_after_seconds == 9.0
    assert decode(found.record.value, SelectedVideo).sources == (SOURCE,)
    assert len(effects) == 1


async def test_a_store_that_takes_nothing_is_a_failure(kit: Kit, tmp_path: Path) -> None:
    folder = tmp_path / "files" / "tiktok"
    folder.write_bytes(b"in the way")
    found = await kit.run_to_failure(selected())
    assert found.error.error_type is ErrorCode.SYSTEM_STORAGE
    assert SOURCE.url not in str(found.error)


async def test_a_store_that_cannot_tell_is_a_failure(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kit.run(selected())

    async def broken(_uri: str) -> int | None:
        raise ClipmillError(ErrorCode.SYSTEM_STORAGE, "the disk is gone")

    monkeypatch.setattr(kit.storage, "stat", broken)
    found = await kit.run_to_failure(selected())
    assert found.error.error_type is ErrorCode.SYSTEM_STORAGE


async def test_a_name_that_is_none_is_a_failure(kit: Kit) -> None:
    video = msgspec.structs.replace(VIDEO, id="../../etc/passwd")
    found = failure(await kit.run(msgspec.structs.replace(selected(), video=video)))
    assert found.error.error_type is ErrorCode.CONTENT_UNSUPPORTED


# Progress


@pytest.mark.parametrize("told", [True, False], ids=["size told", "size untold"])
async def test_the_end_is_always_told_and_the_way_there_seldom(kit: Kit, told: bool) -> None:
    kit.fetcher.told = told
    await kit.run(selected())
    (report,) = kit.reports()
    assert (report.bytes, report.total_bytes) == (1_000, 1_000)
    assert (report.request_id, report.video_key) == ("r1", VIDEO.key)
    assert [each.key for each in sent_to(kit.supplements, PROGRESS)] == [b"r1"]


async def test_a_failed_download_has_no_end_to_tell(kit: Kit) -> None:
    kit.fetcher.told = False
    kit.fetcher.then = fails(ErrorCode.NETWORK_CONNECTION)
    await kit.run(selected())
    assert kit.reports() == []


# The stage


async def test_the_stage_opens_and_forgets_old_files(tmp_path: Path) -> None:
    settings = make_settings(data_dir=tmp_path, cache=CacheSettings(file_seconds=60))
    context, _ = make_context(settings, TABLE)
    table = context.tables[TABLE]
    async with download_stage.open(context):
        ((seconds, sweep),) = context.sweeps
        rows = {"old": 1.0, "new": 1e11}
        for key, end in rows.items():
            table.show(TableWrite(TABLE, key, encode(known_files(end))))
        table.show(TableWrite(TABLE, "unreadable", b"\xff"))
        swept = sweep()
    assert seconds == SWEEP_SECONDS
    assert {(each.key, each.value) for each in writes(swept)} == {
        ("old", None),
        ("unreadable", None),
    }


async def test_all_ways_out_share_the_bandwidth() -> None:
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


@pytest.mark.parametrize("wanted", [True, False])
async def test_files_are_looked_into_unless_the_settings_forbid_it(
    wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes: list[object] = []
    monkeypatch.setattr("agents.download.agent.Examiner", probes.append)
    settings = make_settings(data_dir=tmp_path, download=DownloadSettings(probe=wanted))
    async with download_stage.open(make_context(settings, TABLE)[0]):
        assert [isinstance(each, MediaProber) for each in probes] == [wanted]


# The network is behind the gate


def shut(kit: Kit) -> None:
    """The breaker of the only way out is open."""
    state = BreakerState(
        platform="tiktok",
        operation="download",
        egress="direct",
        state="open",
        reason=ErrorCode.NETWORK_SERVER,
        since=WRITTEN_AT,
        until=FUTURE,
    )
    kit.context.signals.put(f"{BREAKER}{state.name}", encode(state))


async def test_an_open_breaker_leaves_the_platform_alone(kit: Kit) -> None:
    shut(kit)
    found = failure(await kit.run(selected()))
    assert (found.error.error_type, found.permitted) == (ErrorCode.NETWORK_SERVER, False)
    assert (found.operation, found.egress) == ("download", "direct")
    assert kit.fetcher.limits == []


async def test_a_known_file_is_served_behind_an_open_breaker(kit: Kit) -> None:
    await kit.run(selected())
    shut(kit)
    assert file_of(await kit.run(selected())).reused


async def test_what_the_store_refuses_says_nothing_about_the_platform(
    kit: Kit, tmp_path: Path
) -> None:
    (tmp_path / "files" / "tiktok").write_bytes(b"in the way")
    found = await kit.run_to_failure(selected())
    assert (found.error.error_type, found.operation) == (ErrorCode.SYSTEM_STORAGE, None)
    assert {each.code for each in kit.attempts()} == {None}


async def test_a_download_that_takes_too_long_is_told(tmp_path: Path) -> None:
    async with opened(tmp_path, deadline_seconds=0.05) as kit:
        kit.fetcher.then = never
        await kit.run(selected())
        assert [each.code for each in kit.attempts()] == [ErrorCode.NETWORK_TIMEOUT]


# What a user takes back


def found_in(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.rglob(pattern))


async def begun(kit: Kit) -> "asyncio.Task[list[Effect]]":
    """A download that stands still in the middle."""
    reached = asyncio.Event()

    async def stand_still() -> None:
        reached.set()
        await never()

    kit.fetcher.then = stand_still
    task = asyncio.create_task(kit.run(selected()))
    async with asyncio.timeout(5):
        await reached.wait()
    return task


async def test_a_cancelled_download_stops_at_once_and_leaves_nothing(
    kit: Kit, tmp_path: Path
) -> None:
    task = await begun(kit)
    assert found_in(tmp_path, "media")
    kit.context.signals.put("cancel/r1", encode(CancelSignal(by="ann", at=WRITTEN_AT)))
    effects = await asyncio.wait_for(task, 1)
    assert isinstance(outcome(effects), Cancelled)
    assert found_in(tmp_path, "media") == found_in(tmp_path, "job-*") == []
    assert kit.attempts() == []


@pytest.mark.parametrize(("seconds", "reused"), [(-60, True), (0, False)])
async def test_files_from_before_a_refresh_are_not_used(
    kit: Kit, seconds: float, *, reused: bool
) -> None:
    await kit.run(selected())
    signal = RefreshSignal(by="ann", at=soon(seconds))
    kit.context.signals.put(f"refresh/{VIDEO.key}", encode(signal), live=False)
    effects = await kit.run(selected())
    assert file_of(effects).reused is reused


async def test_a_refresh_forgets_the_other_formats_too(kit: Kit) -> None:
    other = SelectedSource(
        format=msgspec.structs.replace(FORMAT, format_id="other"), url="https://v16.tiktokcdn.com/o"
    )
    await kit.run(selected(other))
    signal = RefreshSignal(by="ann", at=datetime.now(UTC))
    kit.context.signals.put(f"refresh/{VIDEO.key}", encode(signal))
    await kit.run(selected())
    assert not file_of(await kit.run(selected(other))).reused
    assert file_of(await kit.run(selected())).reused


# An outage of the storage


async def test_too_little_space_begins_nothing_and_stops_the_intake(tmp_path: Path) -> None:
    async with opened(tmp_path, free_bytes=2**60) as kit:
        found = outcome(await kit.run(selected(deadline=soon(0.1))))
        assert isinstance(found, Expired)
        assert (kit.fetcher.limits, kit.attempts()) == ([], [])
        assert "free" in (kit.context.intake.problem() or "")


@pytest.mark.parametrize("code", [ErrorCode.SYSTEM_DISK_FULL, ErrorCode.SYSTEM_STORAGE])
async def test_an_event_that_meets_an_outage_goes_on_when_the_storage_works(
    kit: Kit, code: ErrorCode
) -> None:
    kit.fetcher.then = fails(code)
    waiting = asyncio.create_task(kit.run(selected()))
    async with running(kit.outage.watch()):
        while not kit.context.intake.paused:  # noqa: ASYNC110  (no event tells it)
            await asyncio.sleep(0.001)
        assert not waiting.done()
        kit.fetcher.then = None
        kit.ticks.put_nowait(None)
        found = outcome(await asyncio.wait_for(waiting, 5))
    assert isinstance(found, Completed)
    assert (found.attempts, found.recovery, found.parked) == (1, (), None)


@pytest.mark.parametrize("code", [ErrorCode.SYSTEM_DISK_FULL, ErrorCode.SYSTEM_STORAGE])
async def test_an_event_that_a_working_store_fails_again_and_again_is_a_failure(
    kit: Kit, code: ErrorCode
) -> None:
    kit.fetcher.then = fails(code)
    assert (await kit.run_to_failure(selected())).error.error_type is code
    assert len(kit.fetcher.limits) == STORAGE_TRIES


async def test_other_failures_do_not(kit: Kit) -> None:
    kit.fetcher.then = fails(ErrorCode.NETWORK_CONNECTION)
    await kit.run(selected())
    assert not kit.context.intake.paused


async def test_what_was_taken_before_waits_for_the_end_of_the_outage(
    kit: Kit, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    files.rename(tmp_path / "away")
    first = asyncio.create_task(kit.run(selected()))
    async with running(kit.outage.watch()):
        while not kit.context.intake.paused:  # noqa: ASYNC110  (no event tells it)
            await asyncio.sleep(0.001)
        second = asyncio.create_task(kit.run(selected(request_id="r2")))
        kit.ticks.put_nowait(None)
        await asyncio.sleep(0.05)
        assert not first.done()
        assert not second.done()
        (tmp_path / "away").rename(files)
        kit.ticks.put_nowait(None)
        for waiting in (first, second):
            assert path_of(file_of(await asyncio.wait_for(waiting, 5))).read_bytes() == BODY
    assert not kit.context.intake.paused


async def test_who_waits_for_the_storage_can_be_taken_back_and_expires(kit: Kit) -> None:
    kit.context.intake.pause("storage", "away")
    assert isinstance(outcome(await kit.run(selected(deadline=soon(0.05)))), Expired)
    waiting = asyncio.create_task(kit.run(selected()))
    await asyncio.sleep(0.01)
    kit.context.signals.put("cancel/r1", encode(CancelSignal(by="ann", at=WRITTEN_AT)))
    assert isinstance(outcome(await asyncio.wait_for(waiting, 1)), Cancelled)
