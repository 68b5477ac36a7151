"""yt-dlp's extractor of Douyin, with Douyin's own failure reasons and pictures of photo posts."""

import json
from collections.abc import Mapping
from typing import Any

from yt_dlp.extractor.tiktok import DouyinIE as StockDouyinIE
from yt_dlp.utils import ExtractorError

IMAGES_MAX = 100


class DouyinIE(StockDouyinIE):
    """`yt_dlp.extractor.tiktok.DouyinIE` that raises the reason why a post is missing.

    The stock extractor asks for fresh cookies after every failure, be it a deleted post or a rate
    limit. The class has the stock name because yt-dlp derives ``IE_NAME`` and ``ie_key()`` from it.

    Attributes:
        facts: ``filter_reason`` of a post that Douyin withholds.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.facts: dict[str, str] = {}

    def _download_json(self, *args: Any, **kwargs: Any) -> Any:
        try:
            answer = super()._download_json(*args, **kwargs | {"fatal": True})
        except ExtractorError as error:
            # Without valid cookies the answer is empty; yt-dlp then asks for some.
            if isinstance(error.cause, json.JSONDecodeError):
                return None
            raise
        reason = _get(answer, "filter_detail", "filter_reason")
        if reason and not _get(answer, "aweme_detail"):
            self.facts["filter_reason"] = str(reason)
            raise ExtractorError("Douyin withholds the post", expected=True)
        return answer

    def _parse_aweme_video_app(self, aweme_detail: Any, *args: Any) -> dict[str, Any]:
        info: dict[str, Any] = super()._parse_aweme_video_app(aweme_detail, *args)
        playable = [each for each in info["formats"] if "UNPLAYABLE" not in each["format_note"]]
        images = _get(aweme_detail, "images")
        if not isinstance(images, list) or not images:
            return {**info, "formats": playable}
        entries = [_picture(each) for each in images[:IMAGES_MAX]]
        return {**info, "formats": [], "_type": "playlist", "entries": entries}


def _picture(image: Any) -> dict[str, Any]:
    urls = _get(image, "url_list")
    size = {"width": _get(image, "width"), "height": _get(image, "height")}
    listed = urls[:1] if isinstance(urls, list) else []
    return {"thumbnails": [{"url": url, **size} for url in listed]}


def _get(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
