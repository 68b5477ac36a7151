"""The work of the download stage with subtitles."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from msgspec.structs import replace

from agents.download import sidecars
from agents.download.agent import background_task
from agents.download.file_index import TABLE
from agents.download.storage_guard import StorageGuard
from agents.download.subtitles import BYTES_MAX, FAILURES_MAX
from agents.network.answers import too_large
from agents.network.download import Fetched
from agents.network.resource import ByteRange, FetchedResource, WriteBytes
from agents.network.transfer import FetchLimits, OnBytes
from agents.pipeline.step import step_handler
from agents.storage.local import LocalStorage
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import SelectedVideo
from schemas.files import StoredFile
from schemas.path_template import parse_template
from schemas.request import Options
from schemas.results import Completed
from schemas.subtitles import MissingSubtitles, SubtitleFormat, SubtitleSource
from schemas.video import MediaSource
from tests.unit.agents.builders import (
    INFO,
    SOURCE,
    apply_writes,
    event_record,
    make_context,
    make_settings,
    outcome,
    selected,
)
from tests.unit.agents.download.downloads import make_download

HOST = "https://v16.tiktokcdn.com"
STEM = f"tiktok/{INFO.id}/{INFO.id}.bytevc1_720p"
VTT = b"WEBVTT\n\n00:00:01.000 --> 00:00:02.000\n"
PLAYLIST = b"#EXTM3U\n#EXTINF:4,\na.vtt\n#EXTINF:4,\nb.vtt\n#EXT-X-ENDLIST\n"


class FakeFetcher:
    """Serves bodies by URL; any other subtitles are their URL as a cue."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.errors: dict[str, ErrorCode] = {}
        self.requests: list[str] = []
        self.media = 0
        self.seconds = 0.0

    async def fetch(
        self,
        source: MediaSource,
        target: Path,
        *,
        hosts: tuple[str, ...],
        limits: FetchLimits,
        on_bytes: OnBytes,
    ) -> Fetched:
        del source, hosts, limits
        self.media += 1
        await asyncio.to_thread(target.write_bytes, b"media")
        on_bytes(5, 5)
        return Fetched(bytes=5, sha256=sha256(b"media").hexdigest(), mime_type="video/mp4")

    async def fetch_resource(
        self,
        source: MediaSource,
        byte_range: ByteRange | None,
        write: WriteBytes,
        *,
        hosts: tuple[str, ...],
        limits: FetchLimits,
    ) -> FetchedResource:
        assert hosts
        assert byte_range is None
        self.requests.append(source.url)
        await asyncio.sleep(self.seconds)
        if source.url in self.errors:
            raise ClipmillError(self.errors[source.url], "it is so")
        body = self.bodies.get(source.url, VTT + source.url.encode())
        if len(body) > limits.max_bytes:
            raise too_large("host", limits.max_bytes)
        await write(body)
        return FetchedResource(url=source.url, bytes=len(body))


class Harness:
    """The handler of the stage over a real storage."""

    def __init__(self, storage: LocalStorage, root: Path) -> None:
        self.storage, self.root = storage, root
        self.fetcher = FakeFetcher()
        self.context, _ = make_context(make_settings(), TABLE)

    async def run(self, event: SelectedVideo) -> Completed:
        guard = StorageGuard(
            self.storage, self.context.intake, self.context.settings.download, no_wait
        )
        work = make_download(
            self.storage, {"direct": self.fetcher}, self.context, storage_guard=guard
        )
        handle = step_handler("download", SelectedVideo, work.work, self.context.shared_state)
        async with background_task(guard.watch()), asyncio.timeout(20):
            effects = list(await handle(event_record(event)))
        apply_writes(self.context.tables[TABLE], effects)
        result = outcome(effects)
        assert isinstance(result, Completed), result
        return result

    def paths(self, result: Completed) -> list[str]:
        root = self.root / "files"
        return [str(path_of(each).relative_to(root)) for each in result.files[1:]]


def path_of(file: StoredFile) -> Path:
    return Path(unquote(urlsplit(file.uri).path))


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with LocalStorage.open(tmp_path) as storage:
        yield Harness(storage, tmp_path)


async def no_wait(_seconds: float) -> None:
    await asyncio.sleep(0.01)


def track(language: str, **changes: Any) -> SubtitleSource:
    return SubtitleSource(**{"language": language, "url": f"{HOST}/{language}.vtt", **changes})


def event(
    *sources: SubtitleSource, formats: tuple[SubtitleFormat, ...] = ("vtt",), **options: Any
) -> SelectedVideo:
    names = tuple(each.language for each in sources)
    made = selected(SOURCE, options=Options(subtitles=names, subtitle_formats=formats, **options))
    return replace(made, subtitles=sources)


def reasons(result: Completed) -> dict[str, str]:
    return {each.language: each.reason for each in result.missing_subtitles}


async def test_subtitles_are_files_of_the_result(harness: Harness) -> None:
    sources = (track("en"), track("de", automatic=True))
    result = await harness.run(event(*sources, formats=("srt", "vtt")))
    assert harness.paths(result) == [
        f"{STEM}.en.srt",
        f"{STEM}.en.vtt",
        f"{STEM}.de-x-auto.srt",
        f"{STEM}.de-x-auto.vtt",
    ]
    assert [each.mime_type for each in result.files[1:3]] == ["application/x-subrip", "text/vtt"]
    assert [(each.language, each.automatic) for each in result.files[2:4]] == [
        ("en", False),
        ("de", True),
    ]
    for file in result.files[1:]:
        content = path_of(file).read_bytes()
        assert (file.bytes, file.sha256) == (len(content), sha256(content).hexdigest())
        assert (file.sidecar, file.format_id) == ("subtitles", "bytevc1_720p")
    assert result.missing_subtitles == ()
    assert sorted(harness.fetcher.requests) == [f"{HOST}/de.vtt", f"{HOST}/en.vtt"]


async def test_subtitles_follow_the_template_of_their_post(tmp_path: Path) -> None:
    template = parse_template("{title} [{platform} {id}].{format}.{ext}")
    async with LocalStorage.open(tmp_path, template) as storage:
        harness = Harness(storage, tmp_path)
        result = await harness.run(event(track("en-US")))
        assert harness.paths(result) == [f"Cats [tiktok {INFO.id}].bytevc1_720p.en-US.vtt"]
        again = await harness.run(event(track("en-US")))
    assert [each.reused for each in again.files] == [True, True]


@pytest.mark.parametrize("is_indexed", [True, False])
async def test_stored_subtitles_are_not_fetched_again(harness: Harness, is_indexed: bool) -> None:
    first = await harness.run(event(track("en"), formats=("vtt", "srt")))
    if not is_indexed:
        # As after a kill between the publication and the row.
        harness.context, _ = make_context(make_settings(), TABLE)
    again = await harness.run(event(track("en"), formats=("vtt", "srt")))
    assert again.files[1:] == tuple(replace(each, reused=True) for each in first.files[1:])
    assert len(harness.fetcher.requests) == 1


async def test_further_language_leaves_the_stored_ones(harness: Harness) -> None:
    await harness.run(event(track("en")))
    result = await harness.run(event(track("de"), track("en")))
    assert [each.reused for each in result.files] == [True, False, True]
    last = await harness.run(event(track("en"), track("de")))
    assert [each.reused for each in last.files] == [True, True, True]
    assert harness.fetcher.media == 1


async def test_refresh_fetches_subtitles_again(harness: Harness) -> None:
    await harness.run(event(track("en")))
    harness.fetcher.bodies[f"{HOST}/en.vtt"] = VTT + b"corrected"
    made = event(track("en"), refresh=True)
    later = datetime.now(UTC) + timedelta(seconds=1)
    result = await harness.run(replace(made, job=replace(made.job, received_at=later)))
    assert b"corrected" in path_of(result.files[1]).read_bytes()


async def test_segments_of_a_playlist_are_one_file(harness: Harness) -> None:
    harness.fetcher.bodies = {
        f"{HOST}/en.m3u8": PLAYLIST,
        f"{HOST}/a.vtt": VTT + b"one",
        f"{HOST}/b.vtt": VTT + b"one\n\n00:05.000 --> 00:06.000\ntwo",
    }
    result = await harness.run(event(track("en", url=f"{HOST}/en.m3u8", playlist=True)))
    assert path_of(result.files[1]).read_text().count("-->") == 2


async def test_text_of_the_page_is_not_fetched(harness: Harness) -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\nfrom the page\n"
    result = await harness.run(event(track("en", url=None, text=text)))
    assert b"from the page" in path_of(result.files[1]).read_bytes()
    assert harness.fetcher.requests == []


HUGE = VTT + b"x" * BYTES_MAX
LIVE = PLAYLIST.replace(b"#EXT-X-ENDLIST\n", b"")
KEY = b'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="k"\n' + PLAYLIST[8:]
SEGMENT_LIST, SEGMENT = b"#EXTM3U\n", b"#EXTINF:1,\na\n"
FOREIGN = PLAYLIST.replace(b"a.vtt", b"https://evil.example/a.vtt")


@pytest.mark.parametrize(
    ("source", "body", "reason"),
    [
        (track("en"), HUGE, "request.too_large"),
        (track("en"), b"<html>log in</html>", "content.damaged"),
        (track("en"), bytes(1_000), "content.damaged"),
        (track("en"), b"WEBVTT", "content.damaged"),
        (track("en", url="https://evil.example/en.vtt"), b"", "evil.example, which is not a host"),
        (track("en", url="https://tiktokcdn.com.evil.example/"), b"", "which is not a host"),
        (track("en", url="https://127.0.0.1/en.vtt"), b"", "127.0.0.1, which is not a host"),
        (track("en", url=f"{HOST}:22/en.vtt"), b"", "port 22"),
        (track("en", url=None), b"", "not an https URL"),
        (track("en", url="file:///etc/passwd"), b"", "not an https URL"),
        (track("en", url="data:text/vtt,WEBVTT"), b"", "not an https URL"),
        (track("en", playlist=True), VTT, "platform.changed"),
        (track("en", playlist=True), LIVE, "content.unsupported"),
        (track("en", playlist=True), KEY, "content.unsupported"),
        (track("en", playlist=True), FOREIGN, "evil.example"),
        (track("en", playlist=True), SEGMENT_LIST + SEGMENT * 30_001, "platform.changed"),
        (
            track("en", playlist=True),
            SEGMENT_LIST + SEGMENT * 10_001 + b"#EXT-X-ENDLIST",
            "more than 10000 segments",
        ),
    ],
)  # fmt: skip
async def test_video_is_complete_without_subtitles_that_cannot_be_had(
    harness: Harness, source: SubtitleSource, body: bytes, reason: str
) -> None:
    if source.url is not None and body:
        harness.fetcher.bodies[source.url] = body
    result = await harness.run(event(source, track("de")))
    assert harness.paths(result) == [f"{STEM}.de.vtt"]
    assert reason in reasons(result)["en"]
    assert len(reasons(result)["en"]) <= 300
    assert not [each for each in harness.fetcher.requests if "evil" in each]


async def test_segments_are_limited_together(harness: Harness) -> None:
    harness.fetcher.bodies = {
        f"{HOST}/en.vtt": PLAYLIST,
        f"{HOST}/a.vtt": VTT + b"x" * (BYTES_MAX * 2 // 3),
        f"{HOST}/b.vtt": VTT + b"y" * (BYTES_MAX * 2 // 3),
    }
    result = await harness.run(event(track("en", playlist=True)))
    assert "request.too_large" in reasons(result)["en"]


async def test_subtitles_that_the_page_does_not_have_are_missing(harness: Harness) -> None:
    missing = MissingSubtitles(language="ja", reason="the post has no subtitles")
    result = await harness.run(replace(event(), missing_subtitles=(missing,)))
    assert result.missing_subtitles == (missing,)


async def test_host_that_is_down_is_given_up(harness: Harness) -> None:
    sources = [track(f"l{number}") for number in range(20)]
    harness.fetcher.errors = {str(each.url): ErrorCode.RATE_LIMIT_API for each in sources}
    result = await harness.run(event(*sources))
    assert len(result.missing_subtitles) == 20
    assert len(harness.fetcher.requests) < FAILURES_MAX + 4
    assert "other languages failed" in reasons(result)["l19"]


async def test_missing_files_do_not_end_the_others(harness: Harness) -> None:
    sources = [track(f"l{number}") for number in range(10)]
    harness.fetcher.errors = {str(each.url): ErrorCode.CONTENT_LINK_EXPIRED for each in sources[:9]}
    result = await harness.run(event(*sources))
    assert harness.paths(result) == [f"{STEM}.l9.vtt"]


async def test_slow_subtitles_do_not_expire_the_request(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sidecars, "SPARE_SECONDS", 0.5)
    harness.fetcher.seconds = 30.0
    made = event(track("en"))
    deadline = datetime.now(UTC) + timedelta(seconds=0.7)
    result = await harness.run(replace(made, job=replace(made.job, deadline=deadline)))
    assert reasons(result) == {"en": "there was no time left for them"}


async def test_subtitles_count_towards_the_size_limit(harness: Harness) -> None:
    result = await harness.run(event(track("en"), max_bytes=20))
    assert "request.too_large" in reasons(result)["en"]
    assert not list((harness.root / "files").rglob("*.vtt"))


async def test_failing_storage_pauses_the_request(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [ClipmillError(ErrorCode.SYSTEM_STORAGE, "it is away")]
    publish = harness.storage.publish

    async def failing(*args: Any, **kwargs: Any) -> str:
        if kwargs["extension"] == "vtt" and failures:
            raise failures.pop()
        return await publish(*args, **kwargs)

    monkeypatch.setattr(harness.storage, "publish", failing)
    result = await harness.run(event(track("en")))
    assert harness.paths(result) == [f"{STEM}.en.vtt"]
    assert result.missing_subtitles == ()
