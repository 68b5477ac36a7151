"""Media downloads over HTTP: one media source into one file, with size, SHA-256 and media type.

Resumes broken connections, but does not retry: the recovery stage decides on retries.
"""

import asyncio
import re
from pathlib import Path
from typing import Protocol

import aiohttp
import msgspec

from agents.network.bandwidth import UNLIMITED, BandwidthLimiter, time_limit
from agents.network.resource import ResourceDownloader
from agents.network.transfer import FetchLimits, OnBytes, Sleep, Transfer
from agents.storage.writing import open_hashing_file
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import MEDIA_TYPES, MediaSource

MEDIA = re.compile(r"(?:video|audio|image)/(?!.*(?:svg|xml)).+")
"""Accepted media types: ones that browsers neither execute nor render as a page."""

UNKNOWN_TYPE = "application/octet-stream"


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """A finished download: size, SHA-256 (hex) and media type."""

    bytes: int
    sha256: str
    mime_type: str


class MediaFetcher(Protocol):
    """Streams the bytes of one media source into a file."""

    async def fetch(
        self,
        source: MediaSource,
        target: Path,
        *,
        hosts: tuple[str, ...],
        limits: FetchLimits,
        on_bytes: OnBytes,
    ) -> Fetched:
        """Download to ``target``.

        Args:
            source: URL, headers and cookies.
            target: must not exist. After a failure it may exist, incomplete.
            hosts: permitted host suffixes, for redirects too.
            limits: of this download.
            on_bytes: called for every chunk, many times a second.

        Raises:
            ClipmillError: ``network.*``, ``rate_limit.api``, ``content.link_expired``,
                ``content.geo_blocked``, ``platform.changed`` (a forbidden host),
                ``request.too_large``, ``system.config``, ``system.disk_full`` or
                ``system.storage``.
        """
        ...


class MediaDownloader(ResourceDownloader):
    """A `MediaFetcher` over HTTP, and a `ResourceFetcher`.

    Args:
        session: an HTTP client of `agents.network.session.open_session`.
        bandwidth: limiter of all downloads together.
        sleep: waits before a resume.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        bandwidth: BandwidthLimiter = UNLIMITED,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        super().__init__(session, bandwidth=bandwidth)
        self._sleep = sleep

    async def fetch(
        self,
        source: MediaSource,
        target: Path,
        *,
        hosts: tuple[str, ...],
        limits: FetchLimits,
        on_bytes: OnBytes,
    ) -> Fetched:
        """See `MediaFetcher.fetch`."""
        transfer = Transfer(
            self._session, source, hosts, limits, on_bytes=on_bytes, bandwidth=self._bandwidth
        )
        async with open_hashing_file(target) as file:
            try:
                async with time_limit(limits.total_seconds):
                    mime_type = await transfer.run(file, self._sleep)
            except TimeoutError:
                raise _timed_out(limits) from None
            digest = await file.finish()
        return Fetched(bytes=file.size, sha256=digest, mime_type=media_type(mime_type, source))


def _timed_out(limits: FetchLimits) -> ClipmillError:
    return ClipmillError(
        ErrorCode.NETWORK_TIMEOUT,
        f"the download took longer than {limits.total_seconds:g} seconds",
    )


def media_type(declared: str | None, source: MediaSource) -> str:
    """Return the declared media type, or that of the container when it is not an accepted one.

    Args:
        declared: by the server, in lower case and without parameters; None without.
        source: of the file.
    """
    if declared is not None and MEDIA.fullmatch(declared):
        return declared
    return MEDIA_TYPES.get(source.format.container, UNKNOWN_TYPE)
