"""What every HTTP request of an engine process is held to."""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from yt_dlp.networking.exceptions import TransportError

REDIRECTS_MAX = 5
"""Hops of one request; yt-dlp's own number for libcurl."""

Permits = Callable[[socket.socket, Any], bool]
"""May this socket connect to this address? See `agents.network.guard.connect_check`."""


class PageTooLargeError(TransportError):
    """The decoded response has more bytes than a page may have."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one request.

    Attributes:
        page_bytes_max: bytes of the decoded response.
        request_seconds: total time, redirects and body included.
        ca_file: PEM file of the roots that are trusted, and no others.
        permits: which addresses may be dialled.
    """

    page_bytes_max: int
    request_seconds: float
    ca_file: Path
    permits: Permits


class Deadline:
    """When the job of a thread must be done. One per thread, set anew for every job.

    Attributes:
        refused: something was not allowed any time since the start of the job.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.refused = False
        self._clock = clock
        self._ends = 0.0

    def start(self, seconds: float) -> None:
        """Begin a job that has this much time."""
        self.refused = False
        self._ends = self._clock() + seconds

    def end(self) -> None:
        """Allow nothing more until the next job."""
        self._ends = self._clock()

    def allow(self, seconds: float) -> float:
        """Return how long something may take that would like to take so many seconds.

        Raises:
            TransportError: the job's time is used up.
        """
        left = self._ends - self._clock()
        if left <= 0:
            self.refused = True
            raise TransportError("the deadline of the job has passed")
        return min(seconds, left)
