"""Posts that require a login, and sessions."""

from http.cookiejar import MozillaCookieJar
from pathlib import Path

import pytest
from yt_dlp.utils import DownloadError

from tests.standin import Standin, session_cookies_file, user_name, video_id
from tests.standin.sessions import (
    ENDED,
    LIMITED,
    OLD_USES,
    SESSION,
    SESSION_COOKIE,
    Sessions,
    is_logged_in,
    living_session,
)
from tests.standin.wire import Reply, Request, whole
from tests.unit.standin.clients import Client, extract

SESSION_HEADER = {"Cookie": f"ttwid=1; {SESSION_COOKIE}={SESSION}"}


def page(video: str) -> str:
    return f"https://www.tiktok.com/@_/video/{video}"


@pytest.mark.parametrize(
    ("cookie", "logged_in"),
    [
        (f"{SESSION_COOKIE}={SESSION}", True),
        (f"a=b; {SESSION_COOKIE}={SESSION}; c=d", True),
        (f"{SESSION_COOKIE}={SESSION}0", False),
        (f"{SESSION_COOKIE}=", False),
        (f"other={SESSION}", False),
        ("", False),
    ],
)
def test_only_the_session_cookie_logs_in(cookie: str, logged_in: bool) -> None:
    assert is_logged_in(Request("GET", "www.tiktok.com", "/", {"cookie": cookie})) is logged_in


def test_cookies_file_is_in_netscape_format(tmp_path: Path) -> None:
    jar = MozillaCookieJar(session_cookies_file(tmp_path / "tiktok.txt"))
    jar.load()
    (cookie,) = jar

    assert (cookie.name, cookie.value) == (SESSION_COOKIE, SESSION)
    assert (cookie.domain, cookie.path, cookie.secure) == (".tiktok.com", "/", True)
    assert not cookie.is_expired()


async def test_members_post_requires_a_login(client: Client) -> None:
    video = video_id("members")
    async with client.request(page(video)) as response:
        assert response.status == 302
        assert response.headers["Location"].startswith("https://www.tiktok.com/login?")
    async with client.request(page(video), headers=SESSION_HEADER) as response:
        assert response.status == 200
        assert b'"bitrateInfo"' in await response.read()


async def test_adults_post_requires_a_login(client: Client) -> None:
    video = video_id("adults")
    assert (await client.item(video))["isContentClassified"] is True
    async with client.request(page(video), headers=SESSION_HEADER) as response:
        assert b"isContentClassified" not in await response.read()


@pytest.mark.parametrize(
    ("scenario", "words"), [("members", "requiring login"), ("adults", "not be comfortable")]
)
async def test_stock_extractor_logs_in_with_the_cookies_file(
    trusted: Standin, tmp_path: Path, scenario: str, words: str
) -> None:
    video = video_id(scenario)
    with pytest.raises(DownloadError, match=words):
        await extract(trusted, page(video))
    file = session_cookies_file(tmp_path / "tiktok.txt")
    info = await extract(trusted, page(video), cookiefile=str(file))

    assert (info["id"], bool(info["formats"])) == (video, True)


async def test_expired_session_has_no_access(trusted: Standin, tmp_path: Path) -> None:
    file = session_cookies_file(tmp_path / "tiktok.txt", "0" * 32)
    with pytest.raises(DownloadError, match="requiring login"):
        await extract(trusted, page(video_id("members")), cookiefile=str(file))


async def test_session_does_not_affect_other_walls(client: Client) -> None:
    async with client.request(page(video_id("login")), headers=SESSION_HEADER) as response:
        assert response.status == 302


async def test_scenario_of_a_user_name_requires_a_login(client: Client) -> None:
    url = f"https://www.tiktok.com/@{user_name('members')}/video/1"
    async with client.request(url) as response:
        assert response.status == 302


# Rotating sessions


def request_with(value: str, method: str = "GET") -> Request:
    headers = {"cookie": f"a=b; {SESSION_COOKIE}={value}; c=d"}
    return Request(method, "www.tiktok.com", "/", headers)


def visit(sessions: Sessions, value: str, status: int = 200) -> tuple[bool, str | None]:
    """Return whether the page was requested as logged in, and the session value that it set."""
    seen: list[bool] = []

    def page(request: Request) -> Reply:
        seen.append(is_logged_in(request))
        return Reply(status, whole(b""))

    headers = dict(sessions.answer(request_with(value), page).headers)
    cookie = headers.get("Set-Cookie", "")
    new = cookie.partition(";")[0].partition("=")[2] or None
    return seen == [True], new


def test_every_page_renews_a_rotating_session() -> None:
    sessions, value = Sessions(), living_session()
    for page in range(1, 20):
        logged_in, new = visit(sessions, value)
        assert (logged_in, new) == (True, living_session(0, page))
        value = new or ""


def test_old_value_expires_after_some_uses() -> None:
    sessions = Sessions()
    found = [visit(sessions, living_session()) for _ in range(OLD_USES + 2)]
    assert [logged_in for logged_in, _ in found] == [True] * OLD_USES + [False] * 2
    assert [new for _, new in found[OLD_USES:]] == [None, None]
    assert visit(sessions, living_session(0, 1))[0]


def test_two_sessions_are_independent() -> None:
    sessions = Sessions()
    assert visit(sessions, living_session(1)) == (True, living_session(1, 1))
    assert visit(sessions, living_session(2)) == (True, living_session(2, 1))


def test_only_a_served_page_renews_the_session() -> None:
    assert visit(Sessions(), living_session(), 302) == (True, None)


@pytest.mark.parametrize(("value", "logged_in"), [(SESSION, True), (ENDED, False), ("", False)])
def test_other_sessions_are_not_renewed(value: str, logged_in: bool) -> None:
    sessions = Sessions()
    assert {visit(sessions, value) for _ in range(9)} == {(logged_in, None)}


def test_limited_session_is_always_rate_limited() -> None:
    reply = Sessions().answer(request_with(LIMITED), lambda _: Reply(200, whole(b"")))
    assert reply.status == 429


def test_head_request_does_not_count_as_a_use() -> None:
    sessions = Sessions()
    for _ in range(9):
        sessions.answer(request_with(living_session(), "HEAD"), lambda _: Reply(200, whole(b"")))
    assert visit(sessions, living_session())[0]


async def test_rotating_session_has_access(client: Client) -> None:
    header = {"Cookie": f"{SESSION_COOKIE}={living_session()}"}
    url = page(video_id("members", serial=9))
    async with client.request(url, headers=header) as response:
        assert response.status == 200
        assert response.cookies[SESSION_COOKIE].value == living_session(0, 1)
