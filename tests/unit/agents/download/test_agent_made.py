"""Files made from fetched ones: audio only, and video with the audio of another file."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock
from urllib.parse import unquote, urlsplit

import msgspec
import pytest

from agents.download.agent import Download
from agents.download.file_index import TABLE, StoredFilesRow
from agents.media.prober import Probe, open_prober
from agents.media.protocol import MediaFacts, Unreadable
from agents.media.remuxer import Remux, open_remuxer
from agents.network.download import Fetched
from agents.network.transfer import FetchLimits, OnBytes
from agents.pipeline.step import step_handler
from agents.storage.local import LocalStorage
from schemas.codec import decode
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import Progress, SelectedVideo
from schemas.files import StoredFile
from schemas.request import Options
from schemas.results import Completed
from schemas.video import MediaSource, SelectedSource, VideoFormat
from streams.records import Effect
from streams.settings import DownloadSettings
from streams.topics import PROGRESS
from tests.standin.media_marks import Marked, beeps, flashes, marked
from tests.unit.agents.builders import (
    VIDEO,
    apply_writes,
    body_of,
    event_record,
    failure,
    make_context,
    make_settings,
    outcome,
    selected,
    sent_to,
    writes,
)
from tests.unit.agents.download.downloads import FakeProbe, FakeRemuxer, WholeFiles, make_download

PLAIN = VideoFormat(
    format_id="small",
    container="mp4",
    video_codec="h264",
    audio_codec="aac",
    width=576,
    height=1024,
    bytes=600,
)
LARGE = msgspec.structs.replace(PLAIN, format_id="large", audio_codec=None, width=1080, bytes=900)
SMALL = MediaSource(format=PLAIN, url="https://v16.tiktokcdn.com/small.mp4")
SOUND = SelectedSource(format=PLAIN, url=SMALL.url, sound_only=True)
WHOLE = SelectedSource(format=PLAIN, url=SMALL.url)
JOINED = SelectedSource(format=LARGE, url="https://v16.tiktokcdn.com/large.mp4", sound_from=SMALL)
FACTS = MediaFacts(duration_seconds=12.5, video_codec="h264", audio_codec="aac", width=576)
AUDIO_FACTS = MediaFacts(duration_seconds=12.5, audio_codec="aac", sample_rate=44_100)


class FakeFetcher(WholeFiles):
    """Writes a body derived from the format id, or raises."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.limits: dict[str, int] = {}
        self.errors: dict[str, ErrorCode] = {}
        self.bodies: dict[str, bytes] = {}

    async def fetch(
        self,
        source: MediaSource,
        target: Path,
        *,
        hosts: tuple[str, ...],
        limits: FetchLimits,
        on_bytes: OnBytes,
    ) -> Fetched:
        assert hosts
        name = source.format.format_id
        self.fetched.append(name)
        self.limits[name] = limits.max_bytes
        if name in self.errors:
            raise ClipmillError(self.errors[name], "it is so")
        content = self.bodies.get(name, body(name))
        on_bytes(len(content), len(content))
        await asyncio.to_thread(target.write_bytes, content)
        digest = sha256(content).hexdigest()
        return Fetched(bytes=len(content), sha256=digest, mime_type="video/mp4")


def body(format_id: str) -> bytes:
    return format_id.encode() * 100


class DownloadHarness:
    """The handler of the stage over a real storage."""

    def __init__(self, storage: LocalStorage) -> None:
        self.storage = storage
        self.fetcher = FakeFetcher()
        self.fake_probe, self.fake_remuxer = FakeProbe(FACTS, AUDIO_FACTS), FakeRemuxer()
        self.probe: Probe = self.fake_probe
        self.remuxer: Remux = self.fake_remuxer
        settings = make_settings(download=DownloadSettings(file_bytes=1_000_000))
        self.context, self.best_effort_records = make_context(settings, TABLE)

    def work(self) -> Download:
        fetchers = {"direct": self.fetcher}
        return make_download(
            self.storage, fetchers, self.context, probe=self.probe, remuxer=self.remuxer
        )

    async def run(
        self, source: SelectedSource, *, killed: bool = False, **changes: Any
    ) -> list[Effect]:
        """Handle an event; ``killed`` leaves out its table writes, as a crash before them."""
        handle = step_handler(
            "download", SelectedVideo, self.work().work, self.context.shared_state
        )
        effects = list(await handle(event_record(selected(source, **changes))))
        if not killed:
            apply_writes(self.context.tables[TABLE], effects)
        return effects

    def stored(self) -> list[str]:
        return sorted(path.name for path in self.storage._files.rglob("*") if path.is_file())

    def scratch(self) -> list[Path]:
        return list(self.storage._workspaces.directory.rglob("job-*"))


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[DownloadHarness]:
    async with LocalStorage.open(tmp_path) as storage:
        yield DownloadHarness(storage)


def file_of(effects: list[Effect]) -> StoredFile:
    found = outcome(effects)
    assert isinstance(found, Completed)
    (file,) = found.files
    return file


def path_of(file: StoredFile) -> Path:
    return Path(unquote(urlsplit(file.uri).path))


def content_of(file: StoredFile) -> bytes:
    return path_of(file).read_bytes()


async def test_audio_of_a_video_is_stored_as_an_audio_file(harness: DownloadHarness) -> None:
    file = file_of(await harness.run(SOUND))
    content = b"sound of " + body("small")
    assert content_of(file) == content
    assert (file.bytes, file.sha256) == (len(content), sha256(content).hexdigest())
    assert (file.format_id, file.mime_type) == ("small", "audio/mp4")
    assert (file.codec, file.audio_codec, file.sample_rate) == ("aac", "aac", 44_100)
    assert (file.width, file.height, file.probed, file.song) == (None, None, True, False)
    assert harness.stored() == [f"{VIDEO.id}.small~sound.m4a"]
    assert harness.scratch() == []


@pytest.mark.parametrize(
    ("extension", "mime_type"),
    [("mp3", "audio/mpeg"), ("opus", "audio/ogg"), ("ogg", "audio/ogg"), ("flac", "audio/flac")],
)
async def test_extension_and_mime_type_follow_the_remuxed_file(
    extension: str, mime_type: str, harness: DownloadHarness
) -> None:
    harness.fake_remuxer.extension = extension
    file = file_of(await harness.run(SOUND, killed=True))
    assert file.mime_type == mime_type
    assert harness.stored() == [f"{VIDEO.id}.small~sound.{extension}"]
    harness.fake_probe.answers = [AUDIO_FACTS]
    again = file_of(await harness.run(SOUND))
    assert (again.reused, again.mime_type, again.sha256) == (True, mime_type, file.sha256)
    assert harness.fetcher.fetched == ["small"]


async def test_video_is_stored_with_the_audio_of_another_file(harness: DownloadHarness) -> None:
    harness.fake_probe.answers = [FACTS]
    file = file_of(await harness.run(JOINED))
    content = body("large") + b" with the sound of " + body("small")
    assert content_of(file) == content
    assert (file.bytes, file.sha256) == (len(content), sha256(content).hexdigest())
    assert (file.format_id, file.mime_type) == ("large+small", "video/mp4")
    assert (file.codec, file.audio_codec, file.probed) == ("h264", "aac", True)
    assert harness.fetcher.fetched == ["small", "large"]
    assert len(harness.fake_probe.probed_paths) == 3
    assert len(harness.stored()) == 1
    assert harness.scratch() == []


@pytest.mark.parametrize("source", [SOUND, JOINED], ids=["sound", "joined"])
async def test_remuxed_file_is_reused(source: SelectedSource, harness: DownloadHarness) -> None:
    harness.fake_probe.answers = [FACTS]
    first = file_of(await harness.run(source, killed=True))
    found = file_of(await harness.run(source))
    known = await harness.run(source)
    assert file_of(known) == found == msgspec.structs.replace(first, reused=True)
    assert not writes(known)
    assert len(harness.fake_remuxer.made) == 1


async def test_video_and_its_audio_are_two_files(harness: DownloadHarness) -> None:
    sound = file_of(await harness.run(SOUND))
    harness.fake_probe.answers = [FACTS]
    effects = await harness.run(WHOLE)
    whole = file_of(effects)
    assert (whole.format_id, sound.format_id) == ("small", "small")
    assert content_of(whole) == body("small")
    (row,) = writes(effects)
    assert set(decode(row.value or b"", StoredFilesRow).files) == {"small", "small~sound"}
    assert file_of(await harness.run(SOUND)) == msgspec.structs.replace(sound, reused=True)


async def test_audio_is_extracted_from_a_stored_video_without_fetching(
    harness: DownloadHarness,
) -> None:
    harness.fake_probe.answers = [FACTS, AUDIO_FACTS]
    whole = file_of(await harness.run(WHOLE))
    sound = file_of(await harness.run(SOUND))
    assert content_of(sound) == b"sound of " + body("small")
    assert (sound.mime_type, sound.codec, sound.reused) == ("audio/mp4", "aac", False)
    assert harness.fetcher.fetched == ["small"]
    assert content_of(whole) == body("small")
    report = [body_of(each, Progress) for each in sent_to(harness.best_effort_records, PROGRESS)][
        -1
    ]
    assert (report.bytes, report.files_done) == (sound.bytes, 1)


@pytest.mark.parametrize("removed", ["before the lookup", "after the lookup"])
async def test_missing_stored_video_is_fetched_for_its_audio(
    removed: str, harness: DownloadHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.fake_probe.answers = [FACTS, FACTS, AUDIO_FACTS]
    whole = file_of(await harness.run(WHOLE))
    path_of(whole).unlink()
    if removed == "after the lookup":
        monkeypatch.setattr(harness.storage, "stat", AsyncMock(return_value=whole.bytes))
    assert content_of(file_of(await harness.run(SOUND))) == b"sound of " + body("small")
    assert harness.fetcher.fetched == ["small", "small"]


async def test_refresh_fetches_the_video_for_its_audio(harness: DownloadHarness) -> None:
    harness.fake_probe.answers = [FACTS]
    await harness.run(WHOLE)
    await harness.run(SOUND, options=Options(refresh=True), received_at=datetime.now(UTC))
    assert harness.fetcher.fetched == ["small", "small"]


async def test_max_bytes_applies_to_the_audio_and_not_to_the_video(
    harness: DownloadHarness,
) -> None:
    harness.fetcher.bodies["small"] = bytes(600)
    file = file_of(await harness.run(SOUND, options=Options(max_bytes=620)))
    assert (file.bytes, harness.fetcher.limits) == (609, {"small": 1_000_000})
    harness.fake_probe.answers = [FACTS, AUDIO_FACTS]
    cause = failure(await harness.run(SOUND, options=Options(max_bytes=608, refresh=True)))
    assert cause.error.error_type is ErrorCode.REQUEST_TOO_LARGE
    assert harness.scratch() == []


async def test_max_bytes_applies_to_the_whole_joined_file(harness: DownloadHarness) -> None:
    harness.fake_probe.answers = [FACTS]
    limit = 500 + len(" with the sound of ") + 500
    options = Options(max_bytes=limit - 1)
    cause = failure(await harness.run(JOINED, options=options))
    assert cause.error.error_type is ErrorCode.REQUEST_TOO_LARGE
    assert harness.fetcher.limits == {"large": limit - 1, "small": 1_000_000}
    assert harness.stored() == []
    assert file_of(await harness.run(JOINED, options=Options(max_bytes=limit))).bytes == limit


@pytest.mark.parametrize("name", ["large", "small"])
async def test_failure_names_the_failed_format(name: str, harness: DownloadHarness) -> None:
    harness.fake_probe.answers = [FACTS]
    harness.fetcher.errors[name] = ErrorCode.CONTENT_LINK_EXPIRED
    cause = failure(await harness.run(JOINED))
    assert (cause.error.error_type, cause.format_id) == ("content.link_expired", name)
    assert (harness.stored(), harness.scratch()) == ([], [])


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_each_file_is_probed(at: int, harness: DownloadHarness) -> None:
    harness.fake_probe.answers = [*[FACTS] * at, Unreadable(reason="it is no media"), FACTS]
    cause = failure(await harness.run(JOINED))
    assert cause.error.error_type is ErrorCode.CONTENT_DAMAGED
    assert cause.format_id == ("small", "large", "large+small")[at]
    assert (harness.stored(), harness.scratch()) == ([], [])


@pytest.mark.parametrize("source", [SOUND, JOINED], ids=["sound", "joined"])
@pytest.mark.parametrize(
    "code", [ErrorCode.CONTENT_DAMAGED, ErrorCode.SYSTEM_ENGINE_CRASH, ErrorCode.SYSTEM_DISK_FULL]
)
async def test_failed_remux_leaves_no_files(
    code: ErrorCode, source: SelectedSource, harness: DownloadHarness
) -> None:
    harness.fake_probe.answers = [FACTS]
    harness.fake_remuxer.error = ClipmillError(code, "it is so")
    with pytest.raises(ClipmillError) as caught:
        await harness.work()._provide(selected(source))
    assert (caught.value.code, caught.value.format_id) == (code, source.format_id)
    assert (harness.stored(), harness.scratch()) == ([], [])


async def test_progress_counts_fetched_bytes(harness: DownloadHarness) -> None:
    harness.fake_probe.answers = [FACTS]
    await harness.run(JOINED)
    report = [body_of(each, Progress) for each in sent_to(harness.best_effort_records, PROGRESS)][
        -1
    ]
    assert (report.format_id, report.bytes, report.total_bytes) == ("large+small", 1_000, 1_000)
    assert (report.files_done, report.files_total) == (1, 1)


KILLED_SCRIPT = """
import asyncio, sys, pathlib
from agents.media import remuxer
from agents.storage.local import LocalStorage

async def main():
    root, picture, sound = map(pathlib.Path, sys.argv[1:])
    async with LocalStorage.open(root) as storage, remuxer.open_remuxer() as tool:
        async with storage.workspace() as directory:
            await tool.mux(picture, sound, directory / "joined")
            with open(directory / "joined", "r+b") as file:
                file.truncate(1000)
            print("half", flush=True)
            await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_killed_worker_leaves_no_partial_files(tmp_path: Path) -> None:
    picture, sound, root = tmp_path / "picture", tmp_path / "sound", tmp_path / "data"
    picture.write_bytes(marked(Marked(audio="")))
    sound.write_bytes(marked(Marked()))
    child = await asyncio.create_subprocess_exec(
        *[sys.executable, "-c", KILLED_SCRIPT, str(root), str(picture), str(sound)],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert await asyncio.wait_for(child.stdout.readline(), 60) == b"half\n"
    assert list(root.rglob("joined"))
    child.kill()
    await child.wait()
    async with LocalStorage.open(root) as storage:
        harness = DownloadHarness(storage)
        assert (harness.stored(), harness.scratch()) == ([], [])


async def test_remuxed_file_is_in_sync_and_described_correctly(harness: DownloadHarness) -> None:
    seconds, marks = 12.5, (0.4, 6.1, 12.2)
    large = Marked(audio="", late=2, rate=60, seconds=seconds, marks=marks)
    small = Marked(late=2, seconds=seconds, marks=marks, samples=44_100)
    harness.fetcher.bodies = {"large": marked(large), "small": marked(small)}
    async with open_remuxer() as harness.remuxer, open_prober() as harness.probe:
        joined = file_of(await harness.run(JOINED))
        sound = file_of(await harness.run(SOUND))
    for file in (joined, sound):
        content = content_of(file)
        assert (len(content), sha256(content).hexdigest()) == (file.bytes, file.sha256)
        assert file.duration_seconds == pytest.approx(seconds, abs=0.1)
        assert (file.audio_codec, file.sample_rate, file.probed) == ("aac", 44_100, True)
        assert beeps(path_of(file)) == pytest.approx(marks, abs=0.04)
    assert (joined.codec, joined.width, sound.codec, sound.width) == ("h264", 64, "aac", None)
    assert flashes(path_of(joined)) == pytest.approx(marks, abs=0.04)
