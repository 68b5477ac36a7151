"""Limits of every HTTP request of an engine process: size, time, CA roots, addresses."""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from yt_dlp.networking.exceptions import TransportError

REDIRECTS_MAX = 5
"""Per request; yt-dlp's own limit for libcurl."""

ConnectCheck = Callable[[socket.socket, Any], bool]
"""Whether a socket may connect to an address; see `agents.network.guard.connect_check`."""


class PageTooLargeError(TransportError):
    """The decoded response exceeds ``page_bytes_max``."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one request.

    Attributes:
        page_bytes_max: size of the decoded response.
        request_seconds: total time, redirects and body included.
        ca_file: PEM file of the only trusted CA roots.
        permits: filter of the addresses to connect to.
    """

    page_bytes_max: int
    request_seconds: float
    ca_file: Path
    permits: ConnectCheck


class Deadline:
    """Deadline of a thread's current job. One per thread, restarted for every job.

    Attributes:
        exceeded: an operation was rejected since the start of the job.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.exceeded = False
        self._clock = clock
        self._ends = 0.0

    def start(self, seconds: float) -> None:
        """Restart for a job with this timeout."""
        self.exceeded = False
        self._ends = self._clock() + seconds

    def expire(self) -> None:
        """Reject every operation until the next `start`."""
        self._ends = self._clock()

    def allow(self, seconds: float) -> float:
        """Return the timeout of an operation, reduced to the time left.

        Raises:
            TransportError: the deadline has passed.
        """
        left = self._ends - self._clock()
        if left <= 0:
            self.exceeded = True
            raise TransportError("the deadline of the job has passed")
        return min(seconds, left)
