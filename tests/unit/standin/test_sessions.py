"""Posts that are whole only for those who are logged in."""

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
    ("cookie", "known"),
    [
        (f"{SESSION_COOKIE}={SESSION}", True),
        (f"a=b; {SESSION_COOKIE}={SESSION}; c=d", True),
        (f"{SESSION_COOKIE}={SESSION}0", False),
        (f"{SESSION_COOKIE}=", False),
        (f"other={SESSION}", False),
        ("", False),
    ],
)
def test_only_the_session_logs_in(cookie: str, known: bool) -> None:
    assert is_logged_in(Request("GET", "www.tiktok.com", "/", {"cookie": cookie})) is known


def test_the_file_is_a_netscape_cookie_file(tmp_path: Path) -> None:
    jar = MozillaCookieJar(session_cookies_file(tmp_path / "tiktok.txt"))
    jar.load()
    (cookie,) = jar

    assert (cookie.name, cookie.value) == (SESSION_COOKIE, SESSION)
    assert (cookie.domain, cookie.path, cookie.secure) == (".tiktok.com", "/", True)
    assert not cookie.is_expired()


async def test_members_only(client: Client) -> None:
    video = video_id("members")
    async with client.request(page(video)) as response:
        assert response.status == 302
        assert response.headers["Location"].startswith("https://www.tiktok.com/login?")
    async with client.request(page(video), headers=SESSION_HEADER) as response:
        assert response.status == 200
        assert b'"bitrateInfo"' in await response.read()


async def test_adults_only(client: Client) -> None:
    video = video_id("adults")
    assert (await client.item(video))["isContentClassified"] is True
    async with client.request(page(video), headers=SESSION_HEADER) as response:
        assert b"isContentClassified" not in await response.read()


@pytest.mark.parametrize(
    ("scenario", "words"), [("members", "requiring login"), ("adults", "not be comfortable")]
)
async def test_the_real_extractor_gets_in_with_the_file(
    trusted: Standin, tmp_path: Path, scenario: str, words: str
) -> None:
    video = video_id(scenario)
    with pytest.raises(DownloadError, match=words):
        await extract(trusted, page(video))
    file = session_cookies_file(tmp_path / "tiktok.txt")
    info = await extract(trusted, page(video), cookiefile=str(file))

    assert (info["id"], bool(info["formats"])) == (video, True)


async def test_a_session_that_has_ended_opens_nothing(trusted: Standin, tmp_path: Path) -> None:
    file = session_cookies_file(tmp_path / "tiktok.txt", "0" * 32)
    with pytest.raises(DownloadError, match="requiring login"):
        await extract(trusted, page(video_id("members")), cookiefile=str(file))


async def test_a_session_changes_no_other_wall(client: Client) -> None:
    async with client.request(page(video_id("login")), headers=SESSION_HEADER) as response:
        assert response.status == 302


async def test_user_names_work_too(client: Client) -> None:
    url = f"https://www.tiktok.com/@{user_name('members')}/video/1"
    async with client.request(url) as response:
        assert response.status == 302


# Sessions that change


def asked(value: str, method: str = "GET") -> Request:
    headers = {"cookie": f"a=b; {SESSION_COOKIE}={value}; c=d"}
    return Request(method, "www.tiktok.com", "/", headers)


def shown(sessions: Sessions, value: str, status: int = 200) -> tuple[bool, str | None]:
    """Whether the page was shown to somebody logged in, and the value that it set anew."""
    seen: list[bool] = []

    def page(request: Request) -> Reply:
        seen.append(is_logged_in(request))
        return Reply(status, whole(b""))

    headers = dict(sessions.answer(asked(value), page).headers)
    cookie = headers.get("Set-Cookie", "")
    new = cookie.partition(";")[0].partition("=")[2] or None
    return seen == [True], new


def test_every_page_sets_a_living_session_anew() -> None:
    sessions, value = Sessions(), living_session()
    for page in range(1, 20):
        logged_in, new = shown(sessions, value)
        assert (logged_in, new) == (True, living_session(0, page))
        value = new or ""


def test_an_old_value_dies() -> None:
    sessions = Sessions()
    found = [shown(sessions, living_session()) for _ in range(OLD_USES + 2)]
    assert [logged_in for logged_in, _ in found] == [True] * OLD_USES + [False] * 2
    assert [new for _, new in found[OLD_USES:]] == [None, None]
    assert shown(sessions, living_session(0, 1))[0]


def test_two_sessions_have_nothing_to_do_with_each_other() -> None:
    sessions = Sessions()
    assert shown(sessions, living_session(1)) == (True, living_session(1, 1))
    assert shown(sessions, living_session(2)) == (True, living_session(2, 1))


def test_only_a_page_that_is_shown_sets_it_anew() -> None:
    assert shown(Sessions(), living_session(), 302) == (True, None)


@pytest.mark.parametrize(("value", "logged_in"), [(SESSION, True), (ENDED, False), ("", False)])
def test_other_sessions_stay_as_they_are(value: str, logged_in: bool) -> None:
    sessions = Sessions()
    assert {shown(sessions, value) for _ in range(9)} == {(logged_in, None)}


def test_a_limited_session_is_answered_so_whatever_it_asks() -> None:
    reply = Sessions().answer(asked(LIMITED), lambda _: Reply(200, whole(b"")))
    assert reply.status == 429


def test_a_look_at_a_link_uses_up_nothing() -> None:
    sessions = Sessions()
    for _ in range(9):
        sessions.answer(asked(living_session(), "HEAD"), lambda _: Reply(200, whole(b"")))
    assert shown(sessions, living_session())[0]


async def test_a_living_session_opens_pages(client: Client) -> None:
    header = {"Cookie": f"{SESSION_COOKIE}={living_session()}"}
    url = page(video_id("members", serial=9))
    async with client.request(url, headers=header) as response:
        assert response.status == 200
        assert response.cookies[SESSION_COOKIE].value == living_session(0, 1)
