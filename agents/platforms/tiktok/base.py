"""Base class of the TikTok extractors: not-found redirects, and the proof-of-work challenge."""

import re
import time
from typing import Any
from urllib.parse import urlsplit

from yt_dlp.extractor.tiktok import TikTokBaseIE
from yt_dlp.utils import ExtractorError

from agents.platforms.tiktok.challenge import MARKER, PAGE_CHARACTERS_MAX, read_challenge

COOKIE_SECONDS = 120
"""Lifetime, longer than a page request takes; the cookies are cleared after it."""

_LANGUAGE = r"(?:/[a-z]{2}(?:-[a-z]{2,4})?)?"
_NOT_FOUND = re.compile(rf"{_LANGUAGE}/(?:notfound|not-found|404)/?", re.IGNORECASE)
"""Paths to which TikTok redirects requests for missing pages."""


class PageIE(TikTokBaseIE):
    """Common behaviour of the TikTok extractors, on top of yt-dlp's own base class.

    Attributes:
        facts: values recorded from the pages, for a failure; see `agents.engine.extraction`.
        page_url: final URL of the latest page, after redirects.
    """

    facts: dict[str, str]
    page_url = ""

    def __init__(self, downloader: Any = None) -> None:
        super().__init__(downloader)
        self.facts = {}

    def _download_webpage_handle(self, *args: Any, **kwargs: Any) -> Any:
        page = super()._download_webpage_handle(*args, **kwargs)
        if page is False:
            return page
        self.page_url = page[1].url
        if kwargs.get("fatal", True) and _NOT_FOUND.fullmatch(urlsplit(self.page_url).path):
            self.facts["redirect"] = "notfound"
            raise ExtractorError("TikTok redirects to its not-found page", expected=True)
        return page

    def _get_universal_data(self, webpage: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        data: dict[str, Any] = super()._get_universal_data(webpage, *args, **kwargs)
        if not data and self.facts.get("challenge") and MARKER in webpage:
            raise ExtractorError("TikTok sent its challenge again, although it was solved")
        return data

    def _solve_challenge_and_set_cookies(self, webpage: str) -> Any:
        """Solve the challenge; return the names of the cookies that the next request needs.

        Raises:
            ExtractorError: the page has no challenge, or one that cannot be solved.
        """
        challenge = read_challenge(webpage)
        if challenge is None:
            if len(webpage) > PAGE_CHARACTERS_MAX:
                raise ExtractorError("Unexpected response from webpage request")
            # Perhaps a form that a newer yt-dlp knows; otherwise its error states the reason.
            return super()._solve_challenge_and_set_cookies(webpage)
        nonce = self._downloader.proof_of_work.solve(challenge.seed, challenge.digest)
        self.facts["challenge"] = "solved"
        cookies = {challenge.cookie: challenge.cookie_value(nonce), **challenge.extra_cookies}
        expires = int(time.time()) + COOKIE_SECONDS
        for name, value in cookies.items():
            self._set_cookie(".tiktok.com", name, value, expire_time=expires)
        return tuple(cookies)
