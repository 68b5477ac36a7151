import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import msgspec
import pytest
from multidict import CIMultiDict

from agents.platforms.configured import ConfiguredPlatform
from agents.platforms.interface import Capabilities, Platform, ShortLink, Target
from agents.platforms.short_links import (
    BROWSER_HEADERS,
    CACHE_SECONDS,
    MAX_HOPS,
    PREVIEW_HEADERS,
    LinkResolver,
    LinkResponse,
    next_step,
)
from agents.platforms.tiktok.handler import CAPABILITIES, TikTok
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoRef

ID = "7608826249200356630"
PAGE = f"https://www.tiktok.com/@name/video/{ID}"
VIDEO = VideoRef(platform="tiktok", id=ID, url=PAGE)
LINK = ShortLink(url="https://vm.tiktok.com/ZMabc/")
SECOND = "https://www.tiktok.com/t/ZTdef/"


def redirect(location: str, status: int = 301) -> LinkResponse:
    return LinkResponse(status, location)


class FakeResponse:
    def __init__(self, answer: LinkResponse) -> None:
        self.status = answer.status
        headers = {"Location": answer.location, "Retry-After": answer.retry_after}
        self.headers = CIMultiDict({name: value for name, value in headers.items() if value})


class FakeSession:
    """Responds by URL, or by method and URL; exceptions are raised, None never responds."""

    def __init__(self, answers: dict[str, LinkResponse | Exception | None]) -> None:
        self.answers = answers
        self.requests: list[str] = []

    @asynccontextmanager
    async def request(self, method: str, url: str, **options: Any) -> AsyncIterator[FakeResponse]:
        headers = {"HEAD": PREVIEW_HEADERS, "GET": BROWSER_HEADERS}[method]
        assert options == {"allow_redirects": False, "headers": headers}
        self.requests.append(f"{method} {url}")
        answer = self.answers.get(f"{method} {url}", self.answers.get(url))
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        yield FakeResponse(cast("LinkResponse", answer))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def resolver(session: FakeSession, **options: Any) -> LinkResolver:
    return LinkResolver(cast("aiohttp.ClientSession", session), **options)


async def resolve(answers: dict[str, LinkResponse | Exception | None]) -> Target:
    return await resolver(FakeSession(answers), deadline_seconds=5).resolve(LINK, TikTok())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        PAGE,
        f"{PAGE}?_r=1&_t=ZM-8x",
        f"{PAGE}?{'x' * 7_000}#top",
        f"http://www.tiktok.com/@name/video/{ID}",
        f"//www.tiktok.com/@name/video/{ID}",
    ],
    ids=["plain", "tracking", "long", "http", "relative to the scheme"],
)
async def test_redirect_to_a_video_needs_one_request(status: int, location: str) -> None:
    session = FakeSession({LINK.url: redirect(location, status)})
    assert await resolver(session).resolve(LINK, TikTok()) == VIDEO
    assert session.requests == [f"HEAD {LINK.url}"]


async def test_relative_redirect_is_followed() -> None:
    mobile = ShortLink(url="https://m.tiktok.com/t/ZTabc/")
    session = FakeSession({mobile.url: redirect(f"/v/{ID}.html")})
    found = await resolver(session).resolve(mobile, TikTok())
    assert found.key == VIDEO.key


@pytest.mark.parametrize(
    "target",
    [
        f"https://www.tiktok.com/@name/story/{ID}",
        "https://www.tiktok.com/@name",
        f"https://www.tiktok.com/@name/collection/cats-{ID}",
    ],
)
async def test_stories_and_listings_are_targets(target: str) -> None:
    assert await resolve({LINK.url: redirect(f"{target}?_r=1&_t=ZM")}) == TikTok().parse_url(target)


async def test_chain_of_short_links_is_followed() -> None:
    session = FakeSession({LINK.url: redirect(SECOND), SECOND: redirect(PAGE)})
    assert await resolver(session).resolve(LINK, TikTok()) == VIDEO
    assert session.requests == [f"HEAD {LINK.url}", f"HEAD {SECOND}"]


FOR_BROWSERS_ONLY = {
    "a page": LinkResponse(200),
    "no location": LinkResponse(301),
    "home": redirect("https://www.tiktok.com/"),
    "not found page": redirect("https://www.tiktok.com/notfound"),
    "login": redirect("https://www.tiktok.com/login?redirect_url=x"),
    "401": LinkResponse(401),
    "403": LinkResponse(403),
    "406": LinkResponse(406),
    "no HEAD": LinkResponse(405),
    "no HEAD known": LinkResponse(501),
}


@pytest.mark.parametrize("answer", FOR_BROWSERS_ONLY.values(), ids=FOR_BROWSERS_ONLY.keys())
async def test_redirect_hidden_from_previews_is_requested_as_a_browser(
    answer: LinkResponse,
) -> None:
    session = FakeSession({f"HEAD {LINK.url}": answer, f"GET {LINK.url}": redirect(PAGE)})
    assert await resolver(session).resolve(LINK, TikTok()) == VIDEO
    assert session.requests == [f"HEAD {LINK.url}", f"GET {LINK.url}"]


@pytest.mark.parametrize(
    "answer",
    [
        LinkResponse(404),
        LinkResponse(410),
        LinkResponse(429),
        LinkResponse(451),
        LinkResponse(503),
        redirect("https://evil.example/"),
        redirect("https://www.tiktok.com/@name/live"),
        TimeoutError(),
    ],
    ids=str,
)
async def test_conclusive_response_is_requested_once(answer: LinkResponse | Exception) -> None:
    session = FakeSession({LINK.url: answer})
    with pytest.raises(ClipmillError):
        await resolver(session).resolve(LINK, TikTok())
    assert session.requests == [f"HEAD {LINK.url}"]


async def test_every_hop_may_be_requested_as_a_browser() -> None:
    session = FakeSession(
        {
            f"HEAD {LINK.url}": LinkResponse(200),
            f"GET {LINK.url}": redirect(SECOND),
            f"HEAD {SECOND}": LinkResponse(301),
            f"GET {SECOND}": redirect(PAGE),
        }
    )
    assert await resolver(session).resolve(LINK, TikTok()) == VIDEO
    assert session.requests == [
        f"{method} {url}" for url in (LINK.url, SECOND) for method in ("HEAD", "GET")
    ]


TARGETS = {
    f"https://t.tiktok.com/i18n/share/video/{ID}/?_d=x&share_item_id={ID}": "tiktok:{ID}",
    f"https://www.tiktok.com/%40name/video/{ID}?_r=1": "tiktok:{ID}",
    f"https://www.tiktok.com/?share_item_id={ID}&_r=1": "tiktok:{ID}",
    f"https://www.tiktok.com/?{'x' * 9_000}&share_item_id={ID}&_r={'y' * 900}": "tiktok:{ID}",
    f"https://www.tiktok.com/?a=b c\u00e9<>&share_item_id={ID}": "tiktok:{ID}",
    f"/?share_item_id={ID}": "tiktok:{ID}",
    f"https://www.tiktok.com/foryou?item_id={ID}#top": "tiktok:{ID}",
    f"https://www.tiktok.com/en/@name/video/{ID}&lang=en": "tiktok:{ID}",
    "https://www.tiktok.com/%40name?sec_uid=x": "tiktok:profile/name",
}


@pytest.mark.parametrize(("location", "key"), TARGETS.items(), ids=lambda text: text[:70])
async def test_short_link_resolves_to_its_target(location: str, key: str) -> None:
    assert (await resolve({LINK.url: redirect(location)})).key == key.format(ID=ID)


@pytest.mark.parametrize(
    "shared",
    [
        "https://www.tiktok.com/share/user/6820838815978423302",
        "https://m.tiktok.com/h5/share/usr/6820838815978423302.html",
        "https://t.tiktok.com/i18n/share/user/6820838815978423302/",
    ],
)
async def test_account_id_resolves_to_its_profile(shared: str) -> None:
    link = TikTok().parse_url(shared)
    assert isinstance(link, ShortLink)
    session = FakeSession({link.url: redirect("https://www.tiktok.com/@name?_r=1")})
    found = await resolver(session).resolve(link, TikTok())
    assert found.key == "tiktok:profile/name"


class Site:
    """A site as configured in the settings."""

    hosts = ("mine.example",)
    short_hosts = ("mi.ne",)
    extractors = ("Mine",)
    media_hosts = (".mine.example",)


async def test_page_identified_by_its_query_is_resolved() -> None:
    platform, link = ConfiguredPlatform("mine", Site()), ShortLink(url="https://mi.ne/x")
    session = FakeSession({link.url: redirect("https://mine.example/watch?v=abc&utm_source=x")})
    found = await resolver(session).resolve(link, platform)
    assert found.url == "https://mine.example/watch?v=abc"


def chain(length: int) -> dict[str, LinkResponse | Exception | None]:
    """Return the responses of a chain that reaches its video after this many requests."""
    urls = [LINK.url, *(f"https://vt.tiktok.com/Z{place}/" for place in range(1, length))]
    return {url: redirect(after) for url, after in zip(urls, [*urls[1:], PAGE], strict=True)}


async def test_chain_longer_than_the_hop_limit_is_refused() -> None:
    assert await resolve(chain(MAX_HOPS)) == VIDEO
    with pytest.raises(ClipmillError, match="more than 5 times") as caught:
        await resolve(chain(MAX_HOPS + 1))
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED


UNUSABLE = {
    "to itself": (redirect(LINK.url), ErrorCode.CONTENT_UNSUPPORTED, "redirects to itself"),
    "other site": (
        redirect("https://evil.example/x"),
        ErrorCode.CONTENT_UNSUPPORTED,
        "evil.example",
    ),
    "loopback": (redirect("http://127.0.0.1/"), ErrorCode.CONTENT_UNSUPPORTED, "IP address"),
    "metadata": (redirect("http://169.254.169.254/"), ErrorCode.CONTENT_UNSUPPORTED, "IP address"),
    "file": (
        redirect("file:///etc/passwd"),
        ErrorCode.CONTENT_UNSUPPORTED,
        "neither https nor http",
    ),
    "credentials": (
        redirect("https://a:b@www.tiktok.com/"),
        ErrorCode.CONTENT_UNSUPPORTED,
        "password",
    ),
    "port": (redirect("https://www.tiktok.com:8443/"), ErrorCode.CONTENT_UNSUPPORTED, "a port"),
    "no URL": (redirect("https://[/"), ErrorCode.CONTENT_UNSUPPORTED, "not a URL"),
    "control": (redirect("https://www.tiktok.com/\x00"), ErrorCode.CONTENT_UNSUPPORTED, "control"),
    "huge": (
        redirect("https://www.tiktok.com/" + "x" * 7_000),
        ErrorCode.CONTENT_UNSUPPORTED,
        "2048",
    ),
    "playlist": (
        redirect(f"https://www.tiktok.com/@name/playlist/cats-{ID}"),
        ErrorCode.CONTENT_UNSUPPORTED,
        "a playlist",
    ),
    "live": (
        redirect("https://www.tiktok.com/@name/live?x=1"),
        ErrorCode.CONTENT_UNSUPPORTED,
        "live streams are not recorded",
    ),
    "placeholder user": (
        redirect("https://www.tiktok.com/@_"),
        ErrorCode.CONTENT_UNSUPPORTED,
        "user name is not valid",
    ),
    "home": (
        redirect("https://www.tiktok.com/?_r=1"),
        ErrorCode.CONTENT_NOT_FOUND,
        "no longer exists",
    ),
    "home without slash": (
        redirect("https://www.tiktok.com"),
        ErrorCode.CONTENT_NOT_FOUND,
        "no longer exists",
    ),
    "404 page": (
        redirect("https://www.tiktok.com/404?x=/"),
        ErrorCode.CONTENT_NOT_FOUND,
        "no longer exists",
    ),
    "login": (
        redirect("https://www.tiktok.com/login?redirect_url=x"),
        ErrorCode.CONTENT_LOGIN_REQUIRED,
        "login",
    ),
    "login by phone": (redirect("/login/phone"), ErrorCode.CONTENT_LOGIN_REQUIRED, "login"),
    "home of another site": (
        redirect("https://evil.example/"),
        ErrorCode.CONTENT_UNSUPPORTED,
        "not a TikTok host",
    ),
    "not found": (
        redirect("https://www.tiktok.com/notfound?x=/"),
        ErrorCode.CONTENT_NOT_FOUND,
        "no longer exists",
    ),
    "feed": (
        redirect("https://www.tiktok.com/foryou?_r=1"),
        ErrorCode.CONTENT_NOT_FOUND,
        "no longer exists",
    ),
    "no redirect": (LinkResponse(200), ErrorCode.RATE_LIMIT_IP_BLOCK, "200 without a redirect"),
    "no location": (LinkResponse(301), ErrorCode.RATE_LIMIT_IP_BLOCK, "301 without a redirect"),
    "blank location": (
        LinkResponse(302, " "),
        ErrorCode.RATE_LIMIT_IP_BLOCK,
        "302 without a redirect",
    ),
    "no content": (LinkResponse(204), ErrorCode.RATE_LIMIT_IP_BLOCK, "204 without a redirect"),
    "choices": (
        LinkResponse(300, PAGE),
        ErrorCode.RATE_LIMIT_IP_BLOCK,
        "300 without a redirect",
    ),
    "not modified": (
        LinkResponse(304, PAGE),
        ErrorCode.RATE_LIMIT_IP_BLOCK,
        "304 without a redirect",
    ),
    "401": (LinkResponse(401), ErrorCode.CONTENT_LOGIN_REQUIRED, "vm.tiktok.com answered 401"),
    "403": (LinkResponse(403), ErrorCode.RATE_LIMIT_IP_BLOCK, "answered 403"),
    "404": (LinkResponse(404), ErrorCode.CONTENT_NOT_FOUND, "answered 404"),
    "405 twice": (LinkResponse(405), ErrorCode.PLATFORM_CHANGED, "answered 405"),
    "410": (LinkResponse(410), ErrorCode.CONTENT_NOT_FOUND, "answered 410"),
    "451": (LinkResponse(451), ErrorCode.CONTENT_GEO_BLOCKED, "answered 451"),
    "500": (LinkResponse(500), ErrorCode.NETWORK_SERVER, "answered 500"),
    "503": (LinkResponse(503), ErrorCode.NETWORK_SERVER, "answered 503"),
    "timeout": (TimeoutError(), ErrorCode.NETWORK_TIMEOUT, "in time"),
    "reset": (ConnectionResetError(104, "reset"), ErrorCode.NETWORK_CONNECTION, "was lost"),
    "disconnected": (
        aiohttp.ServerDisconnectedError(),
        ErrorCode.NETWORK_CONNECTION,
        "vm.tiktok.com",
    ),
}


@pytest.mark.parametrize(("answer", "code", "text"), UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_unusable_response_is_an_error(
    answer: LinkResponse | Exception, code: ErrorCode, text: str
) -> None:
    session = FakeSession({LINK.url: answer})
    with pytest.raises(ClipmillError) as caught:
        await resolver(session).resolve(LINK, TikTok())
    assert caught.value.code is code
    assert text in caught.value.message
    assert len(caught.value.message) < 700
    assert all(each.endswith(LINK.url) for each in session.requests)


async def test_retry_after_is_kept() -> None:
    with pytest.raises(ClipmillError) as caught:
        await resolve({LINK.url: LinkResponse(429, retry_after="30")})
    assert caught.value.code is ErrorCode.RATE_LIMIT_API
    assert caught.value.retry_after == 30


async def test_redirect_loop_is_detected() -> None:
    session = FakeSession({LINK.url: redirect(SECOND), SECOND: redirect(LINK.url)})
    with pytest.raises(ClipmillError, match="redirects to itself"):
        await resolver(session).resolve(LINK, TikTok())
    assert len(session.requests) == 2


async def test_deadline_covers_all_hops() -> None:
    session = FakeSession({LINK.url: redirect(SECOND), SECOND: None})
    with pytest.raises(ClipmillError, match="did not answer in time") as caught:
        await resolver(session, deadline_seconds=0.01).resolve(LINK, TikTok())
    assert caught.value.code is ErrorCode.NETWORK_TIMEOUT
    assert len(session.requests) == 2


class AnythingIsAShortLink(TikTok):
    """Parses anything as a short link."""

    def get_capabilities(self) -> Capabilities:
        return msgspec.structs.replace(CAPABILITIES, link_hosts=("vm.tiktok.com",))

    def parse_url(self, url: str) -> VideoRef | ShortLink:
        return ShortLink(url=url)


@pytest.mark.parametrize(
    "url", ["https://www.tiktok.com/t/x", "http://vm.tiktok.com/x", "https://[/", "x", ""]
)
async def test_only_https_urls_on_link_hosts_are_requested(url: str) -> None:
    session = FakeSession({LINK.url: redirect(url)})
    platform: Platform = AnythingIsAShortLink()
    with pytest.raises(ClipmillError) as caught:
        await resolver(session).resolve(ShortLink(url=url), platform)
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
    assert session.requests == []


async def test_resolved_link_is_cached_for_an_hour() -> None:
    clock, session = Clock(), FakeSession({LINK.url: redirect(PAGE)})
    links = resolver(session, timer=clock)
    await links.resolve(LINK, TikTok())
    clock.now = CACHE_SECONDS - 1
    assert await links.resolve(LINK, TikTok()) == VIDEO
    assert len(session.requests) == 1
    clock.now = CACHE_SECONDS + 1
    assert await links.resolve(LINK, TikTok()) == VIDEO
    assert len(session.requests) == 2


async def test_failure_is_not_cached() -> None:
    session = FakeSession({LINK.url: LinkResponse(503)})
    links = resolver(session)
    with pytest.raises(ClipmillError):
        await links.resolve(LINK, TikTok())
    session.answers[LINK.url] = redirect(PAGE)
    assert await links.resolve(LINK, TikTok()) == VIDEO


def test_next_step_is_pure() -> None:
    assert next_step(TikTok(), LINK, redirect(SECOND)) == ShortLink(url=SECOND)
    assert next_step(TikTok(), LINK, redirect(PAGE)) == VIDEO


async def test_cached_link_needs_no_request() -> None:
    links = resolver(FakeSession(chain(1)))
    assert links.cached(LINK) is None
    await links.resolve(LINK, TikTok())
    assert links.cached(LINK) == VIDEO
