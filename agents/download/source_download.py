"""Downloads one source of a file through the gate: a whole file, or the segments of a track."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from agents.access import OutboundGate
from agents.download.download_task import DownloadPart, DownloadTask
from agents.download.segments.fetcher import FetchedTrack, TrackFetcher
from agents.download.segments.store import SegmentStore
from agents.network.addresses import parse_media_url
from agents.network.bandwidth import time_limit
from agents.network.download import Fetched, MediaFetcher
from agents.network.resource import ResourceFetcher
from agents.network.transfer import FetchLimits, OnBytes
from agents.pipeline.events import report_progress
from agents.platforms import Platforms
from schemas import ClipmillError, ErrorCode, Job, MediaSource, VideoFormat
from schemas.events import Progress
from schemas.subtitles import SubtitleSource
from streams import StageContext
from streams.media_host_waits import MediaHostWaits
from streams.observability.metrics import EGRESS_BYTES

T = TypeVar("T")

DownloadCall = Callable[[str, FetchLimits, OnBytes], Awaitable[T]]
"""Downloads over the egress of that name."""


class Downloader(MediaFetcher, ResourceFetcher, Protocol):
    """Downloads whole files, and the resources of tracks."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where a file is made.

    Attributes:
        directory: is removed afterwards.
        resources: exits at the same time, after the file is published or has failed.
    """

    directory: Path
    resources: AsyncExitStack


class SourceDownloader:
    """Downloads sources.

    Args:
        platforms: the installed platforms.
        fetchers: downloaders by egress.
        gate: access control in front of them.
        tracks: fetches the segments of tracks.
        segments: directories of unfinished tracks.
        context: the stage's.
        waits: explains errors of media at hosts that the platform does not list.
    """

    def __init__(
        self,
        platforms: Platforms,
        fetchers: Mapping[str, Downloader],
        *,
        gate: OutboundGate,
        tracks: TrackFetcher,
        segments: SegmentStore,
        context: StageContext,
        waits: MediaHostWaits,
    ) -> None:
        self._platforms = platforms
        self._fetchers = fetchers
        self._gate = gate
        self._segments = segments
        self._tracks = tracks
        self._context = context
        self._waits = waits

    async def download_file(self, part: DownloadPart, task: DownloadTask, target: Path) -> Fetched:
        """Download a whole file.

        Raises:
            ClipmillError: the platform, the downloader or the gate failed.
        """
        platform = self._platforms.by_name(task.event.video.platform)

        async def call(egress: str, limits: FetchLimits, on_bytes: OnBytes) -> Fetched:
            fetcher = self._fetchers[egress]
            return await platform.download_video(
                part.source, target, fetcher, limits=limits, on_progress=on_bytes
            )

        return await self._attempt(part, task, call)

    async def download_track(
        self, part: DownloadPart, task: DownloadTask, workspace: Workspace
    ) -> FetchedTrack:
        """Download the segments of a track, except segments finished by an earlier attempt.

        Raises:
            ClipmillError: see `TrackFetcher.fetch`; the gate or the storage failed.
        """
        video, source = task.event.video, part.source
        lease = self._segments.lease(video.key, source.format.format_id)
        directory = await workspace.resources.enter_async_context(lease)
        hosts = self._platforms.by_name(video.platform).get_capabilities().media_hosts

        async def call(egress: str, limits: FetchLimits, on_bytes: OnBytes) -> FetchedTrack:
            return await self._tracks.fetch(
                source,
                directory,
                self._fetchers[egress],
                hosts=hosts,
                limits=limits,
                on_bytes=on_bytes,
            )

        return await self._attempt(part, task, call)

    async def download_subtitles(
        self, source: SubtitleSource, task: DownloadTask, limits: FetchLimits
    ) -> list[bytes]:
        """Return the bytes of subtitles: of the file, or of each segment of its playlist.

        Raises:
            ClipmillError: see `TrackFetcher.read`; the gate failed.
        """
        video, media = task.event.video, _subtitle_source(source, task.event.sources[0])
        hosts = self._platforms.by_name(video.platform).get_capabilities().media_hosts
        try:
            parse_media_url(media.url, hosts)
            return await self._gate.run(
                task.event.job,
                platform=video.platform,
                subject=video.key,
                call=lambda egress: self._read_via(egress, media, task, limits),
                part=media.format.format_id,
                # Hosts of subtitles refuse what those of the media serve, such as YouTube's.
                reported=False,
            )
        except ClipmillError as error:
            raise self._waits.explained(error, video.platform, video.key) from None

    async def _read_via(
        self, egress: str, media: MediaSource, task: DownloadTask, limits: FetchLimits
    ) -> list[bytes]:
        platform = task.event.video.platform
        hosts = self._platforms.by_name(platform).get_capabilities().media_hosts
        fetcher = self._fetchers[egress]
        try:
            async with time_limit(limits.total_seconds) as bound:
                bodies = await self._tracks.read(media, fetcher, hosts=hosts, limits=limits)
        except TimeoutError:
            if not bound.expired():
                raise
            raise _too_slow(limits) from None
        EGRESS_BYTES.labels(platform, egress).inc(sum(map(len, bodies)))
        return bodies

    def report_progress(self, progress: Progress | None, job: Job) -> None:
        if progress is not None:
            self._context.publish_best_effort(report_progress(progress, job, "download"))

    async def _attempt(self, part: DownloadPart, task: DownloadTask, call: DownloadCall[T]) -> T:
        event = task.event
        return await self._gate.run(
            event.job,
            platform=event.video.platform,
            subject=event.video.key,
            call=lambda egress: self._attempt_via(egress, part, task, call),
            part=part.source.format.format_id,
            # Pictures may be on hosts of their own, such as YouTube's, which are not listed.
            reported=not part.is_thumbnail,
        )

    async def _attempt_via(
        self, egress: str, part: DownloadPart, task: DownloadTask, call: DownloadCall[T]
    ) -> T:
        limits = task.limits if part.is_primary else task.part_limits
        name, bytes_before = part.file.format_id, part.bytes_before
        arrived = EGRESS_BYTES.labels(task.event.video.platform, egress)
        # The first report of a track has the bytes of earlier attempts.
        received = None if part.source.format.protocol != "https" else 0

        def on_progress(done: int, total: int | None) -> None:
            nonlocal received
            # Fewer bytes than before: the transfer restarted from the beginning.
            arrived.inc(0 if received is None else max(done - received, 0))
            received = done
            if part.is_primary:
                task.budget.claim(name, max(done, total or 0))
            sizes = bytes_before + done, None if total is None else bytes_before + total
            self.report_progress(task.meter.update(name, *sizes), task.event.job)

        platform, key = task.event.video.platform, task.event.video.key
        try:
            async with time_limit(limits.total_seconds) as bound:
                downloaded = await call(egress, limits, on_progress)
        except ClipmillError as error:
            raise self._waits.explained(error, platform, key) from error.__cause__
        except TimeoutError:
            if not bound.expired():
                raise
            raise _too_slow(limits) from None
        return downloaded


def _too_slow(limits: FetchLimits) -> ClipmillError:
    message = f"the download took longer than {limits.total_seconds:.0f} s"
    return ClipmillError(ErrorCode.NETWORK_TIMEOUT, message)


def _subtitle_source(source: SubtitleSource, first: MediaSource) -> MediaSource:
    """Return the source of subtitles, with headers and cookies of the post's first file."""
    subtitles = VideoFormat(
        format_id=f"subtitles {source.language}",
        container="vtt",
        protocol="hls" if source.playlist else "https",
    )
    return MediaSource(
        format=subtitles, url=source.url or "", headers=first.headers, cookies=first.cookies
    )
