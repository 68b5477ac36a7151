"""yt-dlp's TikTok extractor, with the page's own words on why there is no video."""

from typing import Any

from yt_dlp.extractor.tiktok import TikTokIE as StockTikTokIE

EXTRACTOR = "agents.platforms.tiktok.page:TikTokIE"
"""Its dotted name, for `agents.engine.interface.EngineJob`."""


class TikTokIE(StockTikTokIE):
    """`yt_dlp.extractor.tiktok.TikTokIE` that notes ``status_code`` and ``status_message``.

    The stock extractor calls every status 10204 a blocked IP address, although the page's
    ``statusMsg`` tells deleted, private and withheld posts apart. The class has the stock name
    because yt-dlp derives ``IE_NAME`` and ``ie_key()`` from it.

    Attributes:
        facts: what the page said; see `agents.engine.extraction`.
    """

    facts: dict[str, str]

    def __init__(self, downloader: Any = None) -> None:
        super().__init__(downloader)
        self.facts = {}

    def _get_universal_data(self, webpage: str, display_id: str) -> dict[str, Any]:
        data: dict[str, Any] = super()._get_universal_data(webpage, display_id)
        self._note(data.get("webapp.video-detail"))
        return data

    def _note(self, detail: Any) -> None:
        if not isinstance(detail, dict):
            return
        for fact, key in (("status_code", "statusCode"), ("status_message", "statusMsg")):
            if detail.get(key) is not None:
                self.facts[fact] = str(detail[key])
