"""Solves the challenges of YouTube's player with yt-dlp's solver, in the engine's sandbox."""

from yt_dlp.extractor.youtube.jsc._builtin.ejs import EJSBaseJCP
from yt_dlp.extractor.youtube.jsc.provider import JsChallengeProviderError, register_provider
from yt_dlp.extractor.youtube.pot._provider import BuiltinIEContentProvider

from agents.engine.javascript import JavaScript, JavaScriptError


@register_provider
class SandboxJCP(EJSBaseJCP, BuiltinIEContentProvider):
    """A provider of solved challenges beside yt-dlp's own ones, which the engine does not enable.

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
