"""yt-dlp's TikTok extractor with faster decoding, photo posts and TikTok's own failure reasons."""

from typing import Any

from yt_dlp.extractor.tiktok import TikTokIE as StockTikTokIE
from yt_dlp.utils import ExtractorError

from agents.platforms.tiktok.base import PageIE
from agents.platforms.tiktok.page_images import read_images
from agents.platforms.tiktok.universal_data import DETAIL, read_post_data
from agents.platforms.tiktok.urls import post_id_of

EXTRACTOR = "agents.platforms.tiktok.page:TikTokIE"
"""Dotted name of `TikTokIE`, for `agents.engine.interface.EngineJob`."""


REDIRECTED_TO = "redirected_to"
"""Key of the result: id of the post to which TikTok redirected the request."""


class TikTokIE(PageIE, StockTikTokIE):
    """`yt_dlp.extractor.tiktok.TikTokIE` that records ``status_code`` and ``status_message``.

    The stock extractor reports every status 10204 as a blocked IP address, although the page's
    ``statusMsg`` distinguishes deleted, private and withheld posts. The class has the stock name
    because yt-dlp derives ``IE_NAME`` and ``ie_key()`` from it.

    The result of a photo post also has ``images`` (`read_images`). Only the post's part of the
    page's data is decoded, if the page has the known form.

    A page that describes another post than the requested one is a failure, unless TikTok itself
    redirected to that post: then the result has `REDIRECTED_TO`.
    """

    # The methods pass on any further arguments that the engine's version of yt-dlp has.

    def _get_universal_data(self, webpage: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        data: dict[str, Any] | None = read_post_data(webpage)
        if data is None:
            data = super()._get_universal_data(webpage, *args, **kwargs)
        self._record_status(data.get(DETAIL))
        return data

    def _parse_aweme_video_web(
        self, aweme_detail: Any, webpage_url: str, video_id: str, *args: Any, **kwargs: Any
    ) -> Any:
        redirect = self._check_id(aweme_detail, video_id)
        info = super()._parse_aweme_video_web(aweme_detail, webpage_url, video_id, *args, **kwargs)
        _add_song_duration(info, aweme_detail)
        images = read_images(aweme_detail)
        if not images:
            self._check_withheld(aweme_detail, info.get("formats"))
        return {**info, **({"images": images} if images else {}), **redirect}

    def _check_id(self, item: dict[str, Any], requested: str) -> dict[str, str]:
        """Return the result's entry for a redirect, empty for the requested post.

        Raises:
            ExtractorError: the page describes another post.
        """
        page_id = str(item.get("id") or requested)
        if page_id == requested:
            return {}
        if page_id == post_id_of(self.page_url):
            return {REDIRECTED_TO: page_id}
        self.facts["page_id"] = page_id
        raise ExtractorError("The page describes another post")

    def _check_withheld(self, item: dict[str, Any], formats: Any) -> None:
        """Reject a shop or ad post whose page has audio only.

        Raises:
            ExtractorError: the page withholds the video.
        """
        kinds = [name for name, keys in _WITHHELD if any(_is_set(item.get(key)) for key in keys)]
        if kinds and formats is not None and all(_is_audio(each) for each in formats):
            self.facts["withheld"] = kinds[0]
            raise ExtractorError("The page has no video of a shop or ad post", expected=True)

    def _record_status(self, detail: Any) -> None:
        if not isinstance(detail, dict):
            return
        for fact, key in (("status_code", "statusCode"), ("status_message", "statusMsg")):
            if detail.get(key) is not None:
                self.facts[fact] = str(detail[key])


_WITHHELD = (("shop", ("isECVideo", "isEcVideo")), ("ad", ("isAd",)))
"""Flags of posts whose video TikTok withholds from the page and shows in its app only."""


def _is_set(flag: Any) -> bool:
    return flag is True or (isinstance(flag, int | str) and str(flag) in {"1", "true"})


def _is_audio(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("vcodec") == "none"


def _add_song_duration(info: dict[str, Any], item: Any) -> None:
    """Add the duration of the song to its format, which yt-dlp omits."""
    music = item.get("music") if isinstance(item, dict) else None
    seconds = music.get("duration") if isinstance(music, dict) else None
    for each in info.get("formats") or ():
        if each.get("vcodec") == "none":
            each["duration"] = seconds
