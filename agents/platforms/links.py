"""Short links become videos: followed step by step, and never to where a platform does not say."""

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

import aiohttp
import msgspec
from cachetools import TTLCache

from agents.network.errors import map_errors
from agents.platforms.interface import Platform, ShortLink, Target
from agents.platforms.statuses import from_page_status
from agents.platforms.urls import shorten
from schemas.errors import ClipmillError, ErrorCode

MAX_HOPS = 5
"""Requests for one link. One is usual, two are seen."""

DEADLINE_SECONDS = 15.0
"""For all hops of one link together."""

CACHED_LINKS = 10_000
CACHE_SECONDS = 3_600.0

HEADERS = {"User-Agent": "facebookexternalhit/1.1"}
"""yt-dlp's choice too: link previews are redirected straight to the video's page."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEAD_REFUSED = frozenset({HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})


class Answer(msgspec.Struct, frozen=True):
    """What counts of an HTTP answer to a short link."""

    status: int
    location: str = ""
    retry_after: str | None = None


class LinkResolver:
    """Turns short links into videos.

    Only addresses that the platform itself reads as short links are requested; as soon as a
    redirect names a video, the video's page is not fetched any more.

    Args:
        session: keeps no cookies; its proxy and address guard apply.
        deadline_seconds: for all hops of one link together.
        timer: seconds, for the age of cached links.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._deadline_seconds = deadline_seconds
        self._known: TTLCache[str, Target] = TTLCache(CACHED_LINKS, CACHE_SECONDS, timer)

    def known(self, link: ShortLink) -> Target | None:
        """Return the target of a short link that was resolved a short while ago."""
        return self._known.get(link.url)

    async def resolve(self, link: ShortLink, platform: Platform) -> Target:
        """Return the post or listing that a short link leads to.

        Raises:
            ClipmillError: ``content.not_found`` (dead link), ``content.login_required``,
                ``content.unsupported`` (it leads elsewhere, or in circles), or what the network
                or the status of an answer says.
        """
        known = self.known(link)
        if known is not None:
            return known
        with map_errors(_host(link.url)):
            async with asyncio.timeout(self._deadline_seconds):
                target = await self._follow(link, platform)
        self._known[link.url] = target
        return target

    async def _follow(self, link: ShortLink, platform: Platform) -> Target:
        hop, asked = link, set[str]()
        while len(asked) < MAX_HOPS:
            _check_hop(hop, link, platform, asked)
            asked.add(hop.url)
            found = next_step(platform, hop, await self._ask(hop.url))
            if isinstance(found, Target):
                return found
            hop = found
        raise _leads(link, hop.url, f"it is redirected more than {MAX_HOPS} times")

    async def _ask(self, url: str) -> Answer:
        answer = await self._request("HEAD", url)
        return await self._request("GET", url) if answer.status in _HEAD_REFUSED else answer

    async def _request(self, method: str, url: str) -> Answer:
        asking = self._session.request(method, url, allow_redirects=False, headers=HEADERS)
        async with asking as response:
            headers = response.headers
            location = headers.get("Location", "")
            return Answer(response.status, location, headers.get("Retry-After"))


def next_step(platform: Platform, hop: ShortLink, answer: Answer) -> Target | ShortLink:
    """Return where an answer to a short link leads (pure).

    Raises:
        ClipmillError: nowhere; see `LinkResolver.resolve`.
    """
    if answer.status in _REDIRECTS and answer.location:
        return _read_target(platform, hop, _absolute(hop, answer.location))
    if answer.status < HTTPStatus.BAD_REQUEST:
        raise _leads(hop, hop.url, "it is not redirected to a video")
    raise from_page_status(answer.status, answer.retry_after, _host(hop.url))


def _absolute(hop: ShortLink, location: str) -> str:
    # Without the query: tracking parameters can make a redirect longer than any link may be.
    try:
        return urljoin(hop.url, location.partition("#")[0].partition("?")[0])
    except ValueError:
        raise _leads(hop, location, "the redirect is no URL") from None


def _read_target(platform: Platform, hop: ShortLink, target: str) -> Target | ShortLink:
    try:
        return platform.parse_url(target)
    except ClipmillError as refused:
        own = refused.code is ErrorCode.CONTENT_UNSUPPORTED and platform.is_valid_url(target)
        reason = refused.details.get("reason", refused.message)
        raise (_dead_end(hop, target) if own else None) or _leads(hop, target, reason) from None


def _dead_end(hop: ShortLink, target: str) -> ClipmillError | None:
    """Return the error when a platform gets rid of a visitor: login, 404 page, home page."""
    page = urlsplit(target).path.strip("/")
    if page.partition("/")[0] == "login":
        return _leads(hop, target, "a login is wanted", ErrorCode.CONTENT_LOGIN_REQUIRED)
    if page in {"", "404"}:
        return _leads(hop, target, "the video is gone", ErrorCode.CONTENT_NOT_FOUND)
    return None


def _check_hop(hop: ShortLink, link: ShortLink, platform: Platform, asked: set[str]) -> None:
    if hop.url in asked:
        raise _leads(link, hop.url, "it leads back to itself")
    host = _host(hop.url)
    if not hop.url.startswith("https://") or host not in platform.get_capabilities().link_hosts:
        raise _leads(link, hop.url, f"{host} is not asked for links")


def _leads(
    link: ShortLink,
    target: str,
    reason: str,
    code: ErrorCode = ErrorCode.CONTENT_UNSUPPORTED,
) -> ClipmillError:
    message = f"The short link {link.url} leads to {shorten(target)}: {reason}."
    return ClipmillError(code, message, field="url", reason=reason, leads_to=shorten(target))


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
