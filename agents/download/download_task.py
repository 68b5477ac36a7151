"""State shared by the files of one request: limits, byte budget and progress."""

from dataclasses import dataclass
from typing import Self

from msgspec.structs import replace

from agents.download.kept import download_bytes, output_format
from agents.download.progress import ProgressMeter
from agents.network.answers import too_large_together
from agents.network.download import FetchLimits
from schemas.events import SelectedVideo
from schemas.job import Job
from streams.settings import Settings


class Budget:
    """The byte limit of all files of one request together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sizes: dict[str, int] = {}
        self._sum = 0

    def claim(self, format_id: str, size: int) -> None:
        """Record the actual or expected size of a file; replaces its earlier claim.

        Raises:
            ClipmillError: ``request.too_large``.
        """
        self._sum += size - self._sizes.get(format_id, 0)
        self._sizes[format_id] = size
        if self._sum > self._limit:
            raise too_large_together(self._limit)


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
