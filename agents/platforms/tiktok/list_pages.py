"""Extractors of TikTok's lists that report a rejected request instead of an empty list."""

import re
from typing import Any

from yt_dlp.extractor.tiktok import TikTokCollectionIE as StockTikTokCollectionIE
from yt_dlp.extractor.tiktok import TikTokUserIE as StockTikTokUserIE
from yt_dlp.utils import ExtractorError, int_or_none

from agents.platforms.tiktok.base import PageIE

_SEC_UID = re.compile(r"MS4wLjABAAAA[\w-]{64}", re.ASCII)
"""Internal id of an account, a parameter of the list API; links may contain it too."""


class TikTokUserIE(PageIE, StockTikTokUserIE):
    """`yt_dlp.extractor.tiktok.TikTokUserIE` that fails on an unusable profile page.

    The stock extractor ignores a profile page that is rejected, challenged or missing: it requests
    the embedded profile and then videos, and finally reports that an id could not be extracted.
    This class raises the page's HTTP status or ``statusCode``, solves a challenge, and requests the
    embedded profile only when the page was read and lacks the id. An account without posts has an
    empty list.

    The class has the stock name because yt-dlp derives ``ie_key()`` from it.
    """

    def _real_extract(self, url: str) -> Any:
        name = self._match_id(url)
        if _SEC_UID.fullmatch(name):
            return super()._real_extract(url)
        detail = self._user_detail(name)
        info = _dict_or_empty(detail.get("userInfo"))
        count = _post_count(info)
        # A private account with a visible count is one that the cookies have access to.
        if not count:
            _raise_for_status(detail, "Profile", self.facts)
        sec_uid = _dict_or_empty(info.get("user")).get("secUid")
        if count == 0:
            return self.playlist_result([], sec_uid, name)
        if not isinstance(sec_uid, str) or not sec_uid:
            sec_uid = self._extract_sec_uid_from_embed(name)
        if not sec_uid:
            raise ExtractorError("Unable to extract secondary user ID")
        entries = self._entries(sec_uid, name, fail_early=not info.get("itemList"))
        return self.playlist_result(entries, sec_uid, name)

    def _user_detail(self, name: str) -> dict[str, Any]:
        page = self._profile_page(name)
        data = self._get_universal_data(page, name)
        if not data:
            cookies = self._solve_challenge_and_set_cookies(page)
            data = self._get_universal_data(self._profile_page(name), name)
            # Valid for one request, as in the stock extractor of videos.
            for cookie in filter(None, cookies):
                self.cookiejar.clear(domain=".tiktok.com", path="/", name=cookie)
        return _dict_or_empty(data.get("webapp.user-detail"))

    def _profile_page(self, name: str) -> str:
        page: str
        page, response = self._download_webpage_handle(
            self._UPLOADER_URL_FORMAT % name,
            name,
            headers=self._generate_blockbuster_headers(),
            impersonate=True,
        )
        if re.match(r"https://[^/]+/login\b", response.url):
            self.raise_login_required("TikTok is requiring login for access to this profile")
        return page

    def _download_json(self, *args: Any, **options: Any) -> Any:
        return _checked_list(super()._download_json(*args, **options), self.facts)


class TikTokCollectionIE(PageIE, StockTikTokCollectionIE):
    """`yt_dlp.extractor.tiktok.TikTokCollectionIE` that fails when the list is rejected."""

    def _download_json(self, *args: Any, **options: Any) -> Any:
        return _checked_list(super()._download_json(*args, **options), self.facts)


def _post_count(info: dict[str, Any]) -> int | None:
    """Return the number of posts of an account; one of the two statistics has it as a string."""
    values = (_dict_or_empty(info.get(name)).get("videoCount") for name in ("stats", "statsV2"))
    return next((count for each in values if (count := int_or_none(each)) is not None), None)


def _checked_list(response: Any, facts: dict[str, str]) -> dict[str, Any]:
    """Return the response of the list API, unless it is a rejection."""
    if not isinstance(response, dict):
        raise ExtractorError("The list is not an object")
    if not response.get("itemList"):
        _raise_for_status(response, "List", facts)
    return response


def _raise_for_status(response: dict[str, Any], name: str, facts: dict[str, str]) -> None:
    """Record and raise TikTok's status code; 0 is success."""
    code = int_or_none(response.get("statusCode") or response.get("status_code"))
    if code:
        message = response.get("statusMsg") or response.get("status_msg") or ""
        facts |= {"status_code": str(code), "status_message": str(message)}
        raise ExtractorError(f"{name} not available, status code {code}", expected=True)


def _dict_or_empty(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
