"""State shared by the files of one request: limits, byte budget and progress."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from msgspec.structs import replace

from agents.media.protocol import MUXERS, FilePart, MediaFacts, Streams, TrackFile
from agents.network.answers import too_large_together
from agents.network.download import Fetched
from agents.network.transfer import FetchLimits
from agents.storage.names import THUMBNAIL_SUFFIX
from schemas.events import Progress, SelectedVideo
from schemas.job import Job
from schemas.video import DEFAULT_CONTAINER, MediaSource, SelectedSource, VideoFormat
from streams.settings import Settings

REPORT_SECONDS = 0.5
"""Minimum interval between reports of one request; the last one is always sent."""


@dataclass(slots=True)
class _FileProgress:
    done: int = 0
    total: int | None = None
    stored: bool = False


class ProgressMeter:
    """Turns byte counts into progress reports on all files of one request.

    Args:
        request_id: the request.
        video_key: the post.
        formats: formats of the files; their sizes apply until a server reports the actual ones.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        request_id: str,
        video_key: str,
        formats: Sequence[VideoFormat],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._request_id = request_id
        self._video_key = video_key
        self._files = {each.format_id: _FileProgress(total=each.bytes) for each in formats}
        self._clock = clock
        self._started = clock()
        self._reported = self._started
        self._reused = 0

    def update(self, format_id: str, done: int, total: int | None) -> Progress | None:
        """Record the bytes of a file; return a report, None within `REPORT_SECONDS` of the last.

        None as well when all bytes have come: `finish` reports the same size.

        Args:
            format_id: format of the file.
            done: bytes received so far.
            total: size of the file, None when the server does not report it.
        """
        file = self._files[format_id]
        file.done, file.total = done, total
        has_all_bytes = all(each.done == each.total for each in self._files.values())
        return None if has_all_bytes else self._report_if_due(format_id)

    def finish(self, format_id: str, size: int, *, reused: bool = False) -> Progress | None:
        """Record that a file is stored, or reused; the last file is always reported."""
        self._files[format_id] = _FileProgress(done=size, total=size, stored=True)
        self._reused += size if reused else 0
        ended = all(file.stored for file in self._files.values())
        return self._report(format_id, self._clock()) if ended else self._report_if_due(format_id)

    def _report_if_due(self, format_id: str) -> Progress | None:
        now = self._clock()
        return None if now - self._reported < REPORT_SECONDS else self._report(format_id, now)

    def _report(self, format_id: str, now: float) -> Progress:
        self._reported = now
        files, seconds = self._files.values(), now - self._started
        done = sum(file.done for file in files)
        totals = [file.total for file in files if file.total is not None]
        total = sum(totals) if len(totals) == len(files) else None
        speed = (done - self._reused) / seconds if seconds > 0 else 0.0
        remaining = (total - done) / speed if total is not None and speed else None
        return Progress(
            request_id=self._request_id,
            video_key=self._video_key,
            format_id=format_id,
            bytes=done,
            total_bytes=total,
            bytes_per_second=round(speed, 1),
            eta_seconds=None if remaining is None else round(max(remaining, 0.0), 1),
            files_done=sum(file.stored for file in files),
            files_total=len(files),
            at=datetime.now(UTC),
        )


class Budget:
    """The byte limit of all files of one request together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sizes: dict[str, int] = {}
        self._sum = 0

    def claim(self, format_id: str, size: int) -> None:
        """Record the actual or expected size of a file; replaces its earlier claim.

        Raises:
            ClipmillError: ``request.too_large``; the earlier claim remains.
        """
        total = self._sum + size - self._sizes.get(format_id, 0)
        if total > self._limit:
            raise too_large_together(self._limit)
        self._sum, self._sizes[format_id] = total, size


@dataclass(frozen=True, slots=True)
class DownloadTask:
    """Shared by the files of one event.

    Attributes:
        event: the event in progress.
        limits: limits of each file.
        part_limits: limits of a download of which only the sound is kept: without the client's
            size limit, because the size of the sound is known only afterwards.
        meter: progress of all files.
        budget: byte limit of all files together.
    """

    event: SelectedVideo
    limits: FetchLimits
    part_limits: FetchLimits
    meter: ProgressMeter
    budget: Budget

    @classmethod
    def of(cls, event: SelectedVideo, settings: Settings) -> Self:
        limits = fetch_limits(settings, event.job)
        part_limits = replace(limits, max_bytes=settings.download.file_bytes)
        formats = [replace(output_format(it), bytes=download_bytes(it)) for it in event.sources]
        meter = ProgressMeter(event.job.request_id, event.video.key, formats)
        return cls(event, limits, part_limits, meter, Budget(limits.max_bytes))


def fetch_limits(settings: Settings, job: Job) -> FetchLimits:
    """Return the limits of a job's downloads: the settings', or the client's if tighter."""
    download = settings.download
    return FetchLimits(
        connect_seconds=download.connect_timeout_seconds,
        stall_seconds=download.stall_timeout_seconds,
        total_seconds=download.deadline_seconds,
        max_bytes=min(download.file_bytes, job.options.max_bytes or download.file_bytes),
    )


SOUND_CONTAINER = "m4a"
"""Container of sound with an unknown codec: nearly all videos have AAC."""


@dataclass(frozen=True, slots=True)
class DownloadPart:
    """One download of the one or two that a file needs.

    Attributes:
        source: the source to download.
        file: the file that needs it.
        bytes_before: bytes of the file's earlier downloads.
    """

    source: MediaSource
    file: SelectedSource
    bytes_before: int = 0

    @property
    def is_primary(self) -> bool:
        """Whether the file contains the whole download, not only its sound."""
        return self.source is self.file and not self.file.sound_only

    @property
    def is_thumbnail(self) -> bool:
        return self.file.format_id.endswith(THUMBNAIL_SUFFIX)


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A source that was downloaded.

    Attributes:
        path: of its bytes.
        bytes: size of the file.
        parts: of a track, see `FilePart`; empty for a whole file.
        whole: of a whole file.
        facts: probed properties of a whole file.
    """

    path: Path
    bytes: int
    parts: tuple[FilePart, ...] = ()
    whole: Fetched | None = None
    facts: MediaFacts | None = None

    @property
    def is_track(self) -> bool:
        return bool(self.parts)

    def as_track(self, streams: Streams) -> tuple[Path, TrackFile]:
        """Return what is joined with other tracks; a whole file is a track of one part."""
        return self.path, TrackFile(parts=self.parts or (FilePart(0),), streams=streams)


@dataclass(frozen=True, slots=True)
class PreparedFile:
    """A verified file that is ready to be published.

    Attributes:
        source: its source, with the actual format.
        path: its path in the workspace.
        fetched: its size, sha256 and media type.
        facts: its probed properties, None when it could not be probed.
        received_bytes: bytes downloaded for it.
    """

    source: MediaSource
    path: Path
    fetched: Fetched
    facts: MediaFacts | None
    received_bytes: int


def output_format(source: SelectedSource, container: str | None = None) -> VideoFormat:
    """Return the format of the published file.

    Args:
        source: its source.
        container: file extension of the remuxed file; None: the one expected from the page.
    """
    chosen = source.format
    if source.sound_only:
        muxer = MUXERS.get(chosen.audio_codec or "")
        return VideoFormat(
            format_id=chosen.format_id,
            container=container or (muxer.extension if muxer else SOUND_CONTAINER),
            audio_codec=chosen.audio_codec,
            bits_per_second=chosen.audio_bits_per_second,
            song=chosen.song,
        )
    if source.sound_from is not None:
        sound = source.sound_from.format
        return replace(
            chosen,
            format_id=source.format_id,
            container=container or DEFAULT_CONTAINER,
            audio_codec=sound.audio_codec,
            audio_bits_per_second=sound.audio_bits_per_second,
            bytes=None,
        )
    if chosen.protocol != "https":
        return replace(chosen, container=container or chosen.container, bytes=None)
    return chosen


def download_bytes(source: SelectedSource) -> int | None:
    """Return how many bytes are downloaded for a file; None when the page has no sizes."""
    sizes = [each.format.bytes for each in (source, source.sound_from) if each is not None]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None
