"""yt-dlp's extractor of YouTube, whose failures keep the HTTP errors that caused them."""

from typing import Any

from yt_dlp.extractor.youtube import YoutubeIE as StockYoutubeIE
from yt_dlp.utils import ExtractorError


class YoutubeIE(StockYoutubeIE):
    """`yt_dlp.extractor.youtube.YoutubeIE` that reports why its API did not answer.

    The stock extractor tries several clients of YouTube and drops their errors: a rate limit ends
    as "Failed to extract any player response". The class has the stock name because yt-dlp derives
    ``IE_NAME`` and ``ie_key()`` from it.
    """

    _client_error: ExtractorError | None = None

    def _extract_player_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._extract_player_response(*args, **kwargs)
        except ExtractorError as error:
            self._client_error = error
            raise

    def _real_extract(self, url: str) -> Any:
        self._client_error = None
        try:
            return super()._real_extract(url)
        except ExtractorError as error:
            if error.cause is None and self._client_error is not None:
                error.cause = self._client_error
            raise
