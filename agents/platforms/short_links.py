"""Resolves short links hop by hop; only hosts that the platform lists receive a request."""

import asyncio
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import quote, urljoin, urlsplit

import aiohttp
import msgspec
from cachetools import TTLCache

from agents.network.errors import map_errors
from agents.platforms.failures import from_page_status
from agents.platforms.interface import Platform, ShortLink, Target
from agents.platforms.urls import shorten
from schemas.errors import ClipmillError, ErrorCode
from schemas.request import MAX_URL_CHARACTERS

MAX_HOPS = 5
"""URLs requested for one link; one is usual, two have been observed."""

DEADLINE_SECONDS = 15.0
"""Seconds for all hops of one link together."""

CACHED_LINKS = 10_000
CACHE_SECONDS = 3_600.0

PREVIEW_HEADERS = {"User-Agent": "facebookexternalhit/1.1"}
"""Platforms redirect link previews straight to the video's page; yt-dlp sends the same value."""

BROWSER_HEADERS = {
    "User-Agent": (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
        " Chrome/146.0.0.0 Safari/537.36"
    ),
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.9",
}
"""Headers of the retry, for a URL that does not redirect previews."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_QUERY_SAFE = "!$%&'()*+,;=:@/?~-._"
"""Characters that a query may hold unescaped (RFC 3986, 3.4), and the ``%`` of escapes."""

_USER_AGENT_DEPENDENT = frozenset(
    {
        ErrorCode.RATE_LIMIT_IP_BLOCK,
        ErrorCode.CONTENT_LOGIN_REQUIRED,
        ErrorCode.CONTENT_NOT_FOUND,
        ErrorCode.PLATFORM_CHANGED,
    }
)
"""Error codes that another User-Agent may not get, so that a retry as a browser is worth it."""

_FALLBACK_PAGES = frozenset({"", "404", "notfound", "foryou", "explore"})
"""Pages to which a platform redirects a link when the post does not exist."""

_GONE_STATUSES = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


class LinkResponse(msgspec.Struct, frozen=True):
    """The parts of an HTTP response to a short link that the resolver reads."""

    status: int
    location: str = ""
    retry_after: str | None = None


class LinkResolver:
    """Resolves short links to posts and listings, with a TTL cache of the targets.

    Only URLs that the platform itself parses as short links are requested. Resolution ends at the
    first redirect to a post or listing, whose page is not fetched.

    Args:
        session: HTTP client that keeps no cookies; its proxy and address guard apply.
        deadline_seconds: timeout for all hops of one link together.
        timer: monotonic seconds, for the TTL of cached links.
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
        self._cache: TTLCache[str, Target] = TTLCache(CACHED_LINKS, CACHE_SECONDS, timer)

    def cached(self, link: ShortLink) -> Target | None:
        """Return the cached target of a short link, None on a miss."""
        return self._cache.get(link.url)

    async def resolve(self, link: ShortLink, platform: Platform) -> Target:
        """Return the post or listing that a short link redirects to.

        Raises:
            ClipmillError: ``content.not_found`` (dead link), ``content.login_required``,
                ``content.unsupported`` (a target of another kind, or a redirect loop),
                ``rate_limit.ip_block`` (no redirect, not even for a browser), or the code of the
                network error or response status.
        """
        cached = self.cached(link)
        if cached is not None:
            return cached
        with map_errors(_host(link.url)):
            async with asyncio.timeout(self._deadline_seconds):
                target = await self._follow(link, platform)
        self._cache[link.url] = target
        return target

    async def _follow(self, link: ShortLink, platform: Platform) -> Target:
        hop, visited = link, set[str]()
        while len(visited) < MAX_HOPS:
            _check_hop(hop, link, platform, visited)
            visited.add(hop.url)
            found = await self._resolve_hop(hop, platform)
            if isinstance(found, Target):
                return found
            hop = found
        raise _redirect_error(link, hop.url, f"it is redirected more than {MAX_HOPS} times")

    async def _resolve_hop(self, hop: ShortLink, platform: Platform) -> Target | ShortLink:
        response = await self._request("HEAD", hop.url, PREVIEW_HEADERS)
        try:
            return next_step(platform, hop, response)
        except ClipmillError as error:
            if not depends_on_user_agent(response, error):
                raise
        return next_step(platform, hop, await self._request("GET", hop.url, BROWSER_HEADERS))

    async def _request(self, method: str, url: str, headers: Mapping[str, str]) -> LinkResponse:
        request = self._session.request(method, url, allow_redirects=False, headers=headers)
        async with request as response:
            received = response.headers
            location, retry_after = received.get("Location", ""), received.get("Retry-After")
            return LinkResponse(response.status, location, retry_after)


def next_step(platform: Platform, hop: ShortLink, response: LinkResponse) -> Target | ShortLink:
    """Return the target of a redirect, or the next hop (pure).

    Raises:
        ClipmillError: the response is no usable redirect; see `LinkResolver.resolve`.
    """
    if response.status in _REDIRECTS and response.location.strip():
        return _read_target(platform, hop, _absolute_url(hop, response.location))
    if response.status < HTTPStatus.BAD_REQUEST:
        raise _not_redirected_error(hop, response.status)
    raise from_page_status(response.status, response.retry_after, _host(hop.url))


def depends_on_user_agent(response: LinkResponse, error: ClipmillError) -> bool:
    """Return whether another User-Agent may get another response than this error (pure).

    Platforms serve bots a page, a login or the home page in place of a redirect, and some reject
    only HEAD. A 404 or 410 is the same for every client.
    """
    if response.status == HTTPStatus.NOT_IMPLEMENTED:
        return True
    return error.code in _USER_AGENT_DEPENDENT and response.status not in _GONE_STATUSES


def _not_redirected_error(hop: ShortLink, status: int) -> ClipmillError:
    reason = (
        f"{_host(hop.url)} answered {status} without a redirect,"
        " as platforms do to clients that they classify as bots"
    )
    message = f"The short link {hop.url} could not be resolved: {reason}."
    return ClipmillError(
        ErrorCode.RATE_LIMIT_IP_BLOCK, message, field="url", reason=reason, status=str(status)
    )


def _absolute_url(hop: ShortLink, location: str) -> str:
    try:
        page, _, query = urljoin(hop.url, location.partition("#")[0]).partition("?")
    except ValueError:
        raise _redirect_error(hop, location, "the redirect is not a URL") from None
    query = _fit_query(quote(query, safe=_QUERY_SAFE), MAX_URL_CHARACTERS - len(page) - len("?"))
    return f"{page}?{query}" if query else page


def _fit_query(query: str, limit: int) -> str:
    """Return a query without its longest parameters, as far as it exceeds the limit.

    Tracking parameters are long; parameters that identify a page are short.
    """
    parameters, kept = query.split("&"), set[int]()
    for index in sorted(range(len(parameters)), key=lambda index: len(parameters[index])):
        limit -= len(parameters[index])
        if limit < 0:
            break
        kept.add(index)
        limit -= len("&")
    return "&".join(parameters[index] for index in sorted(kept))


def _read_target(platform: Platform, hop: ShortLink, target: str) -> Target | ShortLink:
    try:
        return platform.parse_url(target)
    except ClipmillError as refused:
        own = refused.code is ErrorCode.CONTENT_UNSUPPORTED and platform.is_valid_url(target)
        fallback = _fallback_error(hop, target) if own else None
        reason = refused.details.get("reason", refused.message)
        raise fallback or _redirect_error(hop, target, reason) from None


def _fallback_error(hop: ShortLink, target: str) -> ClipmillError | None:
    """Return the error of a redirect to a login, 404 or home page, None for another page."""
    page = urlsplit(target).path.strip("/")
    if page.partition("/")[0] == "login":
        reason = "a login is required"
        return _redirect_error(hop, target, reason, ErrorCode.CONTENT_LOGIN_REQUIRED)
    if page in _FALLBACK_PAGES:
        reason = "its target no longer exists"
        return _redirect_error(hop, target, reason, ErrorCode.CONTENT_NOT_FOUND)
    return None


def _check_hop(hop: ShortLink, link: ShortLink, platform: Platform, visited: set[str]) -> None:
    if hop.url in visited:
        raise _redirect_error(link, hop.url, "it redirects to itself")
    host = _host(hop.url)
    if not hop.url.startswith("https://") or host not in platform.get_capabilities().link_hosts:
        raise _redirect_error(link, hop.url, f"{host} is not a host of short links")


def _redirect_error(
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
