"""What the files of one request have in common: their bounds, and how far they are together."""

from dataclasses import dataclass
from typing import Self

from msgspec.structs import replace

from agents.download.kept import fetched_bytes, kept_format
from agents.download.progress import ProgressMeter
from agents.network.answers import too_large_together
from agents.network.download import FetchLimits
from schemas.events import SelectedVideo
from schemas.job import Job
from streams.settings import Settings


class Budget:
    """The bytes that the files of one request may have together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sizes: dict[str, int] = {}
        self._sum = 0

    def claim(self, format_id: str, size: int) -> None:
        """Note how large a file is, or will be.

        Raises:
            ClipmillError: ``request.too_large``.
        """
        self._sum += size - self._sizes.get(format_id, 0)
        self._sizes[format_id] = size
        if self._sum > self._limit:
            raise too_large_together(self._limit)


@dataclass(frozen=True, slots=True)
class DownloadTask:
    """What the files of one event have in common.

    Attributes:
        event: asks for them.
        limits: of each of them.
        part_limits: of a file that is fetched for its sound only: how large that is shows later.
        meter: counts the bytes of all.
        budget: bounds the bytes of all.
    """

    event: SelectedVideo
    limits: FetchLimits
    part_limits: FetchLimits
    meter: ProgressMeter
    budget: Budget

    @classmethod
    def of(cls, event: SelectedVideo, settings: Settings) -> Self:
        """Return the errand of an event, from now on."""
        limits = fetch_limits(settings, event.job)
        part_limits = replace(limits, max_bytes=settings.download.file_bytes)
        formats = [replace(kept_format(it), bytes=fetched_bytes(it)) for it in event.sources]
        meter = ProgressMeter(event.job.request_id, event.video.key, formats)
        return cls(event, limits, part_limits, meter, Budget(limits.max_bytes))


def fetch_limits(settings: Settings, job: Job) -> FetchLimits:
    """Return the bounds of a job's download: the settings', or the client's when tighter."""
    download = settings.download
    return FetchLimits(
        connect_seconds=download.connect_timeout_seconds,
        stall_seconds=download.stall_timeout_seconds,
        total_seconds=download.deadline_seconds,
        max_bytes=min(download.file_bytes, job.options.max_bytes or download.file_bytes),
    )
