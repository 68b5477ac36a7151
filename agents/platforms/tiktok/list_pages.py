"""yt-dlp's extractors of TikTok's lists, which here tell a refusal from an empty list."""

import re
from typing import Any

from yt_dlp.extractor.tiktok import TikTokCollectionIE as StockTikTokCollectionIE
from yt_dlp.extractor.tiktok import TikTokUserIE as StockTikTokUserIE
from yt_dlp.utils import ExtractorError, int_or_none

from agents.platforms.tiktok.base import PageIE

_SEC_UID = re.compile(r"MS4wLjABAAAA[\w-]{64}", re.ASCII)
"""The other name of an account, by which its list is asked for; links may hold it too."""


class TikTokUserIE(PageIE, StockTikTokUserIE):
    """`yt_dlp.extractor.tiktok.TikTokUserIE` that fails where the stock one goes on.

    The stock extractor takes no notice of a profile page that is refused, challenged or missing:
    it then asks for the embedded profile and for videos, and says at last that an id could not be
    extracted. Here the page's status and ``statusCode`` are the failure, a challenge is solved, and
    the detour is made only when the page is there and does not tell the id. An account without
    posts has an empty list.

    The class has the stock name because yt-dlp derives ``ie_key()`` from it.
    """

    def _real_extract(self, url: str) -> Any:
        name = self._match_id(url)
        if _SEC_UID.fullmatch(name):
            return super()._real_extract(url)
        detail = self._user_detail(name)
        info = _dictionary(detail.get("userInfo"))
        count = _post_count(info)
        # A private account that shows its count is one that the cookies have access to.
        if not count:
            _refuse(detail, "Profile", self.facts)
        sec_uid = _dictionary(info.get("user")).get("secUid")
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
            # They are good for one request, as in the stock extractor of videos.
            for cookie in filter(None, cookies):
                self.cookiejar.clear(domain=".tiktok.com", path="/", name=cookie)
        return _dictionary(data.get("webapp.user-detail"))

    def _profile_page(self, name: str) -> str:
        page: str
        page, answer = self._download_webpage_handle(
            self._UPLOADER_URL_FORMAT % name,
            name,
            headers=self._generate_blockbuster_headers(),
            impersonate=True,
        )
        if re.match(r"https://[^/]+/login\b", answer.url):
            self.raise_login_required("TikTok is requiring login for access to this profile")
        return page

    def _download_json(self, *args: Any, **options: Any) -> Any:
        return _list_of(super()._download_json(*args, **options), self.facts)


class TikTokCollectionIE(PageIE, StockTikTokCollectionIE):
    """`yt_dlp.extractor.tiktok.TikTokCollectionIE` that fails when the list is refused."""

    def _download_json(self, *args: Any, **options: Any) -> Any:
        return _list_of(super()._download_json(*args, **options), self.facts)


def _post_count(info: dict[str, Any]) -> int | None:
    """Return how many posts an account has; one of the two statistics counts in texts."""
    told = (_dictionary(info.get(name)).get("videoCount") for name in ("stats", "statsV2"))
    return next((count for each in told if (count := int_or_none(each)) is not None), None)


def _list_of(answer: Any, facts: dict[str, str]) -> dict[str, Any]:
    """Return the answer of a list, unless it is a refusal."""
    if not isinstance(answer, dict):
        raise ExtractorError("The list is no object")
    if not answer.get("itemList"):
        _refuse(answer, "List", facts)
    return answer


def _refuse(answer: dict[str, Any], what: str, facts: dict[str, str]) -> None:
    """Note and raise the status that stands for a refusal; 0 is none."""
    code = int_or_none(answer.get("statusCode") or answer.get("status_code"))
    if code:
        said = answer.get("statusMsg") or answer.get("status_msg") or ""
        facts |= {"status_code": str(code), "status_message": str(said)}
        raise ExtractorError(f"{what} not available, status code {code}", expected=True)


def _dictionary(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
