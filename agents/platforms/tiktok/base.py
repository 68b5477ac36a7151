"""What the extractors of TikTok's pages have in common, here and not in yt-dlp."""

import re
import time
from typing import Any
from urllib.parse import urlsplit

from yt_dlp.extractor.tiktok import TikTokBaseIE
from yt_dlp.utils import ExtractorError

from agents.platforms.tiktok.challenge import MARK, PAGE_CHARACTERS_MAX, read_challenge

COOKIE_SECONDS = 120
"""More than the request for the page takes; the cookies are cleared behind it."""

_LANGUAGE = r"(?:/[a-z]{2}(?:-[a-z]{2,4})?)?"
_NOT_FOUND = re.compile(rf"{_LANGUAGE}/(?:notfound|not-found|404)/?", re.IGNORECASE)
"""Paths to which TikTok redirects what it does not have."""


class PageIE(TikTokBaseIE):
    """What TikTok's extractors here have in common.

    Attributes:
        facts: what the pages said; see `agents.engine.extraction`.
        page_url: where the latest page was found, behind redirects.
    """

    facts: dict[str, str]
    page_url = ""

    def __init__(self, downloader: Any = None) -> None:
        super().__init__(downloader)
        self.facts = {}

    def _download_webpage_handle(self, *args: Any, **kwargs: Any) -> Any:
        found = super()._download_webpage_handle(*args, **kwargs)
        if found is False:
            return found
        self.page_url = found[1].url
        if kwargs.get("fatal", True) and _NOT_FOUND.fullmatch(urlsplit(self.page_url).path):
            self.facts["redirect"] = "notfound"
            raise ExtractorError("TikTok redirects to its not-found page", expected=True)
        return found

    def _get_universal_data(self, webpage: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        data: dict[str, Any] = super()._get_universal_data(webpage, *args, **kwargs)
        if not data and self.facts.get("challenge") and MARK in webpage:
            raise ExtractorError("TikTok sent its challenge again, although it was solved")
        return data

    def _solve_challenge_and_set_cookies(self, webpage: str) -> Any:
        """Solve the challenge; return the names of the cookies that the next request is to have.

        Raises:
            ExtractorError: it is no page with a challenge, or one that cannot be solved.
        """
        challenge = read_challenge(webpage)
        if challenge is None:
            if len(webpage) > PAGE_CHARACTERS_MAX:
                raise ExtractorError("Unexpected response from webpage request")
            # Another form, which another yt-dlp may know; otherwise it says what is wrong.
            return super()._solve_challenge_and_set_cookies(webpage)
        number = self._downloader.proof_of_work.solve(challenge.seed, challenge.digest)
        self.facts["challenge"] = "solved"
        cookies = {challenge.cookie: challenge.answer(number), **challenge.others}
        expires = int(time.time()) + COOKIE_SECONDS
        for name, value in cookies.items():
            self._set_cookie(".tiktok.com", name, value, expire_time=expires)
        return tuple(cookies)
