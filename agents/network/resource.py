"""Downloads of resources that belong to one file: manifests, keys and segments.

Unlike a file, a resource may be a byte range, and is not resumed: it is small, and the caller
fetches it again.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import aiohttp
import msgspec

from agents.network.answers import (
    OK,
    PARTIAL,
    coding_of,
    content_range,
    length_of,
    mime_type_of,
    too_large,
)
from agents.network.bandwidth import UNLIMITED, BandwidthLimiter
from agents.network.decoding import Decoder, decoder_of
from agents.network.errors import from_status
from agents.network.request_headers import media_headers
from agents.network.transfer import FetchLimits, open_response
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import MediaSource

_ERROR_PAGES = re.compile(r"text/html|application/(?:json|xhtml\+xml)")
"""Types of login and error pages. Other types of text are accepted: servers name segments anything
(``.ts`` is also the extension of a translation file), and manifests are text or XML."""


class ByteRange(msgspec.Struct, frozen=True):
    """A range of a resource's bytes, ``last`` included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last + 1 - self.first

    def headers(self) -> dict[str, str]:
        return {"Range": f"bytes={self.first}-{self.last}"}


class ExpectedBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an accepted response.

    Attributes:
        length: bytes after decoding, None when the server does not state it.
        coding: see `agents.network.answers.MediaResponse`.
    """

    length: int | None
    coding: str | None


def check_resource(
    status: int,
    headers: Mapping[str, str],
    byte_range: ByteRange | None,
    *,
    host: str,
    max_bytes: int,
) -> ExpectedBody:
    """Return what the body of a response must be.

    Args:
        status: HTTP status.
        headers: of the response; a case-insensitive mapping.
        byte_range: that was requested; None for the whole resource.
        host: of the response, for messages.
        max_bytes: largest body accepted.

    Raises:
        ClipmillError: ``content.link_expired`` for refusals and error pages, ``network.server``
            for another range than the requested one, ``request.too_large``, or the error of
            `agents.network.errors.from_status`.
    """
    if status not in {OK, PARTIAL}:
        raise from_status(status, headers.get("Retry-After"), host)
    mime_type = mime_type_of(headers) or ""
    if _ERROR_PAGES.fullmatch(mime_type):
        message = f"{host} answered with {mime_type} in place of media"
        raise ClipmillError(ErrorCode.CONTENT_LINK_EXPIRED, message)
    coding = coding_of(headers, host)
    length = length_of(headers) if coding is None else None
    if byte_range is not None or status == PARTIAL:
        length = _check_range(status, headers, byte_range, host)
    if length is not None and length > max_bytes:
        raise too_large(host, max_bytes)
    return ExpectedBody(length=length, coding=coding)


def _check_range(
    status: int, headers: Mapping[str, str], byte_range: ByteRange | None, host: str
) -> int:
    found = content_range(headers)
    if status == PARTIAL and found is not None and byte_range is not None:
        stated = ByteRange(found.first, found.last)
        if stated == byte_range:
            return stated.length
    raise ClipmillError(
        ErrorCode.NETWORK_SERVER, f"{host} answered with another range than was asked for"
    )


WriteBytes = Callable[[bytes], Awaitable[None]]
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
        write: WriteBytes,
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
        write: WriteBytes,
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
