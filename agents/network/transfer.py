"""Transfers one body into a file, resuming with range requests after broken connections.

Each redirect is checked against the allow-list before the connection.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import msgspec
from yarl import URL

from agents.network.addresses import parse_media_url
from agents.network.answers import MediaResponse, PartialBody, check_response, too_large
from agents.network.bandwidth import BandwidthLimiter
from agents.network.decoding import Decoder, decoder_of
from agents.network.errors import map_errors
from agents.network.request_headers import media_headers
from agents.storage.writing import HashingFile
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import MediaSource

RESUMABLE = frozenset({ErrorCode.NETWORK_CONNECTION, ErrorCode.NETWORK_TIMEOUT})
"""Failures after which the transfer resumes; all others are raised to the caller."""

FIRST_BACKOFF_SECONDS = 0.25
BACKOFF_FACTOR = 4.0
MAX_BACKOFF_SECONDS = 5.0
"""Backoff before a resume: long enough for a server to restart, short compared with a retry."""


class FetchLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one download.

    Attributes:
        connect_seconds: connect timeout, proxy and TLS included.
        stall_seconds: read timeout.
        total_seconds: excludes waits of the bandwidth limiter.
        max_bytes: of the file.
        redirects: maximum per request.
        resumes: maximum after broken connections.
    """

    connect_seconds: float = 10.0
    stall_seconds: float = 20.0
    total_seconds: float = 3_600.0
    max_bytes: int = 2_000_000_000
    redirects: int = 5
    resumes: int = 3

    def timeouts(self) -> aiohttp.ClientTimeout:
        """Return the timeouts of each request."""
        return aiohttp.ClientTimeout(
            total=None,
            connect=self.connect_seconds,
            sock_connect=self.connect_seconds,
            sock_read=self.stall_seconds,
        )


OnBytes = Callable[[int, int | None], None]
"""Called as bytes arrive, with (bytes so far, total or None)."""

Sleep = Callable[[float], Awaitable[None]]
"""Takes seconds."""


class Transfer:
    """The transfer of one body. Used once.

    Args:
        session: an HTTP client of `agents.network.session.open_session`.
        source: URL, headers and cookies.
        hosts: permitted host suffixes.
        limits: of this transfer.
        on_bytes: receives progress.
        bandwidth: limiter of all transfers together.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        source: MediaSource,
        hosts: tuple[str, ...],
        limits: FetchLimits,
        *,
        on_bytes: OnBytes,
        bandwidth: BandwidthLimiter,
    ) -> None:
        self._session = session
        self._source = source
        self._hosts = hosts
        self._limits = limits
        self._on_bytes = on_bytes
        self._bandwidth = bandwidth
        self._partial = PartialBody()

    async def run(self, file: HashingFile, sleep: Sleep = asyncio.sleep) -> str | None:
        """Write the whole body to the file; returns the media type stated by the server.

        Raises:
            ClipmillError: not resumable, or failed after all resumes.
        """
        waits = backoffs(self._limits.resumes)
        while True:
            try:
                return await self._attempt(file)
            except ClipmillError as error:
                seconds = next(waits, None)
                if seconds is None or error.code not in RESUMABLE or not file.size:
                    raise
            await sleep(seconds)

    async def _attempt(self, file: HashingFile) -> str | None:
        requested = msgspec.structs.replace(self._partial, offset=file.size)
        async with open_response(
            self._session,
            self._source.url,
            hosts=self._hosts,
            redirects=self._limits.redirects,
            headers=lambda url: media_headers(self._source, url) | requested.range_headers(),
            timeouts=self._limits.timeouts(),
        ) as response:
            accepted = self._check(response, requested)
            if accepted is not None:
                await self._receive(response, accepted, file)
                return accepted.mime_type
        await file.restart()
        return await self._attempt(file)

    def _check(
        self, response: aiohttp.ClientResponse, requested: PartialBody
    ) -> MediaResponse | None:
        return check_response(
            response.status,
            response.headers,
            requested,
            host=_host(response),
            max_bytes=self._limits.max_bytes,
        )

    async def _receive(
        self, response: aiohttp.ClientResponse, accepted: MediaResponse, file: HashingFile
    ) -> None:
        if accepted.partial.offset != file.size:
            await file.restart()
        self._partial = accepted.partial
        decoder = decoder_of(accepted.coding, _host(response))
        async for data in response.content.iter_any():
            for chunk in decoder.feed(data):
                if file.size + len(chunk) > self._limits.max_bytes:
                    raise too_large(_host(response), self._limits.max_bytes)
                await file.write(chunk)
                self._on_bytes(file.size, accepted.partial.total)
            await self._bandwidth.consume(len(data))
        self._check_complete(response, accepted, file.size, decoder)

    def _check_complete(
        self, response: aiohttp.ClientResponse, accepted: MediaResponse, size: int, decoder: Decoder
    ) -> None:
        if size == 0:
            raise ClipmillError(
                ErrorCode.NETWORK_SERVER, f"{_host(response)} answered with an empty file"
            )
        if not decoder.finished:
            raise ClipmillError(
                ErrorCode.NETWORK_CONNECTION,
                f"{_host(response)} sent a truncated {accepted.coding} body",
            )
        # The page's size is often wrong; it is used only where nothing else reveals truncation.
        hint = 0 if accepted.delimited else self._source.format.bytes or 0
        expected = accepted.partial.total or max(size, hint)
        if size != expected:
            raise ClipmillError(
                ErrorCode.NETWORK_CONNECTION,
                f"{_host(response)} sent {size} of {expected} bytes",
            )


def backoffs(resumes: int) -> Iterator[float]:
    """Yield the seconds to wait before each resume."""
    for number in range(resumes):
        yield min(FIRST_BACKOFF_SECONDS * BACKOFF_FACTOR**number, MAX_BACKOFF_SECONDS)


def _host(response: aiohttp.ClientResponse) -> str:
    return str(response.url.host)


REDIRECTS = frozenset({301, 302, 303, 307, 308})


@asynccontextmanager
async def open_response(
    session: aiohttp.ClientSession,
    address: str,
    *,
    hosts: tuple[str, ...],
    redirects: int,
    headers: Callable[[URL], Mapping[str, str]],
    timeouts: aiohttp.ClientTimeout,
) -> AsyncIterator[aiohttp.ClientResponse]:
    """GET the URL; yields the first response that is not a redirect, its body unread.

    Errors of reads in the block are mapped, too.

    Args:
        session: HTTP client.
        address: the URL.
        hosts: permitted host suffixes, for every hop.
        redirects: maximum to follow.
        headers: of a request; called for every hop, so that no header or cookie for one host
            reaches another.
        timeouts: of every hop.

    Raises:
        ClipmillError: ``platform.changed`` for a forbidden host or a plain-text link,
            ``network.*`` otherwise.
    """
    url = parse_media_url(address, hosts)
    for _ in range(redirects + 1):
        with map_errors(str(url.host)):
            async with session.get(
                url, headers=headers(url), timeout=timeouts, allow_redirects=False
            ) as response:
                if response.status not in REDIRECTS:
                    yield response
                    return
                url = _target(url, response.headers.get("Location", ""), hosts)
    raise ClipmillError(
        ErrorCode.NETWORK_SERVER, f"{url.host} redirects more than {redirects} times"
    )


def _target(url: URL, location: str, hosts: tuple[str, ...]) -> URL:
    try:
        joined = str(url.join(URL(location, encoded=True)))
    except ValueError:
        joined = ""
    return parse_media_url(joined, hosts)
