import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import msgspec
import pytest
from multidict import CIMultiDict

from agents.platforms.configured.handler import ConfiguredPlatform
from agents.platforms.interface import Capabilities, Platform, ShortLink, Target
from agents.platforms.links import (
    BROWSER,
    CACHE_SECONDS,
    MAX_HOPS,
    PREVIEW,
    Answer,
    LinkResolver,
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


def to(location: str, status: int = 301) -> Answer:
    return Answer(status, location)


class FakeResponse:
    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        told = {"Location": answer.location, "Retry-After": answer.retry_after}
        self.headers = CIMultiDict({name: value for name, value in told.items() if value})


class FakeSession:
    """Answers by URL, or by method and URL; an exception is raised, None never answers."""

    def __init__(self, answers: dict[str, Answer | Exception | None]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    @asynccontextmanager
    async def request(self, method: str, url: str, **options: Any) -> AsyncIterator[FakeResponse]:
        headers = {"HEAD": PREVIEW, "GET": BROWSER}[method]
        assert options == {"allow_redirects": False, "headers": headers}
        self.asked.append(f"{method} {url}")
        answer = self.answers.get(f"{method} {url}", self.answers.get(url))
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        yield FakeResponse(cast("Answer", answer))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def resolver(session: FakeSession, **options: Any) -> LinkResolver:
    return LinkResolver(cast("aiohttp.ClientSession", session), **options)


async def resolve(answers: dict[str, Answer | Exception | None]) -> Target:
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
async def test_a_redirect_to_a_video_is_enough(status: int, location: str) -> None:
    session = FakeSession({LINK.url: to(location, status)})
    assert await resolver(session).resolve(LINK, TikTok()) == VIDEO
    assert session.asked == [f"HEAD {LINK.url}"]


async def test_a_redirect_within_the_host() -> None:
    mobile = ShortLink(url="https://m.tiktok.com/t/ZTabc/")
    session = FakeSession({mobile.url: to(f"/v/{ID}.html")})
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
async def test_stories_and_listings_are_targets_too(target: str) -> None:
    assert await resolve({LINK.url: to(f"{target}?_r=1&_t=ZM")}) == TikTok().parse_url(target)


async def test_a_chain_of_short_links() -> None:
    session = FakeSession({LINK.url: to(SECOND), SECOND: to(PAGE)})
    assert await resolver(session).resolve(LINK, TikTok()) == VIDEO
    assert session.asked == [f"HEAD {LINK.url}", f"HEAD {SECOND}"]


FOR_BROWSERS_ONLY = {
    "a page": Answer(200),
    "no location": Answer(301),
    "home": to("https://www.tiktok.com/"),
    "not found page": to("https://www.tiktok.com/notfound"),
    "login": to("https://www.tiktok.com/login?redirect_url=x"),
    "401": Answer(401),
    "403": Answer(403),
    "406": Answer(406),
    "no HEAD": Answer(405),
    "no HEAD known": Answer(501),
}


@pytest.mark.parametrize("answer", FOR_BROWSERS_ONLY.values(), ids=FOR_BROWSERS_ONLY.keys())
async def test_what_previews_are_not_told_a_browser_is_asked_for(answer: Answer) -> None:
    session = FakeSession({f"HEAD {LINK.url}": answer, f"GET {LINK.url}": to(PAGE)})
    assert await resolver(session).resolve(LINK, TikTok()) == VIDEO
    assert session.asked == [f"HEAD {LINK.url}", f"GET {LINK.url}"]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404),
        Answer(410),
        Answer(429),
        Answer(451),
        Answer(503),
        to("https://evil.example/"),
        to("https://www.tiktok.com/@name/live"),
        TimeoutError(),
    ],
    ids=str,
)
async def test_what_holds_for_everybody_is_asked_once(answer: Answer | Exception) -> None:
    session = FakeSession({LINK.url: answer})
    with pytest.raises(ClipmillError):
        await resolver(session).resolve(LINK, TikTok())
    assert session.asked == [f"HEAD {LINK.url}"]


async def test_every_hop_is_asked_as_a_browser_once() -> None:
    session = FakeSession(
        {
            f"HEAD {LINK.url}": Answer(200),
            f"GET {LINK.url}": to(SECOND),
            f"HEAD {SECOND}": Answer(301),
            f"GET {SECOND}": to(PAGE),
        }
    )
    assert await resolver(session).resolve(LINK, TikTok()) == VIDEO
    assert session.asked == [
        f"{method} {url}" for url in (LINK.url, SECOND) for method in ("HEAD", "GET")
    ]


ENDS = {
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


@pytest.mark.parametrize(("location", "key"), ENDS.items(), ids=lambda text: text[:70])
async def test_where_short_links_end(location: str, key: str) -> None:
    assert (await resolve({LINK.url: to(location)})).key == key.format(ID=ID)


@pytest.mark.parametrize(
    "shared",
    [
        "https://www.tiktok.com/share/user/6820838815978423302",
        "https://m.tiktok.com/h5/share/usr/6820838815978423302.html",
        "https://t.tiktok.com/i18n/share/user/6820838815978423302/",
    ],
)
async def test_the_number_of_an_account_leads_to_its_profile(shared: str) -> None:
    link = TikTok().parse_url(shared)
    assert isinstance(link, ShortLink)
    session = FakeSession({link.url: to("https://www.tiktok.com/@name?_r=1")})
    found = await resolver(session).resolve(link, TikTok())
    assert found.key == "tiktok:profile/name"


class Site:
    """A site as the settings describe it."""

    hosts = ("mine.example",)
    short_hosts = ("mi.ne",)
    extractors = ("Mine",)
    media_hosts = (".mine.example",)


async def test_a_page_that_is_named_by_its_query_is_reached() -> None:
    platform, link = ConfiguredPlatform("mine", Site()), ShortLink(url="https://mi.ne/x")
    session = FakeSession({link.url: to("https://mine.example/watch?v=abc&utm_source=x")})
    found = await resolver(session).resolve(link, platform)
    assert found.url == "https://mine.example/watch?v=abc"


def chain(length: int) -> dict[str, Answer | Exception | None]:
    """Answers of a chain that takes so many requests to its video."""
    urls = [LINK.url, *(f"https://vt.tiktok.com/Z{place}/" for place in range(1, length))]
    return {url: to(after) for url, after in zip(urls, [*urls[1:], PAGE], strict=True)}


async def test_the_longest_chain_and_one_more() -> None:
    assert await resolve(chain(MAX_HOPS)) == VIDEO
    with pytest.raises(ClipmillError, match="more than 5 times") as caught:
        await resolve(chain(MAX_HOPS + 1))
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED


REFUSED = {
    "to itself": (to(LINK.url), ErrorCode.CONTENT_UNSUPPORTED, "back to itself"),
    "other site": (to("https://evil.example/x"), ErrorCode.CONTENT_UNSUPPORTED, "evil.example"),
    "loopback": (to("http://127.0.0.1/"), ErrorCode.CONTENT_UNSUPPORTED, "IP address"),
    "metadata": (to("http://169.254.169.254/"), ErrorCode.CONTENT_UNSUPPORTED, "IP address"),
    "file": (to("file:///etc/passwd"), ErrorCode.CONTENT_UNSUPPORTED, "neither https nor http"),
    "credentials": (to("https://a:b@www.tiktok.com/"), ErrorCode.CONTENT_UNSUPPORTED, "password"),
    "port": (to("https://www.tiktok.com:8443/"), ErrorCode.CONTENT_UNSUPPORTED, "a port"),
    "no URL": (to("https://[/"), ErrorCode.CONTENT_UNSUPPORTED, "no URL"),
    "control": (to("https://www.tiktok.com/\x00"), ErrorCode.CONTENT_UNSUPPORTED, "control"),
    "huge": (to("https://www.tiktok.com/" + "x" * 7_000), ErrorCode.CONTENT_UNSUPPORTED, "2048"),
    "playlist": (
        to(f"https://www.tiktok.com/@name/playlist/cats-{ID}"),
        ErrorCode.CONTENT_UNSUPPORTED,
        "a playlist",
    ),
    "live": (
        to("https://www.tiktok.com/@name/live?x=1"),
        ErrorCode.CONTENT_UNSUPPORTED,
        "live streams are not recorded",
    ),
    "nobody": (to("https://www.tiktok.com/@_"), ErrorCode.CONTENT_UNSUPPORTED, "user name is none"),
    "home": (to("https://www.tiktok.com/?_r=1"), ErrorCode.CONTENT_NOT_FOUND, "gone"),
    "home without slash": (to("https://www.tiktok.com"), ErrorCode.CONTENT_NOT_FOUND, "gone"),
    "404 page": (to("https://www.tiktok.com/404?x=/"), ErrorCode.CONTENT_NOT_FOUND, "gone"),
    "login": (
        to("https://www.tiktok.com/login?redirect_url=x"),
        ErrorCode.CONTENT_LOGIN_REQUIRED,
        "login",
    ),
    "login by phone": (
        to("/login/phone"),
        ErrorCode.CONTENT_LOGIN_REQUIRED,
        "login",
    ),
    "home of another site": (
        to("https://evil.example/"),
        ErrorCode.CONTENT_UNSUPPORTED,
        "not a TikTok host",
    ),
    "not found": (to("https://www.tiktok.com/notfound?x=/"), ErrorCode.CONTENT_NOT_FOUND, "gone"),
    "feed": (to("https://www.tiktok.com/foryou?_r=1"), ErrorCode.CONTENT_NOT_FOUND, "gone"),
    "no redirect": (Answer(200), ErrorCode.RATE_LIMIT_IP_BLOCK, "200 and redirects nowhere"),
    "no location": (Answer(301), ErrorCode.RATE_LIMIT_IP_BLOCK, "301 and redirects nowhere"),
    "blank location": (Answer(302, " "), ErrorCode.RATE_LIMIT_IP_BLOCK, "302 and redirects"),
    "no content": (Answer(204), ErrorCode.RATE_LIMIT_IP_BLOCK, "204 and redirects nowhere"),
    "choices": (Answer(300, PAGE), ErrorCode.RATE_LIMIT_IP_BLOCK, "300 and redirects nowhere"),
    "not modified": (Answer(304, PAGE), ErrorCode.RATE_LIMIT_IP_BLOCK, "304 and redirects"),
    "401": (Answer(401), ErrorCode.CONTENT_LOGIN_REQUIRED, "vm.tiktok.com answered 401"),
    "403": (Answer(403), ErrorCode.RATE_LIMIT_IP_BLOCK, "answered 403"),
    "404": (Answer(404), ErrorCode.CONTENT_NOT_FOUND, "answered 404"),
    "405 twice": (Answer(405), ErrorCode.PLATFORM_CHANGED, "answered 405"),
    "410": (Answer(410), ErrorCode.CONTENT_NOT_FOUND, "answered 410"),
    "451": (Answer(451), ErrorCode.CONTENT_GEO_BLOCKED, "answered 451"),
    "500": (Answer(500), ErrorCode.NETWORK_SERVER, "answered 500"),
    "503": (Answer(503), ErrorCode.NETWORK_SERVER, "answered 503"),
    "timeout": (TimeoutError(), ErrorCode.NETWORK_TIMEOUT, "in time"),
    "reset": (ConnectionResetError(104, "reset"), ErrorCode.NETWORK_CONNECTION, "broke"),
    "disconnected": (
        aiohttp.ServerDisconnectedError(),
        ErrorCode.NETWORK_CONNECTION,
        "vm.tiktok.com",
    ),
}


@pytest.mark.parametrize(("answer", "code", "text"), REFUSED.values(), ids=REFUSED.keys())
async def test_refused(answer: Answer | Exception, code: ErrorCode, text: str) -> None:
    session = FakeSession({LINK.url: answer})
    with pytest.raises(ClipmillError) as caught:
        await resolver(session).resolve(LINK, TikTok())
    assert caught.value.code is code
    assert text in caught.value.message
    assert len(caught.value.message) < 700
    assert all(asked.endswith(LINK.url) for asked in session.asked)


async def test_retry_after_is_kept() -> None:
    with pytest.raises(ClipmillError) as caught:
        await resolve({LINK.url: Answer(429, retry_after="30")})
    assert caught.value.code is ErrorCode.RATE_LIMIT_API
    assert caught.value.retry_after == 30


async def test_a_loop_of_two() -> None:
    session = FakeSession({LINK.url: to(SECOND), SECOND: to(LINK.url)})
    with pytest.raises(ClipmillError, match="back to itself"):
        await resolver(session).resolve(LINK, TikTok())
    assert len(session.asked) == 2


async def test_the_deadline_is_for_all_hops() -> None:
    session = FakeSession({LINK.url: to(SECOND), SECOND: None})
    with pytest.raises(ClipmillError, match="did not answer in time") as caught:
        await resolver(session, deadline_seconds=0.01).resolve(LINK, TikTok())
    assert caught.value.code is ErrorCode.NETWORK_TIMEOUT
    assert len(session.asked) == 2


class Careless(TikTok):
    """Calls anything a short link."""

    def get_capabilities(self) -> Capabilities:
        return msgspec.structs.replace(CAPABILITIES, link_hosts=("vm.tiktok.com",))

    def parse_url(self, url: str) -> VideoRef | ShortLink:
        return ShortLink(url=url)


@pytest.mark.parametrize(
    "url", ["https://www.tiktok.com/t/x", "http://vm.tiktok.com/x", "https://[/", "x", ""]
)
async def test_only_https_on_link_hosts_is_asked_whatever_a_platform_says(url: str) -> None:
    session = FakeSession({LINK.url: to(url)})
    platform: Platform = Careless()
    with pytest.raises(ClipmillError) as caught:
        await resolver(session).resolve(ShortLink(url=url), platform)
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
    assert session.asked == []


async def test_a_resolved_link_is_remembered_for_an_hour() -> None:
    clock, session = Clock(), FakeSession({LINK.url: to(PAGE)})
    links = resolver(session, timer=clock)
    await links.resolve(LINK, TikTok())
    clock.now = CACHE_SECONDS - 1
    assert await links.resolve(LINK, TikTok()) == VIDEO
    assert len(session.asked) == 1
    clock.now = CACHE_SECONDS + 1
    assert await links.resolve(LINK, TikTok()) == VIDEO
    assert len(session.asked) == 2


async def test_a_failure_is_not_remembered() -> None:
    session = FakeSession({LINK.url: Answer(503)})
    links = resolver(session)
    with pytest.raises(ClipmillError):
        await links.resolve(LINK, TikTok())
    session.answers[LINK.url] = to(PAGE)
    assert await links.resolve(LINK, TikTok()) == VIDEO


def test_next_step_is_pure() -> None:
    assert next_step(TikTok(), LINK, to(SECOND)) == ShortLink(url=SECOND)
    assert next_step(TikTok(), LINK, to(PAGE)) == VIDEO


async def test_what_was_resolved_is_known_without_asking() -> None:
    links = resolver(FakeSession(chain(1)))
    assert links.known(LINK) is None
    await links.resolve(LINK, TikTok())
    assert links.known(LINK) == VIDEO
