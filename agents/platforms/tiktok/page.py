"""yt-dlp's TikTok extractor: quicker, with the pictures, and with the page's own words."""

from typing import Any

from yt_dlp.extractor.tiktok import TikTokIE as StockTikTokIE

from agents.platforms.tiktok.page_images import read_images
from agents.platforms.tiktok.universal_data import DETAIL, read_post_data

EXTRACTOR = "agents.platforms.tiktok.page:TikTokIE"
"""Its dotted name, for `agents.engine.interface.EngineJob`."""


class TikTokIE(StockTikTokIE):
    """`yt_dlp.extractor.tiktok.TikTokIE` that notes ``status_code`` and ``status_message``.

    The stock extractor calls every status 10204 a blocked IP address, although the page's
    ``statusMsg`` tells deleted, private and withheld posts apart. The class has the stock name
    because yt-dlp derives ``IE_NAME`` and ``ie_key()`` from it.

    A photo post's result has ``images`` besides (`read_images`). Of the page's data only the
    post's part is decoded, when the page has its usual form.

    Attributes:
        facts: what the page said; see `agents.engine.extraction`.
    """

    facts: dict[str, str]

    def __init__(self, downloader: Any = None) -> None:
        super().__init__(downloader)
        self.facts = {}

    # Whatever further arguments the engine's version of yt-dlp has are passed on.

    def _get_universal_data(self, webpage: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        data: dict[str, Any] | None = read_post_data(webpage)
        if data is None:
            data = super()._get_universal_data(webpage, *args, **kwargs)
        self._note(data.get(DETAIL))
        return data

    def _parse_aweme_video_web(self, aweme_detail: Any, *args: Any, **kwargs: Any) -> Any:
        info = super()._parse_aweme_video_web(aweme_detail, *args, **kwargs)
        images = read_images(aweme_detail)
        return {**info, "images": images} if images else info

    def _note(self, detail: Any) -> None:
        if not isinstance(detail, dict):
            return
        for fact, key in (("status_code", "statusCode"), ("status_message", "statusMsg")):
            if detail.get(key) is not None:
                self.facts[fact] = str(detail[key])
