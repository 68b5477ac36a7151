"""Short links become videos: followed step by step, and never to where a platform does not say."""

import asyncio
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import quote, urljoin, urlsplit

import aiohttp
import msgspec
from cachetools import TTLCache

from agents.network.errors import map_errors
from agents.platforms.interface import Platform, ShortLink, Target
from agents.platforms.statuses import from_page_status
from agents.platforms.urls import shorten
from schemas.errors import ClipmillError, ErrorCode
from schemas.request import MAX_URL_CHARACTERS

MAX_HOPS = 5
"""Addresses that are asked for one link. One is usual, two are seen."""

DEADLINE_SECONDS = 15.0
"""For all hops of one link together."""

CACHED_LINKS = 10_000
CACHE_SECONDS = 3_600.0

PREVIEW = {"User-Agent": "facebookexternalhit/1.1"}
"""yt-dlp's choice too: link previews are redirected straight to the video's page."""

BROWSER = {
    "User-Agent": (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
        " Chrome/146.0.0.0 Safari/537.36"
    ),
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.9",
}
"""For the second request of an address that does not redirect previews."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_QUERY_SAFE = "!$%&'()*+,;=:@/?~-._"
"""What a query may hold as it is (RFC 3986, 3.4), and what is encoded already."""

_USER_AGENT_DEPENDENT = frozenset(
    {
        ErrorCode.RATE_LIMIT_IP_BLOCK,
        ErrorCode.CONTENT_LOGIN_REQUIRED,
        ErrorCode.CONTENT_NOT_FOUND,
        ErrorCode.PLATFORM_CHANGED,
    }
)
"""Errors that may be those of one User-Agent alone."""

_FALLBACK_PAGES = frozenset({"", "404", "notfound", "foryou", "explore"})
"""Pages that a link to a post leads to when there is no such post."""

_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


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
                ``content.unsupported`` (it leads elsewhere, or in circles),
                ``rate_limit.ip_block`` (it is not redirected, for a browser neither), or what the
                network or the status of an answer says.
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
            found = await self._ask(hop, platform)
            if isinstance(found, Target):
                return found
            hop = found
        raise _leads(link, hop.url, f"it is redirected more than {MAX_HOPS} times")

    async def _ask(self, hop: ShortLink, platform: Platform) -> Target | ShortLink:
        answer = await self._request("HEAD", hop.url, PREVIEW)
        try:
            return next_step(platform, hop, answer)
        except ClipmillError as error:
            if not depends_on_user_agent(answer, error):
                raise
        return next_step(platform, hop, await self._request("GET", hop.url, BROWSER))

    async def _request(self, method: str, url: str, headers: Mapping[str, str]) -> Answer:
        asking = self._session.request(method, url, allow_redirects=False, headers=headers)
        async with asking as response:
            told = response.headers
            return Answer(response.status, told.get("Location", ""), told.get("Retry-After"))


def next_step(platform: Platform, hop: ShortLink, answer: Answer) -> Target | ShortLink:
    """Return where an answer to a short link leads (pure).

    Raises:
        ClipmillError: nowhere; see `LinkResolver.resolve`.
    """
    if answer.status in _REDIRECTS and answer.location.strip():
        return _read_target(platform, hop, _absolute(hop, answer.location))
    if answer.status < HTTPStatus.BAD_REQUEST:
        raise _not_redirected(hop, answer.status)
    raise from_page_status(answer.status, answer.retry_after, _host(hop.url))


def depends_on_user_agent(answer: Answer, error: ClipmillError) -> bool:
    """Return whether the answer that means this error may differ for another User-Agent (pure).

    Platforms answer bots with a page, a login or the home page in place of a redirect, and some
    refuse HEAD alone. A 404 or 410 is the same for every client.
    """
    if answer.status == HTTPStatus.NOT_IMPLEMENTED:
        return True
    return error.code in _USER_AGENT_DEPENDENT and answer.status not in _GONE


def _not_redirected(hop: ShortLink, status: int) -> ClipmillError:
    reason = (
        f"{_host(hop.url)} answered {status} and redirects nowhere,"
        " as platforms do with visitors whom they take for a robot"
    )
    message = f"The short link {hop.url} could not be resolved: {reason}."
    return ClipmillError(
        ErrorCode.RATE_LIMIT_IP_BLOCK, message, field="url", reason=reason, status=str(status)
    )


def _absolute(hop: ShortLink, location: str) -> str:
    try:
        page, _, query = urljoin(hop.url, location.partition("#")[0]).partition("?")
    except ValueError:
        raise _leads(hop, location, "the redirect is no URL") from None
    query = _fitting(quote(query, safe=_QUERY_SAFE), MAX_URL_CHARACTERS - len(page) - len("?"))
    return f"{page}?{query}" if query else page


def _fitting(query: str, limit: int) -> str:
    """Return a query without its longest parameters, when it is longer than a link may be.

    Those are what tracks people; what names a page is short.
    """
    parameters, kept = query.split("&"), set[int]()
    for place in sorted(range(len(parameters)), key=lambda place: len(parameters[place])):
        limit -= len(parameters[place])
        if limit < 0:
            break
        kept.add(place)
        limit -= len("&")
    return "&".join(parameters[place] for place in sorted(kept))


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
    if page in _FALLBACK_PAGES:
        return _leads(hop, target, "what it led to is gone", ErrorCode.CONTENT_NOT_FOUND)
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
