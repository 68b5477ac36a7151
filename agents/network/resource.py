"""Downloads of resources that belong to one file: manifests, keys and segments.

Unlike a file, a resource may be a byte range, and is not resumed: it is small, and the caller
fetches it again.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

import aiohttp
import msgspec

from agents.network.answers import too_large
from agents.network.bandwidth import UNLIMITED, BandwidthLimiter
from agents.network.decoding import Decoder, decoder_of
from agents.network.request_headers import media_headers
from agents.network.resource_answers import ByteRange, ExpectedBody, check_resource
from agents.network.transfer import FetchLimits, open_response
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import MediaSource

Write = Callable[[bytes], Awaitable[None]]
"""Receives the bytes in order."""


class FetchedResource(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that came completely.

    Attributes:
        url: after redirects.
        bytes: its size.
    """

    url: str
    bytes: int


class ResourceFetcher(Protocol):
    """Fetches one resource of a file."""

    async def fetch_resource(
        self,
        source: MediaSource,
        byte_range: ByteRange | None,
        write: Write,
        *,
        hosts: tuple[str, ...],
        limits: FetchLimits,
    ) -> FetchedResource:
        """Fetch a resource.

        Args:
            source: URL, headers and cookies.
            byte_range: the bytes to fetch; None for all.
            write: receives them. After a failure it may have received some.
            hosts: permitted host suffixes, for redirects too.
            limits: of this resource.

        Raises:
            ClipmillError: as `agents.network.download.MediaFetcher.fetch`.
        """
        ...


class ResourceDownloader:
    """A `ResourceFetcher` over HTTP.

    Args:
        session: an HTTP client of `agents.network.session.open_session`.
        bandwidth: limiter of all downloads together.
    """

    def __init__(
        self, session: aiohttp.ClientSession, *, bandwidth: BandwidthLimiter = UNLIMITED
    ) -> None:
        self._session = session
        self._bandwidth = bandwidth

    async def fetch_resource(
        self,
        source: MediaSource,
        byte_range: ByteRange | None,
        write: Write,
        *,
        hosts: tuple[str, ...],
        limits: FetchLimits,
    ) -> FetchedResource:
        """See `ResourceFetcher.fetch_resource`."""
        extra = {} if byte_range is None else byte_range.headers()
        async with open_response(
            self._session,
            source.url,
            hosts=hosts,
            redirects=limits.redirects,
            headers=lambda url: media_headers(source, url) | extra,
            timeouts=limits.timeouts(),
        ) as response:
            host = str(response.url.host)
            expected = check_resource(
                response.status,
                response.headers,
                byte_range,
                host=host,
                max_bytes=limits.max_bytes,
            )
            decoder, size = decoder_of(expected.coding, host), 0
            async for data in response.content.iter_any():
                for chunk in decoder.feed(data):
                    size += len(chunk)
                    if size > limits.max_bytes:
                        raise too_large(host, limits.max_bytes)
                    await write(chunk)
                await self._bandwidth.consume(len(data))
            _check_complete(expected, decoder, size, host)
            return FetchedResource(url=str(response.url), bytes=size)


def _check_complete(expected: ExpectedBody, decoder: Decoder, size: int, host: str) -> None:
    if size == 0:
        raise ClipmillError(ErrorCode.NETWORK_SERVER, f"{host} answered with an empty file")
    if not decoder.finished or expected.length not in {None, size}:
        raise ClipmillError(
            ErrorCode.NETWORK_CONNECTION, f"{host} ended the transfer before its end"
        )
