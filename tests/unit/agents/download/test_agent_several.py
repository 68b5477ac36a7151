"""Several files of one post: together, each whole, and none twice."""

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

from agents.download.agent import FILES_AT_A_TIME
from agents.download.file_index import TABLE, KnownFiles
from agents.media.facts import MediaFacts, Unreadable
from agents.network.download import Fetched, FetchLimits, OnBytes
from agents.pipeline.step import step_handler
from agents.storage.local import LocalStorage
from schemas.attempts import NetworkAttempt
from schemas.codec import decode, encode
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import SelectedVideo
from schemas.files import StoredFile
from schemas.progress import Progress
from schemas.request import Options
from schemas.results import Cancelled, Completed, Expired
from schemas.signals import BREAKER, BreakerState, CancelSignal, RefreshSignal
from schemas.video import MediaSource, SelectedSource, VideoFormat
from streams.records import Effect
from streams.topics import ATTEMPTS, PROGRESS
from tests.unit.agents.builders import (
    VIDEO,
    WRITTEN_AT,
    body_of,
    event_record,
    failure,
    header,
    make_context,
    make_settings,
    outcome,
    selected,
    sent_to,
    show,
    soon,
    writes,
)
from tests.unit.agents.download.downloads import FakeProbe, make_download

PICTURES = 12
Then = Callable[[], Awaitable[None]]


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


class Fetcher:
    """Writes a body that tells the format, then does what a test wants for that format."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.then: dict[str, Then] = {}
        self.running = self.most = 0

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
        self.most = max(self.most, self.running)
        try:
            content = body(format_id)
            on_bytes(len(content), len(content))
            await asyncio.to_thread(target.write_bytes, content)
            await self.then.get(format_id, _nothing)()
        finally:
            self.running -= 1
        self.fetched.append(format_id)
        return Fetched(
            bytes=len(content), sha256=sha256(content).hexdigest(), mime_type="image/jpeg"
        )


async def _nothing() -> None:
    await asyncio.sleep(0)


def fails(code: ErrorCode) -> Then:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ClipmillError(code, "it is so")

    return fail


async def never() -> None:
    await asyncio.Event().wait()


class Kit:
    """The stage's handler over a real store; `restart` forgets what was not written."""

    def __init__(self, storage: LocalStorage) -> None:
        self.storage = storage
        self.fetcher = Fetcher()
        self.probe: FakeProbe | None = None
        self.context, self.supplements = make_context(make_settings(), TABLE)

    async def run(self, event: SelectedVideo, *, killed: bool = False) -> list[Effect]:
        """Handle an event; ``killed``: before anything of it was written."""
        work = make_download(self.storage, {"direct": self.fetcher}, self.context, probe=self.probe)
        handle = step_handler("download", SelectedVideo, work.work, self.context.signals)
        effects = list(await handle(event_record(event)))
        if not killed:
            show(self.context.tables[TABLE], effects)
        return effects

    def reports(self) -> list[Progress]:
        return [body_of(each, Progress) for each in sent_to(self.supplements, PROGRESS)]


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    async with LocalStorage.open(tmp_path) as storage:
        yield Kit(storage)


def files_of(effects: list[Effect]) -> tuple[StoredFile, ...]:
    found = outcome(effects)
    assert isinstance(found, Completed)
    return found.files


def content_of(file: StoredFile) -> bytes:
    return Path(file.uri.removeprefix("file://")).read_bytes()


def workspaces(folder: Path) -> list[Path]:
    return list(folder.rglob("job-*"))


async def test_all_files_of_a_post_are_one_result_in_its_order(kit: Kit) -> None:
    effects = await kit.run(photos())
    files = files_of(effects)
    assert [file.format_id for file in files] == IDS
    assert [content_of(file) for file in files] == [body(each) for each in IDS]
    assert not any(file.reused for file in files)
    (row,) = writes(effects)
    assert set(decode(row.value or b"", KnownFiles).files) == set(IDS)


async def test_some_come_at_a_time_but_not_all(kit: Kit) -> None:
    meeting = asyncio.Barrier(FILES_AT_A_TIME)

    async def meet() -> None:
        await meeting.wait()

    kit.fetcher.then = dict.fromkeys(IDS[:FILES_AT_A_TIME], meet)
    await asyncio.wait_for(kit.run(photos()), 5)
    assert kit.fetcher.most == FILES_AT_A_TIME


async def test_all_known_files_are_reused(kit: Kit) -> None:
    await kit.run(photos())
    effects = await kit.run(photos(request_id="r2"))
    assert all(file.reused for file in files_of(effects))
    assert len(kit.fetcher.fetched) == len(IDS)
    assert not writes(effects)


async def test_a_known_file_of_several_is_reused_alone(kit: Kit) -> None:
    await kit.run(photos())
    gone = kit.storage._files / "tiktok" / VIDEO.id / f"{VIDEO.id}.image-05.jpeg"
    gone.unlink()
    effects = await kit.run(photos())
    assert [file.format_id for file in files_of(effects) if not file.reused] == ["image-05"]
    (row,) = writes(effects)
    assert set(decode(row.value or b"", KnownFiles).files) == set(IDS)
    assert not any(file.reused for file in decode(row.value or b"", KnownFiles).files.values())


# One fails


@pytest.mark.parametrize("failing", ["image-01", "image-07", "audio"])
async def test_one_that_fails_fails_all_and_is_named(failing: str, kit: Kit) -> None:
    kit.fetcher.then[failing] = fails(ErrorCode.CONTENT_LINK_EXPIRED)
    effects = await kit.run(photos())
    found = failure(effects)
    assert found.error.error_type is ErrorCode.CONTENT_LINK_EXPIRED
    assert found.format_id == failing
    assert not writes(effects)


async def test_what_was_stored_before_the_failure_is_not_fetched_again(kit: Kit) -> None:
    kit.fetcher.then["audio"] = fails(ErrorCode.CONTENT_LINK_EXPIRED)
    await kit.run(photos())
    before = kit.fetcher.fetched.copy()
    kit.fetcher.then.clear()
    files = files_of(await kit.run(photos()))
    assert set(before) >= set(IDS[: PICTURES - FILES_AT_A_TIME])
    assert sorted(kit.fetcher.fetched) == sorted(IDS)
    assert [file.sha256 for file in files] == [sha256(body(each)).hexdigest() for each in IDS]
    assert {file.format_id for file in files if file.reused} == set(before)


async def test_the_fresh_links_of_a_retry_do_not_fetch_again_what_is_stored(kit: Kit) -> None:
    """The remedy reads the page anew by the option that clients have."""
    asked = datetime.now(UTC)
    kit.fetcher.then["audio"] = fails(ErrorCode.CONTENT_LINK_EXPIRED)
    await kit.run(photos(received_at=asked))
    kit.fetcher.then.clear()
    await kit.run(photos(received_at=asked, options=Options(refresh=True)))
    assert sorted(kit.fetcher.fetched) == sorted(IDS)


async def test_a_kill_before_the_row_is_written_fetches_nothing_twice(kit: Kit) -> None:
    first = files_of(await kit.run(photos(), killed=True))
    effects = await kit.run(photos())
    second = files_of(effects)
    assert len(kit.fetcher.fetched) == len(IDS)
    assert [file.sha256 for file in second] == [file.sha256 for file in first]
    assert [file.mime_type for file in second] == ["image/jpeg"] * PICTURES + ["audio/mp4"]
    (row,) = writes(effects)
    assert set(decode(row.value or b"", KnownFiles).files) == set(IDS)


# What is in the storage and in no row


def age(kit: Kit, seconds: float) -> None:
    for path in kit.storage._files.rglob("*.*"):
        moment = path.stat().st_mtime - seconds
        os.utime(path, (moment, moment))


async def test_files_older_than_a_row_may_get_are_fetched_anew(kit: Kit) -> None:
    await kit.run(photos(), killed=True)
    age(kit, kit.context.settings.cache.file_seconds + 60)
    assert not any(file.reused for file in files_of(await kit.run(photos())))


async def test_files_from_before_a_refresh_are_fetched_anew(kit: Kit) -> None:
    await kit.run(photos(), killed=True)
    age(kit, 60)
    signal = RefreshSignal(by="ann", at=soon(-30))
    kit.context.signals.put(f"refresh/{VIDEO.key}", encode(signal))
    assert not any(file.reused for file in files_of(await kit.run(photos())))


@pytest.mark.parametrize("moment", ["found", "opened"])
async def test_a_stored_file_that_is_removed_meanwhile_is_fetched_and_is_no_outage(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    await kit.run(photos(), killed=True)
    lost = next(kit.storage._files.rglob("*.image-02.*"))
    reading = kit.storage.reading

    @asynccontextmanager
    async def removed_first(uri: str) -> AsyncIterator[Path]:
        if moment == "found" and uri == lost.as_uri():
            lost.unlink()
        async with reading(uri) as path:
            if path == lost:
                lost.unlink()
            yield path

    monkeypatch.setattr(kit.storage, "reading", removed_first)
    kit.fetcher.fetched.clear()
    files = files_of(await kit.run(photos()))
    assert kit.fetcher.fetched == ["image-02"]
    assert [file.format_id for file in files if not file.reused] == ["image-02"]
    assert not kit.context.intake.paused


async def test_every_file_of_a_post_is_a_trial_of_its_own(kit: Kit) -> None:
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
    kit.context.signals.put(f"{BREAKER}{state.name}", encode(state))
    await kit.run(photos())
    assert set(kit.fetcher.fetched) == {"image-01", "image-02"}
    sent = sent_to(kit.supplements, ATTEMPTS)
    made = [each for each in sent if header(each, "ce_type") == "io.clipmill.network.attempt.v1"]
    assert {body_of(each, NetworkAttempt).trial for each in made} == set(granted)


async def test_a_stored_file_that_is_not_what_was_promised_is_fetched_anew(kit: Kit) -> None:
    await kit.run(photos(), killed=True)
    sound = MediaFacts(video_codec="jpeg", audio_codec="aac", width=1, height=1)
    kit.probe = FakeProbe(Unreadable(reason="torn"), sound)
    files = files_of(await kit.run(photos()))
    assert sum(not file.reused for file in files) == 1
    assert all(file.probed for file in files)


@pytest.mark.parametrize("killed", [True, False])
async def test_files_are_called_after_what_is_in_them_and_found_again(
    killed: bool, kit: Kit
) -> None:
    found = MediaFacts(container="webp", video_codec="webp", audio_codec="aac", width=1, height=1)
    kit.probe = FakeProbe(found)
    await kit.run(photos(), killed=killed)
    files = files_of(await kit.run(photos()))
    assert {file.uri.rpartition(".")[2] for file in files} == {"webp"}
    assert {file.mime_type for file in files} == {"image/webp"}
    assert all(file.reused for file in files)


async def test_a_stored_file_of_another_name_than_its_kind_is_fetched_anew(kit: Kit) -> None:
    await kit.run(photos(), killed=True)
    kit.probe = FakeProbe(MediaFacts(container="png", video_codec="png", audio_codec="aac"))
    files = files_of(await kit.run(photos()))
    assert not any(file.reused for file in files)
    assert {file.uri.rpartition(".")[2] for file in files} == {"png"}


# Together


async def test_progress_counts_all_files(kit: Kit) -> None:
    await kit.run(photos())
    last = kit.reports()[-1]
    total = sum(len(body(each)) for each in IDS)
    assert (last.bytes, last.total_bytes) == (total, total)
    assert (last.files_done, last.files_total) == (len(IDS), len(IDS))


@pytest.mark.parametrize("fewer", [0, 1])
async def test_the_bound_of_bytes_is_for_all_together(fewer: int, kit: Kit) -> None:
    total = sum(len(body(each)) for each in IDS)
    effects = await kit.run(photos(options=Options(max_bytes=total - fewer)))
    if not fewer:
        assert len(files_of(effects)) == len(IDS)
        return
    assert failure(effects).error.error_type is ErrorCode.REQUEST_TOO_LARGE
    assert "together" in failure(effects).error.technical_details["reason"]


async def test_known_files_count_too(kit: Kit) -> None:
    await kit.run(photos())
    total = sum(len(body(each)) for each in IDS)
    found = failure(await kit.run(photos(options=Options(max_bytes=total - 1))))
    assert found.error.error_type is ErrorCode.REQUEST_TOO_LARGE


async def test_a_cancellation_stops_all(kit: Kit, tmp_path: Path) -> None:
    reached = asyncio.Event()

    async def stand_still() -> None:
        if kit.fetcher.running == FILES_AT_A_TIME:
            reached.set()
        await never()

    kit.fetcher.then = dict.fromkeys(IDS[2:], stand_still)
    task = asyncio.create_task(kit.run(photos()))
    await asyncio.wait_for(reached.wait(), 5)
    kit.context.signals.put("cancel/r1", encode(CancelSignal(by="ann", at=WRITTEN_AT)))
    effects = await asyncio.wait_for(task, 1)
    assert isinstance(outcome(effects), Cancelled)
    assert kit.fetcher.running == 0
    assert workspaces(tmp_path) == []


async def test_a_deadline_ends_all(kit: Kit, tmp_path: Path) -> None:
    kit.fetcher.then = dict.fromkeys(IDS, never)
    effects = await kit.run(photos(deadline=soon(0.05)))
    assert isinstance(outcome(effects), Expired)
    assert kit.fetcher.running == 0
    assert workspaces(tmp_path) == []
