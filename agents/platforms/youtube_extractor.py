"""yt-dlp's extractor of YouTube, and its solver of challenges in the engine's sandbox."""

from typing import Any

from yt_dlp.extractor.youtube import YoutubeIE as StockYoutubeIE
from yt_dlp.extractor.youtube.jsc._builtin.ejs import EJSBaseJCP
from yt_dlp.extractor.youtube.jsc.provider import JsChallengeProviderError, register_provider
from yt_dlp.extractor.youtube.pot._provider import BuiltinIEContentProvider
from yt_dlp.utils import ExtractorError

from agents.engine.javascript import JavaScript, JavaScriptError

PLAYERS_MAX = 4
"""Players in the memory of a process, 2 to 3 MB each. YouTube serves one or two at a time."""


class PlayerCache(dict[str, str]):
    """Code of players, shared by the threads of a process, which would load one each."""

    def __setitem__(self, key: str, code: str) -> None:
        while len(self) >= PLAYERS_MAX and key not in self:
            self.pop(next(iter(self)), None)
        super().__setitem__(key, code)


_players = PlayerCache()


@register_provider
class SandboxJCP(EJSBaseJCP, BuiltinIEContentProvider):
    """yt-dlp's solver, beside its own providers of solved challenges, which are not enabled.

    Those wait for their runtime without a timeout, and start it with all rights of the process.
    """

    PROVIDER_NAME = "sandbox"
    JS_RUNTIME_NAME = "deno"

    def is_available(self) -> bool:
        return self._available and self._javascript().support.is_available

    def _run_js_runtime(self, stdin: str, /) -> str:
        try:
            return self._javascript().run(stdin)
        except JavaScriptError as error:
            raise JsChallengeProviderError(str(error), expected=True) from error

    def _javascript(self) -> JavaScript:
        found: JavaScript = self.ie._downloader.javascript  # noqa: SLF001 - as yt-dlp's own do
        return found


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
