"""yt-dlp's extractor of YouTube, whose failures keep the HTTP errors that caused them."""

from typing import Any

from yt_dlp.extractor.youtube import YoutubeIE as StockYoutubeIE
from yt_dlp.utils import ExtractorError

from agents.platforms.youtube import javascript  # noqa: F401 - registers the provider

PLAYERS_MAX = 4
"""Players in the memory of a process, 2 to 3 MB each. YouTube serves one or two at a time."""


class PlayerCache(dict[str, str]):
    """Code of players, shared by the threads of a process, which would load one each."""

    def __setitem__(self, key: str, code: str) -> None:
        while len(self) >= PLAYERS_MAX and key not in self:
            self.pop(next(iter(self)), None)
        super().__setitem__(key, code)


_players = PlayerCache()


class YoutubeIE(StockYoutubeIE):
    """`yt_dlp.extractor.youtube.YoutubeIE` that reports why its API did not answer.

    The stock extractor tries several clients of YouTube and drops their errors: a rate limit ends
    as "Failed to extract any player response". The class has the stock name because yt-dlp derives
    ``IE_NAME`` and ``ie_key()`` from it.
    """

    _client_error: ExtractorError | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._code_cache = _players
        self._player_cache: dict[tuple[Any, ...], Any] = {}

    def _extract_player_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._extract_player_response(*args, **kwargs)
        except ExtractorError as error:
            self._client_error = error
            raise

    def _real_extract(self, url: str) -> Any:
        self._client_error = None
        # Answers to challenges are for one job; the signature of a player is the same for all.
        self._player_cache = {
            key: value for key, value in self._player_cache.items() if key[0] != "youtube-n"
        }
        try:
            return super()._real_extract(url)
        except ExtractorError as error:
            if error.cause is None and self._client_error is not None:
                error.cause = self._client_error
            raise
