"""yt-dlp's extractor of Instagram, which also describes a post of one picture."""

from typing import Any

from yt_dlp.extractor.instagram import InstagramIE as StockInstagramIE


class InstagramIE(StockInstagramIE):
    """`yt_dlp.extractor.instagram.InstagramIE`, for posts without a video too.

    The stock extractor lists the pictures of a post with several files, and fails for a post of one
    picture: this one returns it as a playlist of one. The class has the stock name because yt-dlp
    derives ``IE_NAME`` and ``ie_key()`` from it.
    """

    def _extract_product(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        info: dict[str, Any] = super()._extract_product(*args, **kwargs)
        if info.get("_type") == "playlist" or info.get("formats"):
            return info
        return {"_type": "playlist", **info, "entries": [info]}
