"""Clients of the stand-in: stock yt-dlp, and aiohttp."""

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import yt_dlp

from tests.standin import Standin

SCRIPT = b'<script id="__UNIVERSAL_DATA_FOR_REHYDRATION__" type="application/json">'
DETAIL = "webapp.video-detail"


class NullLogger:
    """Discards the output of yt-dlp."""

    def debug(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...

    def error(self, message: str) -> None: ...


async def extract(standin: Standin, url: str, **options: Any) -> dict[str, Any]:
    """Return yt-dlp's result for a URL, extracted in a thread with certificate checks."""
    return await asyncio.to_thread(_extract, standin.proxy_url, url, options)


def _extract(proxy: str, url: str, options: dict[str, Any]) -> dict[str, Any]:
    with yt_dlp.YoutubeDL(_settings(proxy, **options)) as engine:
        found: dict[str, Any] = engine.extract_info(url, download="outtmpl" in options)
        return found


def _settings(proxy: str, **options: Any) -> dict[str, Any]:
    return {
        "proxy": proxy,
        "allowed_extractors": ["tiktok", "vm.tiktok"],
        "compat_opts": {"no-certifi"},
        "check_formats": False,
        "socket_timeout": 3,
        "retries": 0,
        "extractor_retries": 0,
        "cachedir": False,
        "logger": NullLogger(),
        **options,
    }


async def list_posts(standin: Standin, url: str, count: int) -> list[dict[str, Any]]:
    """Return the first entries that yt-dlp's extractor finds for the URL of a list."""
    return await asyncio.to_thread(_list_posts, standin.proxy_url, url, count)


def _list_posts(proxy: str, url: str, count: int) -> list[dict[str, Any]]:
    settings = _settings(proxy, allowed_extractors=["tiktok.*"])
    with yt_dlp.YoutubeDL(settings) as engine:
        found = engine.extract_info(url, download=False, process=False)
        return list(itertools.islice(found["entries"], count))


class Client:
    """An HTTP client that trusts the stand-in's authority.

    Args:
        session: Of aiohttp.
        proxy: The stand-in's.
    """

    def __init__(self, session: aiohttp.ClientSession, proxy: str) -> None:
        self.session = session
        self._proxy = proxy

    @asynccontextmanager
    async def request(
        self, url: str, method: str = "GET", **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        options = {"allow_redirects": False} | options
        async with self.session.request(method, url, proxy=self._proxy, **options) as response:
            yield response

    async def detail(self, video_id: str, user: str = "_") -> dict[str, Any]:
        """Return `webapp.video-detail` of a page; its cookies stay in the session."""
        async with self.request(f"https://www.tiktok.com/@{user}/video/{video_id}") as response:
            detail: dict[str, Any] = universal_data(await response.read())[DETAIL]
            return detail

    async def item(self, video_id: str, user: str = "_") -> dict[str, Any]:
        item: dict[str, Any] = (await self.detail(video_id, user))["itemInfo"]["itemStruct"]
        return item

    async def media_url(self, video_id: str, user: str = "_", number: int = 0) -> str:
        """Return the first URL of a rendition, from a page just read."""
        item = await self.item(video_id, user)
        url: str = item["video"]["bitrateInfo"][number]["PlayAddr"]["UrlList"][0]
        return url


@asynccontextmanager
async def client_of(proxy: str, ca_file: Path) -> AsyncIterator[Client]:
    context = ssl.create_default_context(cafile=str(ca_file))
    connector = aiohttp.TCPConnector(ssl=context)
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield Client(session, proxy)


def universal_data(page: bytes) -> dict[str, Any]:
    """Return the scopes of a page's universal data."""
    data = page.partition(SCRIPT)[2].partition(b"</script>")[0]
    scope: dict[str, Any] = orjson.loads(data)["__DEFAULT_SCOPE__"]
    return scope


async def receive_body(response: aiohttp.ClientResponse) -> tuple[bytes, BaseException | None]:
    """Return the received part of a body, and the error that ended it."""
    content = bytearray()
    try:
        async for chunk in response.content.iter_any():
            content += chunk
    except (aiohttp.ClientError, OSError) as error:
        return bytes(content), error
    return bytes(content), None
