"""How far a download is, as often as people want to know and no oftener."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from schemas.progress import Progress
from schemas.video import VideoFormat

REPORT_SECONDS = 0.5
"""At most two reports a second for each request."""


class ProgressMeter:
    """Turns byte counts into progress reports of one download."""

    def __init__(
        self,
        request_id: str,
        video_key: str,
        chosen: VideoFormat,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._request_id = request_id
        self._video_key = video_key
        self._format = chosen
        self._clock = clock
        self._started = clock()
        self._reported = self._started
        self._ended = False

    def update(self, done: int, total: int | None) -> Progress | None:
        """Return a report, None when the last one was a moment ago and this is not the end."""
        now = self._clock()
        if now - self._reported < REPORT_SECONDS and done != total:
            return None
        self._reported = now
        self._ended = done == total
        return self._report(done, total, now - self._started)

    def finish(self, done: int) -> Progress | None:
        """Return the report of a finished download, None when the last one was that already."""
        return None if self._ended else self.update(done, done)

    def _report(self, done: int, total: int | None, seconds: float) -> Progress:
        speed = done / seconds if seconds > 0 else 0.0
        left = (total - done) / speed if total is not None and speed else None
        return Progress(
            request_id=self._request_id,
            video_key=self._video_key,
            format_id=self._format.format_id,
            bytes=done,
            total_bytes=total,
            bytes_per_second=round(speed, 1),
            eta_seconds=None if left is None else round(max(left, 0.0), 1),
            at=datetime.now(UTC),
        )
