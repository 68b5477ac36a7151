"""Files that are made of fetched ones: sound alone, and pictures with the sound of another file."""

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
from agents.download.file_index import TABLE, KnownFiles
from agents.media.facts import MediaFacts, Unreadable
from agents.media.prober import Probe, open_prober
from agents.media.remuxer import Remux, open_remuxer
from agents.network.download import Fetched, FetchLimits, OnBytes
from agents.pipeline.step import step_handler
from agents.storage.local import LocalStorage
from schemas.codec import decode
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import SelectedVideo
from schemas.files import StoredFile
from schemas.progress import Progress
from schemas.request import Options
from schemas.results import Completed
from schemas.video import MediaSource, SelectedSource, VideoFormat
from streams.records import Effect
from streams.settings import DownloadSettings
from streams.topics import PROGRESS
from tests.standin.media_marks import Marked, beeps, flashes, marked
from tests.unit.agents.builders import (
    VIDEO,
    body_of,
    event_record,
    failure,
    make_context,
    make_settings,
    outcome,
    selected,
    sent_to,
    show,
    writes,
)
from tests.unit.agents.download.downloads import FakeProbe, FakeRemuxer, make_download

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
HEARD = MediaFacts(duration_seconds=12.5, audio_codec="aac", sample_rate=44_100)


class Fetcher:
    """Writes a body that tells the format, or fails."""

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


class Bench:
    """The stage's handler over a real store."""

    def __init__(self, storage: LocalStorage) -> None:
        self.storage = storage
        self.fetcher = Fetcher()
        self.found, self.fake = FakeProbe(FACTS, HEARD), FakeRemuxer()
        self.probe: Probe = self.found
        self.remuxer: Remux = self.fake
        settings = make_settings(download=DownloadSettings(file_bytes=1_000_000))
        self.context, self.supplements = make_context(settings, TABLE)

    def work(self) -> Download:
        fetchers = {"direct": self.fetcher}
        return make_download(
            self.storage, fetchers, self.context, probe=self.probe, remuxer=self.remuxer
        )

    async def run(
        self, source: SelectedSource, *, killed: bool = False, **changes: Any
    ) -> list[Effect]:
        """Handle an event; ``killed``: before anything of it was written."""
        handle = step_handler("download", SelectedVideo, self.work().work, self.context.signals)
        effects = list(await handle(event_record(selected(source, **changes))))
        if not killed:
            show(self.context.tables[TABLE], effects)
        return effects

    def stored(self) -> list[str]:
        return sorted(path.name for path in self.storage._files.rglob("*") if path.is_file())

    def scratch(self) -> list[Path]:
        return list(self.storage._temporary.rglob("job-*"))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with LocalStorage.open(tmp_path) as storage:
        yield Bench(storage)


def file_of(effects: list[Effect]) -> StoredFile:
    found = outcome(effects)
    assert isinstance(found, Completed)
    (file,) = found.files
    return file


def path_of(file: StoredFile) -> Path:
    return Path(unquote(urlsplit(file.uri).path))


def content_of(file: StoredFile) -> bytes:
    return path_of(file).read_bytes()


async def test_the_sound_of_a_video_is_stored_as_sound(bench: Bench) -> None:
    file = file_of(await bench.run(SOUND))
    content = b"sound of " + body("small")
    assert content_of(file) == content
    assert (file.bytes, file.sha256) == (len(content), sha256(content).hexdigest())
    assert (file.format_id, file.mime_type) == ("small", "audio/mp4")
    assert (file.codec, file.audio_codec, file.sample_rate) == ("aac", "aac", 44_100)
    assert (file.width, file.height, file.probed, file.song) == (None, None, True, False)
    assert bench.stored() == [f"{VIDEO.id}.small~sound.m4a"]
    assert bench.scratch() == []


@pytest.mark.parametrize(
    ("extension", "mime_type"),
    [("mp3", "audio/mpeg"), ("opus", "audio/ogg"), ("ogg", "audio/ogg"), ("flac", "audio/flac")],
)
async def test_extension_and_type_are_those_of_what_was_made(
    extension: str, mime_type: str, bench: Bench
) -> None:
    bench.fake.extension = extension
    file = file_of(await bench.run(SOUND, killed=True))
    assert file.mime_type == mime_type
    assert bench.stored() == [f"{VIDEO.id}.small~sound.{extension}"]
    bench.found.answers = [HEARD]
    again = file_of(await bench.run(SOUND))
    assert (again.reused, again.mime_type, again.sha256) == (True, mime_type, file.sha256)
    assert bench.fetcher.fetched == ["small"]


async def test_a_picture_is_stored_with_the_sound_of_another_file(bench: Bench) -> None:
    bench.found.answers = [FACTS]
    file = file_of(await bench.run(JOINED))
    content = body("large") + b" with the sound of " + body("small")
    assert content_of(file) == content
    assert (file.bytes, file.sha256) == (len(content), sha256(content).hexdigest())
    assert (file.format_id, file.mime_type) == ("large+small", "video/mp4")
    assert (file.codec, file.audio_codec, file.probed) == ("h264", "aac", True)
    assert bench.fetcher.fetched == ["small", "large"]
    assert len(bench.found.asked) == 3
    assert len(bench.stored()) == 1
    assert bench.scratch() == []


@pytest.mark.parametrize("source", [SOUND, JOINED], ids=["sound", "joined"])
async def test_what_was_made_is_known_and_found_again(source: SelectedSource, bench: Bench) -> None:
    bench.found.answers = [FACTS]
    first = file_of(await bench.run(source, killed=True))
    found = file_of(await bench.run(source))
    known = await bench.run(source)
    assert file_of(known) == found == msgspec.structs.replace(first, reused=True)
    assert not writes(known)
    assert len(bench.fake.made) == 1


async def test_a_video_and_its_sound_are_two_files(bench: Bench) -> None:
    sound = file_of(await bench.run(SOUND))
    bench.found.answers = [FACTS]
    effects = await bench.run(WHOLE)
    whole = file_of(effects)
    assert (whole.format_id, sound.format_id) == ("small", "small")
    assert content_of(whole) == body("small")
    (row,) = writes(effects)
    assert set(decode(row.value or b"", KnownFiles).files) == {"small", "small~sound"}
    assert file_of(await bench.run(SOUND)) == msgspec.structs.replace(sound, reused=True)


async def test_the_sound_of_a_stored_video_is_not_fetched_again(bench: Bench) -> None:
    bench.found.answers = [FACTS, HEARD]
    whole = file_of(await bench.run(WHOLE))
    sound = file_of(await bench.run(SOUND))
    assert content_of(sound) == b"sound of " + body("small")
    assert (sound.mime_type, sound.codec, sound.reused) == ("audio/mp4", "aac", False)
    assert bench.fetcher.fetched == ["small"]
    assert content_of(whole) == body("small")
    report = [body_of(each, Progress) for each in sent_to(bench.supplements, PROGRESS)][-1]
    assert (report.bytes, report.files_done) == (sound.bytes, 1)


@pytest.mark.parametrize("gone", ["before it is looked for", "since"])
async def test_a_stored_video_that_is_gone_is_fetched_for_its_sound(
    gone: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.found.answers = [FACTS, FACTS, HEARD]
    whole = file_of(await bench.run(WHOLE))
    path_of(whole).unlink()
    if gone == "since":
        monkeypatch.setattr(bench.storage, "stat", AsyncMock(return_value=whole.bytes))
    assert content_of(file_of(await bench.run(SOUND))) == b"sound of " + body("small")
    assert bench.fetcher.fetched == ["small", "small"]


async def test_all_anew_is_fetched_for_its_sound(bench: Bench) -> None:
    bench.found.answers = [FACTS]
    await bench.run(WHOLE)
    await bench.run(SOUND, options=Options(refresh=True), received_at=datetime.now(UTC))
    assert bench.fetcher.fetched == ["small", "small"]


async def test_the_limit_is_for_the_sound_not_for_the_video(bench: Bench) -> None:
    bench.fetcher.bodies["small"] = bytes(600)
    file = file_of(await bench.run(SOUND, options=Options(max_bytes=620)))
    assert (file.bytes, bench.fetcher.limits) == (609, {"small": 1_000_000})
    bench.found.answers = [FACTS, HEARD]
    cause = failure(await bench.run(SOUND, options=Options(max_bytes=608, refresh=True)))
    assert cause.error.error_type is ErrorCode.REQUEST_TOO_LARGE
    assert bench.scratch() == []


async def test_the_limit_of_a_joined_file_is_for_all_of_it(bench: Bench) -> None:
    bench.found.answers = [FACTS]
    limit = 500 + len(" with the sound of ") + 500
    options = Options(max_bytes=limit - 1)
    cause = failure(await bench.run(JOINED, options=options))
    assert cause.error.error_type is ErrorCode.REQUEST_TOO_LARGE
    assert bench.fetcher.limits == {"large": limit - 1, "small": 1_000_000}
    assert bench.stored() == []
    assert file_of(await bench.run(JOINED, options=Options(max_bytes=limit))).bytes == limit


@pytest.mark.parametrize("name", ["large", "small"])
async def test_the_format_that_fails_is_told(name: str, bench: Bench) -> None:
    bench.found.answers = [FACTS]
    bench.fetcher.errors[name] = ErrorCode.CONTENT_LINK_EXPIRED
    cause = failure(await bench.run(JOINED))
    assert (cause.error.error_type, cause.format_id) == ("content.link_expired", name)
    assert (bench.stored(), bench.scratch()) == ([], [])


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_each_file_is_looked_into(at: int, bench: Bench) -> None:
    bench.found.answers = [*[FACTS] * at, Unreadable(reason="it is no media"), FACTS]
    cause = failure(await bench.run(JOINED))
    assert cause.error.error_type is ErrorCode.CONTENT_DAMAGED
    assert cause.format_id == ("small", "large", "large+small")[at]
    assert (bench.stored(), bench.scratch()) == ([], [])


@pytest.mark.parametrize("source", [SOUND, JOINED], ids=["sound", "joined"])
@pytest.mark.parametrize(
    "code", [ErrorCode.CONTENT_DAMAGED, ErrorCode.SYSTEM_ENGINE_CRASH, ErrorCode.SYSTEM_DISK_FULL]
)
async def test_what_cannot_be_made_leaves_nothing(
    code: ErrorCode, source: SelectedSource, bench: Bench
) -> None:
    bench.found.answers = [FACTS]
    bench.fake.error = ClipmillError(code, "it is so")
    with pytest.raises(ClipmillError) as caught:
        await bench.work()._provide(selected(source))
    assert (caught.value.code, caught.value.format_id) == (code, source.format_id)
    assert (bench.stored(), bench.scratch()) == ([], [])


async def test_progress_counts_what_is_fetched(bench: Bench) -> None:
    bench.found.answers = [FACTS]
    await bench.run(JOINED)
    report = [body_of(each, Progress) for each in sent_to(bench.supplements, PROGRESS)][-1]
    assert (report.format_id, report.bytes, report.total_bytes) == ("large+small", 1_000, 1_000)
    assert (report.files_done, report.files_total) == (1, 1)


KILLED = """
import asyncio, sys, pathlib
from agents.media import remuxer
from agents.storage.local import LocalStorage

async def main():
    root, picture, sound = map(pathlib.Path, sys.argv[1:])
    async with LocalStorage.open(root) as storage, remuxer.open_remuxer() as tool:
        async with storage.workspace() as directory:
            await tool.join(picture, sound, directory / "joined")
            with open(directory / "joined", "r+b") as file:
                file.truncate(1000)
            print("half", flush=True)
            await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_worker_that_is_killed_leaves_nothing_half(tmp_path: Path) -> None:
    picture, sound, root = tmp_path / "picture", tmp_path / "sound", tmp_path / "data"
    picture.write_bytes(marked(Marked(audio="")))
    sound.write_bytes(marked(Marked()))
    child = await asyncio.create_subprocess_exec(
        *[sys.executable, "-c", KILLED, str(root), str(picture), str(sound)],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert await asyncio.wait_for(child.stdout.readline(), 60) == b"half\n"
    assert list(root.rglob("joined"))
    child.kill()
    await child.wait()
    async with LocalStorage.open(root) as storage:
        bench = Bench(storage)
        assert (bench.stored(), bench.scratch()) == ([], [])


async def test_what_is_really_made_is_in_sync_and_told_rightly(bench: Bench) -> None:
    seconds, marks = 12.5, (0.4, 6.1, 12.2)
    large = Marked(audio="", late=2, rate=60, seconds=seconds, marks=marks)
    small = Marked(late=2, seconds=seconds, marks=marks, samples=44_100)
    bench.fetcher.bodies = {"large": marked(large), "small": marked(small)}
    async with open_remuxer() as bench.remuxer, open_prober() as bench.probe:
        joined = file_of(await bench.run(JOINED))
        sound = file_of(await bench.run(SOUND))
    for file in (joined, sound):
        content = content_of(file)
        assert (len(content), sha256(content).hexdigest()) == (file.bytes, file.sha256)
        assert file.duration_seconds == pytest.approx(seconds, abs=0.1)
        assert (file.audio_codec, file.sample_rate, file.probed) == ("aac", 44_100, True)
        assert beeps(path_of(file)) == pytest.approx(marks, abs=0.04)
    assert (joined.codec, joined.width, sound.codec, sound.width) == ("h264", 64, "aac", None)
    assert flashes(path_of(joined)) == pytest.approx(marks, abs=0.04)
