"""Brings one body into a file, over as many connections as it takes and the limits permit."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import aiohttp
import msgspec

from agents.network.answers import Answer, Partial, judge, too_large
from agents.network.bandwidth import Bandwidth
from agents.network.decoding import Decoder, decoder_of
from agents.network.redirects import open_response
from agents.network.request_headers import media_headers
from agents.storage.writing import HashingFile
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import MediaSource

RESUMABLE = frozenset({ErrorCode.NETWORK_CONNECTION, ErrorCode.NETWORK_TIMEOUT})
"""Failures after which the rest is asked for; everything else is for the caller to judge."""

FIRST_PAUSE_SECONDS = 0.25
PAUSE_GROWTH = 4.0
MAX_PAUSE_SECONDS = 5.0
"""Before a resume: long enough for a server to restart, short against a fresh attempt."""


class FetchLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one fetch; seconds and bytes.

    Attributes:
        connect_seconds: until the connection stands, proxy and TLS included.
        stall_seconds: without a single byte.
        total_seconds: for everything but waits for our own bandwidth.
        max_bytes: of the file.
        redirects: followed in a row.
        resumes: after broken connections.
    """

    connect_seconds: float = 10.0
    stall_seconds: float = 20.0
    total_seconds: float = 3_600.0
    max_bytes: int = 2_000_000_000
    redirects: int = 5
    resumes: int = 3


OnBytes = Callable[[int, int | None], None]
"""Called as bytes arrive with (bytes so far, total or None)."""

Pause = Callable[[float], Awaitable[None]]
"""Waits that many seconds."""


class Transfer:
    """One body on its way. Used once.

    Args:
        session: an HTTP client of `agents.network.session.open_session`.
        source: where the bytes are.
        hosts: suffixes of the hosts that they may come from.
        limits: its bounds.
        on_bytes: told about progress.
        bandwidth: of all transfers together.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        source: MediaSource,
        hosts: tuple[str, ...],
        limits: FetchLimits,
        *,
        on_bytes: OnBytes,
        bandwidth: Bandwidth,
    ) -> None:
        self._session = session
        self._source = source
        self._hosts = hosts
        self._limits = limits
        self._on_bytes = on_bytes
        self._bandwidth = bandwidth
        self._known = Partial()

    async def run(self, file: HashingFile, pause: Pause = asyncio.sleep) -> str | None:
        """Bring all bytes into the file; returns the media type that the server names.

        Raises:
            ClipmillError: it failed, also after resuming.
        """
        pauses = _pauses(self._limits.resumes)
        while True:
            try:
                return await self._attempt(file)
            except ClipmillError as error:
                seconds = next(pauses, None)
                if seconds is None or error.code not in RESUMABLE or not file.size:
                    raise
            await pause(seconds)

    async def _attempt(self, file: HashingFile) -> str | None:
        asked = msgspec.structs.replace(self._known, offset=file.size)
        async with open_response(
            self._session,
            self._source.url,
            hosts=self._hosts,
            redirects=self._limits.redirects,
            headers=lambda url: media_headers(self._source, url) | asked.range_headers(),
            timeouts=self._timeouts(),
        ) as response:
            answer = self._judge(response, asked)
            if answer is not None:
                await self._receive(response, answer, file)
                return answer.mime_type
        await file.restart()
        return await self._attempt(file)

    def _judge(self, response: aiohttp.ClientResponse, asked: Partial) -> Answer | None:
        return judge(
            response.status,
            response.headers,
            asked,
            host=_host(response),
            max_bytes=self._limits.max_bytes,
        )

    async def _receive(
        self, response: aiohttp.ClientResponse, answer: Answer, file: HashingFile
    ) -> None:
        if answer.partial.offset != file.size:
            await file.restart()
        self._known = answer.partial
        decoder = decoder_of(answer.coding, _host(response))
        async for chunk in response.content.iter_any():
            for piece in decoder.feed(chunk):
                if file.size + len(piece) > self._limits.max_bytes:
                    raise too_large(_host(response), self._limits.max_bytes)
                await file.write(piece)
                self._on_bytes(file.size, answer.partial.total)
            await self._bandwidth.spend(len(chunk))
        self._check_whole(response, answer, file.size, decoder)

    def _check_whole(
        self, response: aiohttp.ClientResponse, answer: Answer, size: int, decoder: Decoder
    ) -> None:
        if size == 0:
            raise ClipmillError(
                ErrorCode.NETWORK_SERVER, f"{_host(response)} answered with an empty file"
            )
        if not decoder.finished:
            raise ClipmillError(
                ErrorCode.NETWORK_CONNECTION, f"{_host(response)} sent a cut {answer.coding} body"
            )
        # The page's size is often wrong; it counts only where nothing else tells a cut transfer.
        hint = 0 if answer.delimited else self._source.format.bytes or 0
        expected = answer.partial.total or max(size, hint)
        if size != expected:
            raise ClipmillError(
                ErrorCode.NETWORK_CONNECTION,
                f"{_host(response)} sent {size} of {expected} bytes",
            )

    def _timeouts(self) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(
            total=None,
            connect=self._limits.connect_seconds,
            sock_connect=self._limits.connect_seconds,
            sock_read=self._limits.stall_seconds,
        )


def _pauses(resumes: int) -> Iterator[float]:
    for number in range(resumes):
        yield min(FIRST_PAUSE_SECONDS * PAUSE_GROWTH**number, MAX_PAUSE_SECONDS)


def _host(response: aiohttp.ClientResponse) -> str:
    return str(response.url.host)
