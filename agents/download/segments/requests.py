"""Requests for the resources of one track: retried, and limited in number across all tracks."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from agents.download.segments.decryption import KEY_BYTES
from agents.manifests.segments import Resource, unreadable
from agents.network.resource import FetchedResource, ResourceFetcher, Write
from agents.network.transfer import RESUMABLE, FetchLimits, Sleep, backoffs
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import MediaSource

RETRIES = 3
"""Per manifest, key or segment."""

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

    async def stream(self, resource: Resource, write: Write) -> FetchedResource:
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
