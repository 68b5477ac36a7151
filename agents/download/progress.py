"""Progress of a request's downloads, throttled to a bounded rate of reports."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.progress import Progress
from schemas.video import VideoFormat

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
        return None if self._has_all_bytes() else self._report_if_due(format_id)

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
        files = self._files.values()
        done, total, seconds = sum(file.done for file in files), self._total(), now - self._started
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

    def _has_all_bytes(self) -> bool:
        return all(file.done == file.total for file in self._files.values())

    def _total(self) -> int | None:
        totals = [file.total for file in self._files.values() if file.total is not None]
        return sum(totals) if len(totals) == len(self._files) else None
