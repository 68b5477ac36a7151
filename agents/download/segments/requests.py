"""Requests for the manifest, keys and segments of one track.

They are retried, and limited in number across all tracks. Every address in a manifest is checked
before any is fetched.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from agents.manifests.dash import parse_dash
from agents.manifests.hls import parse_hls
from agents.manifests.segments import Resource, TrackPart, parts_of, unreadable
from agents.network.addresses import parse_media_url
from agents.network.resource import FetchedResource, ResourceFetcher, WriteBytes
from agents.network.transfer import RESUMABLE, FetchLimits, Sleep, backoffs
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import MediaSource

RETRIES = 3
"""Per manifest, key or segment."""

KEY_BYTES = 16
"""Of AES-128."""

MANIFEST_BYTES_MAX = 8 * 2**20
"""The playlist of a film of eight hours with signed addresses has 5 MB."""

_RETRIED = RESUMABLE | {ErrorCode.NETWORK_SERVER}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TrackRequests:
    """What all requests of one track share.

    Attributes:
        source: headers and cookies; its URL is the manifest's.
        fetcher: of one egress.
        hosts: permitted host suffixes.
        limits: of the track.
        in_flight: limits the requests of all tracks.
        sleep: waits before a retry.
    """

    source: MediaSource
    fetcher: ResourceFetcher
    hosts: tuple[str, ...]
    limits: FetchLimits
    in_flight: asyncio.Semaphore
    sleep: Sleep

    async def retried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return the result of an attempt; failures of the network are retried.

        Raises:
            ClipmillError: of the last attempt.
        """
        waits = backoffs(RETRIES)
        while True:
            try:
                async with self.in_flight:
                    return await attempt()
            except ClipmillError as error:
                seconds = next(waits, None)
                if seconds is None or error.code not in _RETRIED:
                    raise
            await self.sleep(seconds)

    async def stream(self, resource: Resource, write: WriteBytes) -> FetchedResource:
        """Fetch a resource, once.

        Raises:
            ClipmillError: see `ResourceFetcher.fetch_resource`.
        """
        return await self.fetcher.fetch_resource(
            msgspec.structs.replace(self.source, url=resource.url),
            resource.byte_range,
            write,
            hosts=self.hosts,
            limits=self.limits,
        )

    async def read(self, url: str, *, bytes_max: int) -> tuple[bytes, str]:
        """Return the bytes of a small resource, and its URL after redirects."""
        limits = msgspec.structs.replace(self.limits, max_bytes=bytes_max)

        async def attempt() -> tuple[bytes, str]:
            body = bytearray()

            async def write(chunk: bytes) -> None:
                body.extend(chunk)

            received = await self.fetcher.fetch_resource(
                msgspec.structs.replace(self.source, url=url),
                None,
                write,
                hosts=self.hosts,
                limits=limits,
            )
            return bytes(body), received.url

        return await self.retried(attempt)


class KeyCache:
    """The keys of one track, each fetched once."""

    def __init__(self, requests: TrackRequests) -> None:
        self._requests = requests
        self._lock = asyncio.Lock()
        self._keys: dict[str, bytes] = {}

    async def get(self, url: str) -> bytes:
        """Return a key.

        Raises:
            ClipmillError: it cannot be fetched, or is none.
        """
        async with self._lock:
            if url not in self._keys:
                key, _ = await self._requests.read(url, bytes_max=4 * KEY_BYTES)
                if len(key) != KEY_BYTES:
                    raise unreadable(f"a key has {len(key)} bytes, not {KEY_BYTES}")
                self._keys[url] = key
            return self._keys[url]


async def read_manifest(requests: TrackRequests) -> tuple[TrackPart, ...]:
    """Return the parts of a track.

    Raises:
        ClipmillError: the manifest cannot be fetched, see `agents.manifests`, or names a host
            that is not permitted.
    """
    try:
        document, url = await requests.read(requests.source.url, bytes_max=MANIFEST_BYTES_MAX)
    except ClipmillError as error:
        if error.code is ErrorCode.REQUEST_TOO_LARGE:
            reason = f"it has more than {MANIFEST_BYTES_MAX} bytes"
            message = f"the manifest of the video cannot be used: {reason}"
            raise ClipmillError(ErrorCode.PLATFORM_CHANGED, message, reason=reason) from None
        raise
    # Half a second of processor time for the longest ones.
    return await asyncio.to_thread(_parse, requests, document, url)


def _parse(requests: TrackRequests, document: bytes, url: str) -> tuple[TrackPart, ...]:
    source = requests.source
    if source.format.protocol == "dash":
        segments = parse_dash(document, url, source.representation or "")
    else:
        segments = parse_hls(document.decode("utf-8", "replace"), url)
    parts = parts_of(segments)
    # One address per host and port is checked here, and each when it is requested.
    origins: dict[str, str] = {}
    for each in (resource for part in parts for resource in part.resources):
        for address in (each.url, each.key.url) if each.key else (each.url,):
            origins.setdefault(urlsplit(address).netloc, address)
    for address in origins.values():
        parse_media_url(address, requests.hosts)
    return parts
