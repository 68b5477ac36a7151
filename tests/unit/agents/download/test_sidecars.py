"""The work of the download stage with sidecars."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from msgspec.structs import replace

from agents.download.file_index import TABLE
from agents.download.sidecars import SPARE_SECONDS, THUMBNAIL_BYTES_MAX
from agents.network.download import Fetched
from agents.network.transfer import FetchLimits, OnBytes
from agents.pipeline.step import step_handler
from agents.storage.local import LocalStorage
from schemas.attempts import NetworkAttempt
from schemas.codec import encode
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import Progress, SelectedVideo
from schemas.files import Sidecar, StoredFile
from schemas.path_template import parse_template
from schemas.request import Options
from schemas.results import Completed
from schemas.subtitles import SubtitleSource
from schemas.video import Author, MediaSource
from streams.topics import ATTEMPTS, PROGRESS
from tests.unit.agents.builders import (
    INFO,
    SOURCE,
    apply_writes,
    body_of,
    event_record,
    make_context,
    make_settings,
    outcome,
    selected,
    sent_to,
)
from tests.unit.agents.download.downloads import WholeFiles, make_download

PICTURE_URL = "https://p16.tiktokcdn.com/cover.jpeg"
STEM = f"tiktok/{INFO.id}/{INFO.id}.bytevc1_720p"
ALL: tuple[Sidecar, ...] = ("info", "thumbnail", "nfo")


class FakeFetcher(WholeFiles):
    """Writes the URL of each source; fails at those in ``failing``, and after some bytes
    at those in ``breaking``."""

    def __init__(self) -> None:
        self.failing: dict[str, ErrorCode] = {}
        self.slow: set[str] = set()
        self.breaking: dict[str, int] = {}
        self.limits: dict[str, FetchLimits] = {}
        self.headers: dict[str, dict[str, str]] = {}

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
        self.limits[source.url] = limits
        self.headers[source.url] = source.headers
        if source.url in self.failing:
            raise ClipmillError(self.failing[source.url], "it is so")
        if source.url in self.slow:
            await asyncio.sleep(30)
        if source.url in self.breaking:
            on_bytes(0, self.breaking[source.url])
            raise ClipmillError(ErrorCode.NETWORK_CONNECTION, "it broke")
        body = source.url.encode()
        await asyncio.to_thread(target.write_bytes, body)
        on_bytes(len(body), len(body))
        return Fetched(bytes=len(body), sha256=sha256(body).hexdigest(), mime_type="image/jpeg")


class SidecarHarness:
    """The handler of the stage over a real storage."""

    def __init__(self, storage: LocalStorage, root: Path) -> None:
        self.storage, self.root = storage, root
        self.fetcher = FakeFetcher()
        self.context, self.best_effort_records = make_context(make_settings(), TABLE)

    async def run(self, event: SelectedVideo) -> Completed:
        work = make_download(self.storage, {"direct": self.fetcher}, self.context)
        handle = step_handler("download", SelectedVideo, work.work, self.context.shared_state)
        effects = list(await handle(event_record(event)))
        apply_writes(self.context.tables[TABLE], effects)
        result = outcome(effects)
        assert isinstance(result, Completed), result
        return result

    def reports(self) -> list[Progress]:
        return [body_of(each, Progress) for each in sent_to(self.best_effort_records, PROGRESS)]

    def path_of(self, file: StoredFile) -> str:
        path = Path(unquote(urlsplit(file.uri).path))
        return str(path.relative_to(self.root / "files"))

    def content_of(self, file: StoredFile) -> bytes:
        return Path(unquote(urlsplit(file.uri).path)).read_bytes()


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[SidecarHarness]:
    async with LocalStorage.open(tmp_path) as storage:
        yield SidecarHarness(storage, tmp_path)


def event(
    *sidecars: Sidecar, thumbnail_url: str | None = PICTURE_URL, **options: Any
) -> SelectedVideo:
    source = replace(SOURCE, headers={"referer": "https://www.tiktok.com/"})
    made = selected(source, options=Options(sidecars=sidecars, **options))
    return replace(made, info=replace(INFO, thumbnail_url=thumbnail_url))


async def test_requested_sidecars_are_files_of_the_result(harness: SidecarHarness) -> None:
    made = event(*ALL)
    result = await harness.run(made)
    media, thumbnail, info, nfo = result.files
    assert [each.sidecar for each in result.files] == [None, "thumbnail", "info", "nfo"]
    assert [harness.path_of(each) for each in result.files] == [
        f"{STEM}.mp4",
        f"{STEM}-thumb.jpg",
        f"{STEM}.json",
        f"{STEM}.nfo",
    ]
    assert result.missing_sidecars == ()
    assert harness.content_of(thumbnail) == PICTURE_URL.encode()
    assert json.loads(harness.content_of(info)) == json.loads(encode(made.info))
    assert b"<title>Cats</title>" in harness.content_of(nfo)
    for file in result.files:
        content = harness.content_of(file)
        assert (file.bytes, file.sha256) == (len(content), sha256(content).hexdigest())
    assert media.format_id == info.format_id == nfo.format_id == "bytevc1_720p"


@pytest.mark.parametrize("kind", ALL)
async def test_only_the_requested_sidecar_is_stored(kind: Sidecar, harness: SidecarHarness) -> None:
    result = await harness.run(event(kind))
    assert [each.sidecar for each in result.files] == [None, kind]


async def test_no_sidecar_is_stored_without_a_request(harness: SidecarHarness) -> None:
    result = await harness.run(event())
    assert [each.sidecar for each in result.files] == [None]
    assert set(harness.fetcher.limits) == {SOURCE.url}


async def test_sidecars_follow_the_template_of_their_post(tmp_path: Path) -> None:
    template = parse_template("{author}/{title} [{platform} {id}].{format}.{ext}")
    async with LocalStorage.open(tmp_path, template) as storage:
        harness = SidecarHarness(storage, tmp_path)
        made = event(*ALL)
        info = replace(made.info, author=Author(name="user", id="1"))
        result = await harness.run(replace(made, info=info))
    stem = f"user/Cats [tiktok {INFO.id}].bytevc1_720p"
    names = [f"{stem}.mp4", f"{stem}-thumb.jpg", f"{stem}.json", f"{stem}.nfo"]
    assert [harness.path_of(each) for each in result.files] == names


async def test_thumbnail_is_fetched_as_media_within_its_limits(harness: SidecarHarness) -> None:
    await harness.run(event("thumbnail"))
    assert harness.fetcher.headers[PICTURE_URL] == {"referer": "https://www.tiktok.com/"}
    limits, media = harness.fetcher.limits[PICTURE_URL], harness.fetcher.limits[SOURCE.url]
    assert limits.max_bytes == THUMBNAIL_BYTES_MAX < media.max_bytes
    assert limits.total_seconds < media.total_seconds


async def test_stored_thumbnail_is_not_fetched_again(harness: SidecarHarness) -> None:
    first = await harness.run(event("thumbnail"))
    harness.fetcher.failing = dict.fromkeys((SOURCE.url, PICTURE_URL), ErrorCode.INTERNAL_BUG)
    second = await harness.run(event("thumbnail"))
    assert second.files == tuple(replace(each, reused=True) for each in first.files)


@pytest.mark.parametrize("sidecars", [("thumbnail",), ALL])
@pytest.mark.parametrize("code", [ErrorCode.NETWORK_SERVER, ErrorCode.CONTENT_NOT_FOUND])
async def test_thumbnail_that_cannot_be_fetched_is_missing(
    code: ErrorCode, sidecars: tuple[Sidecar, ...], harness: SidecarHarness
) -> None:
    harness.fetcher.failing[PICTURE_URL] = code
    result = await harness.run(event(*sidecars))
    assert result.missing_sidecars == ("thumbnail",)
    assert len(result.files) == len(sidecars)
    last = harness.reports()[-1]
    assert last.files_done == last.files_total == 2


@pytest.mark.parametrize("code", [ErrorCode.PLATFORM_CHANGED, None])
async def test_thumbnail_does_not_count_for_the_circuit_breaker(
    code: ErrorCode | None, harness: SidecarHarness
) -> None:
    if code is not None:
        harness.fetcher.failing[PICTURE_URL] = code
    await harness.run(event("thumbnail"))
    attempts = sent_to(harness.best_effort_records, ATTEMPTS)
    assert [body_of(each, NetworkAttempt).code for each in attempts] == [None]


async def test_slow_thumbnail_does_not_expire_the_request(harness: SidecarHarness) -> None:
    harness.fetcher.slow = {PICTURE_URL}
    made = event("thumbnail")
    deadline = datetime.now(UTC) + timedelta(seconds=SPARE_SECONDS + 0.5)
    result = await harness.run(replace(made, job=replace(made.job, deadline=deadline)))
    assert result.missing_sidecars == ("thumbnail",)
    assert len(result.files) == 1


async def test_thumbnail_that_the_page_does_not_name_is_missing(harness: SidecarHarness) -> None:
    result = await harness.run(event("thumbnail", thumbnail_url=None))
    assert result.missing_sidecars == ("thumbnail",)
    assert [each.sidecar for each in result.files] == [None]


async def test_missing_thumbnail_leaves_its_bytes_to_subtitles(harness: SidecarHarness) -> None:
    made = event("thumbnail", max_bytes=1_000)
    text = "WEBVTT\n\n00:01.000 --> 00:02.000\n" + "a" * 700
    harness.fetcher.breaking = {PICTURE_URL: 500}
    result = await harness.run(replace(made, subtitles=(SubtitleSource(language="en", text=text),)))
    assert [each.sidecar for each in result.files] == [None, "subtitles"]
    assert result.missing_sidecars == ("thumbnail",)


async def test_thumbnail_counts_towards_the_size_limit(harness: SidecarHarness) -> None:
    result = await harness.run(event("thumbnail", max_bytes=1_000))
    media, thumbnail = result.files
    limit = media.bytes + thumbnail.bytes - 1
    result = await harness.run(event("thumbnail", max_bytes=limit, refresh=True))
    assert result.missing_sidecars == ("thumbnail",)
