from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from yt_dlp import YoutubeDL
from yt_dlp.utils import ExtractorError

from agents.engine.proof_of_work import ProofOfWork
from agents.engine.request_bounds import Deadline
from agents.platforms.tiktok.base import MARKER, PAGE_CHARACTERS_MAX
from agents.platforms.tiktok.page import TikTokIE
from tests.standin.pages import challenge_page, solves_challenge

PAGE = "https://www.tiktok.com/@_/video/7608826249200356630"


@pytest.fixture
def downloader() -> Iterator[Any]:
    deadline = Deadline()
    deadline.start(60)
    with YoutubeDL({"quiet": True, "no_warnings": True}, auto_init=False) as downloader:
        downloader.proof_of_work = ProofOfWork(deadline)
        yield downloader


def challenge(solution: int | None, *, second: bool = True) -> str:
    return b"".join(map(bytes, challenge_page(solution, second=second).chunks())).decode()


def cookies(downloader: Any) -> dict[str, str]:
    return {cookie.name: cookie.value for cookie in downloader.cookiejar}


@pytest.mark.parametrize("second", [True, False])
def test_challenge_is_solved_by_the_downloader(downloader: Any, second: bool) -> None:
    extractor = TikTokIE(downloader)
    names = extractor._solve_challenge_and_set_cookies(challenge(4_321, second=second))
    others = ("waforiginalreid",) if second else ()
    assert names == ("_wafchallengeid", *others)
    assert cookies(downloader).keys() == {*names}
    assert solves_challenge(cookies(downloader)["_wafchallengeid"], 4_321)
    assert len(downloader.proof_of_work.seconds) == 1
    assert extractor.facts == {"challenge": "solved"}


@pytest.mark.parametrize(
    ("webpage", "message", "counted"),
    [
        (challenge(None), "Unable to solve JS challenge", 1),
        (MARKER, "Unable to extract challenge data", 0),
        ("", "Unexpected response from webpage request", 0),
        ("<p " * PAGE_CHARACTERS_MAX, "Unexpected response from webpage request", 0),
        (challenge(1) + "x" * PAGE_CHARACTERS_MAX, "Unexpected response", 0),
    ],
    ids=["no number", "captcha", "nothing", "too large", "too large a challenge"],
)
def test_unsolvable_challenge_is_an_error(
    downloader: Any, webpage: str, message: str, counted: int
) -> None:
    extractor = TikTokIE(downloader)
    with pytest.raises(ExtractorError, match=message):
        extractor._solve_challenge_and_set_cookies(webpage)
    assert len(downloader.proof_of_work.seconds) == counted
    assert (cookies(downloader), extractor.facts) == ({}, {})


def test_repeated_challenge_after_a_solution_is_an_error(downloader: Any) -> None:
    extractor = TikTokIE(downloader)
    assert extractor._get_universal_data(challenge(5), "1") == {}
    extractor._solve_challenge_and_set_cookies(challenge(5))
    with pytest.raises(ExtractorError, match="challenge again"):
        extractor._get_universal_data(challenge(5), "1")
    assert extractor._get_universal_data("<html></html>", "1") == {}


def download_page(downloader: Any, url: str, **options: Any) -> tuple[Any, dict[str, str]]:
    """Download a page that responds from this URL; return the result and the facts."""
    answer = SimpleNamespace(
        url=url, headers={}, read=lambda _=None: b"<html></html>", close=lambda: None
    )
    extractor = TikTokIE(downloader)
    extractor._request_webpage = lambda *_args, **_options: answer
    try:
        return extractor._download_webpage_handle(PAGE, "1", **options), extractor.facts
    except ExtractorError as error:
        return error, extractor.facts


@pytest.mark.parametrize(
    "path",
    ["/notfound", "/notfound/", "/en/notfound", "/zh-Hant/notfound?x=1", "/404", "/NotFound"],
)
def test_redirect_to_the_not_found_page_is_an_error(downloader: Any, path: str) -> None:
    result, facts = download_page(downloader, f"https://www.tiktok.com{path}")
    assert isinstance(result, ExtractorError)
    assert facts == {"redirect": "notfound"}


@pytest.mark.parametrize("path", ["", "/", "/@notfound", "/@notfound/video/404", "/notfound/more"])
def test_redirect_to_another_page_is_no_error(downloader: Any, path: str) -> None:
    result, facts = download_page(downloader, f"https://www.tiktok.com{path}")
    assert result[0] == "<html></html>"
    assert facts == {}


def test_not_found_page_is_ignored_when_not_fatal(downloader: Any) -> None:
    result, facts = download_page(downloader, "https://www.tiktok.com/notfound", fatal=False)
    assert (result[0], facts) == ("<html></html>", {})
