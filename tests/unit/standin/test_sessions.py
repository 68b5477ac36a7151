"""Posts that are whole only for those who are logged in."""

from http.cookiejar import MozillaCookieJar
from pathlib import Path

import pytest
from yt_dlp.utils import DownloadError

from tests.standin import Standin, session_cookies_file, user_name, video_id
from tests.standin.sessions import SESSION, SESSION_COOKIE, is_logged_in
from tests.standin.wire import Request
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
