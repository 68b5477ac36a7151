"""yt-dlp's TikTok extractor: quicker, with the pictures, and with the page's own words."""

from typing import Any

from yt_dlp.extractor.tiktok import TikTokIE as StockTikTokIE
from yt_dlp.utils import ExtractorError

from agents.platforms.tiktok.base import PageIE
from agents.platforms.tiktok.page_images import read_images
from agents.platforms.tiktok.universal_data import DETAIL, read_post_data
from agents.platforms.tiktok.urls import post_id_of

EXTRACTOR = "agents.platforms.tiktok.page:TikTokIE"
"""Its dotted name, for `agents.engine.interface.EngineJob`."""


REDIRECTED_TO = "redirected_to"
"""Key of the result: the id of the post that TikTok leads to in place of the one asked for."""


class TikTokIE(PageIE, StockTikTokIE):
    """`yt_dlp.extractor.tiktok.TikTokIE` that notes ``status_code`` and ``status_message``.

    The stock extractor calls every status 10204 a blocked IP address, although the page's
    ``statusMsg`` tells deleted, private and withheld posts apart. The class has the stock name
    because yt-dlp derives ``IE_NAME`` and ``ie_key()`` from it.

    A photo post's result has ``images`` besides (`read_images`). Of the page's data only the
    post's part is decoded, when the page has its usual form.

    A page that describes another post than the one asked for is a failure, unless TikTok itself
    redirected to that post: then the result has `REDIRECTED_TO`.
    """

    # Whatever further arguments the engine's version of yt-dlp has are passed on.

    def _get_universal_data(self, webpage: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        data: dict[str, Any] | None = read_post_data(webpage)
        if data is None:
            data = super()._get_universal_data(webpage, *args, **kwargs)
        self._note(data.get(DETAIL))
        return data

    def _parse_aweme_video_web(
        self, aweme_detail: Any, webpage_url: str, video_id: str, *args: Any, **kwargs: Any
    ) -> Any:
        moved = self._checked_id(aweme_detail, video_id)
        info = super()._parse_aweme_video_web(aweme_detail, webpage_url, video_id, *args, **kwargs)
        _note_length_of_song(info, aweme_detail)
        images = read_images(aweme_detail)
        if not images:
            self._check_withheld(aweme_detail, info.get("formats"))
        return {**info, **({"images": images} if images else {}), **moved}

    def _checked_id(self, item: dict[str, Any], asked: str) -> dict[str, str]:
        """Return what the result says of an id other than the one asked for.

        Raises:
            ExtractorError: the page describes another post.
        """
        told = str(item.get("id") or asked)
        if told == asked:
            return {}
        if told == post_id_of(self.page_url):
            return {REDIRECTED_TO: told}
        self.facts["page_id"] = told
        raise ExtractorError("The page describes another post")

    def _check_withheld(self, item: dict[str, Any], formats: Any) -> None:
        """Raise when a shop or ad post has no picture in its page.

        Raises:
            ExtractorError: its video is withheld.
        """
        kinds = [name for name, keys in _WITHHELD if any(_is_set(item.get(key)) for key in keys)]
        if kinds and formats is not None and all(_is_sound(each) for each in formats):
            self.facts["withheld"] = kinds[0]
            raise ExtractorError("The page has no video of a shop or ad post", expected=True)

    def _note(self, detail: Any) -> None:
        if not isinstance(detail, dict):
            return
        for fact, key in (("status_code", "statusCode"), ("status_message", "statusMsg")):
            if detail.get(key) is not None:
                self.facts[fact] = str(detail[key])


_WITHHELD = (("shop", ("isECVideo", "isEcVideo")), ("ad", ("isAd",)))
"""Marks of posts whose video TikTok leaves out of their page, to be seen in its app only."""


def _is_set(mark: Any) -> bool:
    return mark is True or (isinstance(mark, int | str) and str(mark) in {"1", "true"})


def _is_sound(row: Any) -> bool:
    return isinstance(row, dict) and row.get("vcodec") == "none"


def _note_length_of_song(info: dict[str, Any], item: Any) -> None:
    """Add how long the song is to its format: yt-dlp leaves it out."""
    music = item.get("music") if isinstance(item, dict) else None
    seconds = music.get("duration") if isinstance(music, dict) else None
    for each in info.get("formats") or ():
        if each.get("vcodec") == "none":
            each["duration"] = seconds
