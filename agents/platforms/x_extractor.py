"""yt-dlp's extractor of X, which also tells a post that does not exist from one without a video."""

from typing import Any

from yt_dlp.extractor.twitter import TwitterIE as StockTwitterIE
from yt_dlp.utils import ExtractorError

GONE = "The post does not exist"

_PARTS_OF_ANY_POST = ("user", "full_text", "text", "created_at")


class TwitterIE(StockTwitterIE):
    """`yt_dlp.extractor.twitter.TwitterIE` that fails when the API has no such post.

    The class has the stock name because yt-dlp derives ``IE_NAME`` and ``ie_key()`` from it.
    """

    def _extract_status(self, twid: str, *args: Any) -> Any:
        status = super()._extract_status(twid, *args)
        if not any(status.get(name) for name in _PARTS_OF_ANY_POST):
            raise ExtractorError(GONE, expected=True)
        return status
