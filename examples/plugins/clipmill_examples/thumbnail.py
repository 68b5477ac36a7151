"""A stage: stores the picture that the page of each selected video names.

It consumes the topic of the download stage in a group of its own, and publishes one record for each
video on a topic of its own. A picture is best-effort: its failure does not fail the request.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from agents.access import OutboundGate, installed_plugins, open_fetchers, open_storage
from agents.platforms import Fetched, FetchLimits, MediaFetcher, Platforms
from agents.storage import Storage
from schemas import (
    ClipmillError,
    ErrorCode,
    MediaSource,
    SelectedVideo,
    VideoFormat,
    decode,
    encode,
)
from streams import (
    ATTEMPTS,
    SELECTED,
    Effect,
    Handler,
    Incoming,
    Stage,
    StageContext,
    StageMessage,
    Topic,
    dead_letter,
    open_envelope,
    seal,
)

NAME = "thumbnail"
THUMBNAILS = Topic("thumbnails", "video key", "Stored thumbnails of selected videos.")
KIND = "thumbnail.stored.v1"
LIMITS = FetchLimits(total_seconds=30.0, max_bytes=5_000_000)
EXTENSIONS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}


class Thumbnail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The picture of one video: its URI, or the reason why there is none."""

    request_id: str
    video: str
    uri: str | None = None
    bytes: int = 0
    error_type: ErrorCode | None = None


class ThumbnailStep:
    """The stage's handler."""

    def __init__(
        self,
        platforms: Platforms,
        fetchers: Mapping[str, MediaFetcher],
        storage: Storage,
        gate: OutboundGate,
    ) -> None:
        self._platforms = platforms
        self._fetchers = fetchers
        self._storage = storage
        self._gate = gate

    async def handle(self, record: Incoming) -> Sequence[Effect]:
        """Return the record of the picture. The event id is the same for a redelivered event."""
        envelope = open_envelope(record)
        event = decode(envelope.data, SelectedVideo)
        job = event.job
        try:
            thumbnail = await self._provide(event)
        except ClipmillError as error:
            thumbnail = _describe(event, error_type=error.code)
        sealed = seal(
            THUMBNAILS,
            event.video.key,
            encode(thumbnail),
            kind=KIND,
            step=NAME,
            event_id=f"{job.request_id}:{NAME}:{job.try_number}",
            request_id=job.request_id,
            trace_id=job.trace_id,
            cause_id=envelope.id,
        )
        return [sealed]

    async def _provide(self, event: SelectedVideo) -> Thumbnail:
        """Return the stored picture, fetched now or for an earlier request of the video.

        Raises:
            ClipmillError: the page names no picture, or it could not be fetched or stored.
        """
        platform, video_id = event.video.platform, event.video.id
        found = await self._storage.find(platform=platform, video_id=video_id, format_id=NAME)
        if found is not None:
            return _describe(event, uri=found.uri, size=found.bytes)
        url = event.info.thumbnail_url
        if url is None:
            raise ClipmillError(ErrorCode.CONTENT_NO_FORMATS, "the page names no picture")
        source = MediaSource(
            format=VideoFormat(format_id=NAME, container="jpg"),
            url=url,
            headers=event.sources[0].headers,
        )
        async with self._storage.workspace() as directory:
            target = directory / NAME
            fetched = await self._gate.run(
                event.job,
                platform=platform,
                subject=event.video.key,
                call=lambda egress: self._fetch(egress, platform, source, target),
                part=NAME,
            )
            uri = await self._storage.publish(
                target,
                platform=platform,
                video_id=video_id,
                format_id=NAME,
                extension=EXTENSIONS.get(fetched.mime_type, "jpg"),
                sha256=fetched.sha256,
            )
        return _describe(event, uri=uri, size=fetched.bytes)

    async def _fetch(
        self, egress: str, platform: str, source: MediaSource, target: Path
    ) -> Fetched:
        """Fetch over an egress; the platform permits its own media hosts only."""
        return await self._platforms.by_name(platform).download_video(
            source, target, self._fetchers[egress], lambda _done, _total: None, limits=LIMITS
        )


def _describe(
    event: SelectedVideo,
    *,
    uri: str | None = None,
    size: int = 0,
    error_type: ErrorCode | None = None,
) -> Thumbnail:
    return Thumbnail(
        request_id=event.job.request_id,
        video=event.video.key,
        uri=uri,
        bytes=size,
        error_type=error_type,
    )


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    """Keep a record that cannot be processed as a dead letter."""
    return [dead_letter(record, error, NAME)]


@asynccontextmanager
async def open_thumbnail(context: StageContext) -> AsyncIterator[Handler]:
    """Open the stage: one downloader per egress, behind the breakers of the platform's media."""
    async with AsyncExitStack() as stack:
        fetchers = await open_fetchers(context.settings, stack)
        storage = await stack.enter_async_context(open_storage(context.settings))
        gate = OutboundGate(
            "download",
            tuple(fetchers),
            context,
            step=NAME,
            bulkhead=NAME,
            plugins=installed_plugins(),
        )
        platforms = Platforms.load(context.settings.platforms)
        yield ThumbnailStep(platforms, fetchers, storage, gate).handle


stage = Stage(
    name=NAME,
    sources=(SELECTED,),
    open=open_thumbnail,
    on_bug=on_bug,
    writes=(THUMBNAILS, ATTEMPTS),
    purpose="stores the thumbnails of selected videos",
    messages=(StageMessage(THUMBNAILS, KIND, Thumbnail),),
)
