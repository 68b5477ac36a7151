"""Base class of the TikTok extractors: not-found redirects, and the proof-of-work challenge."""

import base64
import json
import re
import time
from typing import Any
from urllib.parse import urlsplit

import msgspec
from yt_dlp.extractor.tiktok import TikTokBaseIE
from yt_dlp.utils import ExtractorError, extract_attributes

MARKER = "Please wait..."
"""Title of a challenge page."""

PAGE_CHARACTERS_MAX = 32_768
"""Challenge pages have 1,400 to 3,000 characters. Larger pages are not passed to yt-dlp, whose
patterns take quadratic time."""

COOKIE_SECONDS = 120
"""Lifetime of a response to the challenge, longer than a request; they are cleared after it."""

_LANGUAGE = r"(?:/[a-z]{2}(?:-[a-z]{2,4})?)?"
_NOT_FOUND = re.compile(rf"{_LANGUAGE}/(?:notfound|not-found|404)/?", re.IGNORECASE)
"""Paths to which TikTok redirects requests for missing pages."""

_NAMES = frozenset({"cs", "wci", "rci", "rs"})
_TAG = re.compile(r"<[a-z]+\s[^<>]+>", re.IGNORECASE)


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


class Challenge(msgspec.Struct, frozen=True):
    """A decoded proof-of-work challenge.

    Its page has four elements whose classes are values: ``cs`` (the challenge: JSON in base64 with
    the seed ``v.a`` and the digest ``v.c``), ``wci`` (name of the response cookie), and sometimes
    ``rci`` and ``rs`` (name and value of a second cookie). The response is the challenge with the
    nonce as ``d``. TikTok's own script sets both cookies with a TTL of 1 s: a response is for one
    request.

    Attributes:
        payload: the whole object, which is part of the response.
        seed: prefix of the nonce in the hash.
        digest: SHA-256 of seed and nonce.
        cookie: name of the response cookie.
        extra_cookies: further cookies, by name.
    """

    payload: dict[str, Any]
    seed: bytes
    digest: bytes
    cookie: str
    extra_cookies: dict[str, str]

    def cookie_value(self, nonce: int) -> str:
        """Return the value of the response cookie."""
        encoded = base64.b64encode(b"%d" % nonce).decode()
        text = json.dumps({**self.payload, "d": encoded}, separators=(",", ":"))
        return base64.b64encode(text.encode()).decode()


def read_challenge(webpage: str) -> Challenge | None:
    """Return the challenge of a page in the known form, None for every other page."""
    if len(webpage) > PAGE_CHARACTERS_MAX:
        return None
    values = _values(webpage)
    try:
        # The page omits the padding; b64decode ignores superfluous padding.
        payload = json.loads(base64.b64decode(f"{values['cs']}==="))
        seed, digest = (base64.b64decode(payload["v"][name]) for name in ("a", "c"))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not values.get("wci"):
        return None
    rci, rs = values.get("rci"), values.get("rs")
    return Challenge(payload, seed, digest, values["wci"], {rci: rs} if rci and rs else {})


def _values(webpage: str) -> dict[str, str]:
    """Return the classes of the four elements by id; the first element of an id is used."""
    values: dict[str, str] = {}
    for tag in _TAG.findall(webpage):
        attributes = extract_attributes(tag)
        if attributes.get("id") in _NAMES:
            values.setdefault(attributes["id"], attributes.get("class") or "")
    return values
