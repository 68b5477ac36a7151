"""The download stage over a site of streams, with its real downloader and media process."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from agents.download.file_index import TABLE
from agents.media.prober import open_prober
from agents.media.remuxer import open_remuxer
from agents.network.download import MediaDownloader
from agents.network.egress import Egress
from agents.network.session import open_session
from agents.pipeline.step import step_handler
from agents.storage.local import LocalStorage
from schemas.errors import ErrorContext
from schemas.events import SelectedVideo
from schemas.files import StoredFile
from schemas.results import Completed
from schemas.video import MediaSource, SelectedSource, VideoFormat
from streams.settings import DownloadSettings
from tests.integration.media_server import scripted_site
from tests.standin.wire import Reply, Request, text_reply, whole
from tests.unit.agents.builders import (
    INFO,
    event_record,
    failure,
    make_context,
    make_settings,
    outcome,
    selected,
)
from tests.unit.agents.download.downloads import make_download

HOST = "v16.tiktokcdn.com"
PAGE = f"https://{HOST}/post/"
_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]+)")

Answer = Callable[[Request], Reply | None]
"""Answers a request, or leaves it to the files."""


@dataclass
class StreamSite:
    """Serves files below ``/post/``.

    Attributes:
        files: bodies by name.
        answer: is asked before the files.
        requested: names of the requested files, in order.
        dialled: hosts and ports to which a connection was requested.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    answer: Answer = lambda _: None
    requested: list[str] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)

    def __call__(self, request: Request) -> Reply:
        name = request.path.removeprefix("/post/")
        self.requested.append(name)
        reply = self.answer(request)
        if reply is not None:
            return reply
        body = self.files.get(name)
        if body is None:
            return text_reply(404, "no such file")
        found = _RANGE.fullmatch(request.headers.get("range", ""))
        if found is None:
            return Reply(200, whole(body), (("Content-Type", "binary/octet-stream"),))
        first, last = int(found[1]), min(int(found[2]), len(body) - 1)
        stated = ("Content-Range", f"bytes {first}-{last}/{len(body)}")
        return Reply(206, whole(body[first : last + 1]), (stated,))


@dataclass
class StreamHarness:
    """The stage's step over a `StreamSite`."""

    site: StreamSite
    folder: Path
    egress: Egress
    seconds: float = 6.0
    options: dict[str, Any] = field(default_factory=dict)

    async def run(self, source: SelectedSource) -> StoredFile | ErrorContext:
        """Handle an event; return the stored file, or the error."""
        settings = make_settings(
            data_dir=self.folder, download=DownloadSettings(file_bytes=50_000_000)
        )
        context, _ = make_context(settings, TABLE)
        info = msgspec.structs.replace(INFO, duration_seconds=self.seconds)
        event = msgspec.structs.replace(selected(source, **self.options), info=info)
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(open_session(self.egress))
            work = make_download(
                await stack.enter_async_context(LocalStorage.open(self.folder)),
                {"direct": MediaDownloader(session)},
                context,
                probe=await stack.enter_async_context(open_prober()),
                remuxer=await stack.enter_async_context(open_remuxer()),
            )
            handle = step_handler("download", SelectedVideo, work.work, context.shared_state)
            effects = list(await handle(event_record(event)))
        if any(each.topic.name.endswith("errors") for each in effects if hasattr(each, "topic")):
            return failure(effects).error
        found = outcome(effects)
        assert isinstance(found, Completed), found
        return found.files[0]

    def unfinished(self) -> list[Path]:
        """The directories of unfinished tracks."""
        return [*(self.folder / "segments").glob("*")]


@asynccontextmanager
async def stream_harness(
    folder: Path, state_dir: Path, files: Mapping[str, bytes], answer: Answer = lambda _: None
) -> AsyncIterator[StreamHarness]:
    site = StreamSite(dict(files), answer)
    async with scripted_site(state_dir, site) as (scripted, egress):
        site.dialled = scripted.dialled
        yield StreamHarness(site, folder, egress)


def path_of(file: StoredFile) -> Path:
    return Path(unquote(urlsplit(file.uri).path))


def track(
    name: str = "media.m3u8",
    *,
    format_id: str = "stream",
    video: str | None = "h264",
    audio: str | None = "aac",
    representation: str | None = None,
    url: str | None = None,
) -> MediaSource:
    """The source of a stream of the site."""
    protocol: Any = "dash" if representation is not None else "hls"
    return MediaSource(
        format=VideoFormat(
            format_id=format_id,
            container="mp4",
            video_codec=video,
            audio_codec=audio,
            protocol=protocol,
        ),
        url=url or f"{PAGE}{name}",
        representation=representation,
    )


def file_of(
    source: MediaSource, sound: MediaSource | None = None, *, sound_only: bool = False
) -> SelectedSource:
    """The selected file of one source, or of a picture and a sound."""
    fields = msgspec.structs.asdict(source)
    return SelectedSource(**fields, sound_from=sound, sound_only=sound_only)


async def until(is_true: Callable[[], bool]) -> None:
    while not is_true():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)
