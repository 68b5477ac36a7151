"""Downloads media: from the source that the platform named into a file, checked on the way."""

import asyncio
import re
from pathlib import Path
from typing import Protocol

import aiohttp
import msgspec

from agents.network.bandwidth import UNLIMITED, Bandwidth
from agents.network.time_limit import time_limit
from agents.network.transfer import FetchLimits, OnBytes, Pause, Transfer
from agents.storage.writing import open_hashing_file
from schemas.containers import MEDIA_TYPES
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import MediaSource

__all__ = [
    "FetchLimits",
    "Fetched",
    "MediaDownloader",
    "MediaFetcher",
    "OnBytes",
    "media_type",
]

MEDIA = re.compile(r"(?:video|audio|image)/(?!.*(?:svg|xml)).+")
"""Media types that are kept: such as browsers neither run nor read as a page."""

UNKNOWN_TYPE = "application/octet-stream"


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What arrived: size, sha256 (hex) and media type."""

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
        """Return what was written to `target`, which must not exist.

        Args:
            source: where the bytes are, and what to send along.
            target: the new file. After a failure it may be there, incomplete.
            hosts: suffixes of the hosts that the bytes may come from, redirects included.
            limits: its bounds.
            on_bytes: called for every piece, many times a second.

        Raises:
            ClipmillError: ``network.*``, ``rate_limit.api``, ``content.link_expired``,
                ``content.geo_blocked``, ``platform.changed`` (a forbidden host),
                ``request.too_large``, ``system.config``, ``system.disk_full`` or
                ``system.storage``.
        """
        ...


class MediaDownloader:
    """A `MediaFetcher` over HTTP.

    Args:
        session: an HTTP client of `agents.network.session.open_session`.
        bandwidth: of all downloads together; unlimited without.
        pause: waits before a resume.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        bandwidth: Bandwidth = UNLIMITED,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._session = session
        self._bandwidth = bandwidth
        self._pause = pause

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
                    mime_type = await transfer.run(file, self._pause)
            except TimeoutError:
                raise _too_slow(limits) from None
            digest = await file.finish()
        return Fetched(bytes=file.size, sha256=digest, mime_type=media_type(mime_type, source))


def _too_slow(limits: FetchLimits) -> ClipmillError:
    return ClipmillError(
        ErrorCode.NETWORK_TIMEOUT,
        f"the download was not done after {limits.total_seconds:g} seconds",
    )


def media_type(told: str | None, source: MediaSource) -> str:
    """Return what a server says that a file is, or what its container says when that is no media.

    Args:
        told: in lower case and without parameters; None when nothing was told.
        source: whose container counts otherwise.
    """
    if told is not None and MEDIA.fullmatch(told):
        return told
    return MEDIA_TYPES.get(source.format.container, UNKNOWN_TYPE)
