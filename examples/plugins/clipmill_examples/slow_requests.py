"""A plug-in with hooks: logs every network attempt that took long."""

import logging

from agents.plugins import PluginRequest, outcome_of

SLOW_SECONDS = 5.0

_log = logging.getLogger(__name__)


class SlowRequests:
    """Hooks are called on the event loop, and must not block."""

    def on_request_complete(self, request: PluginRequest, seconds: float) -> None:
        """Log a slow success."""
        self._report(request, "ok", seconds)

    def on_request_error(
        self, request: PluginRequest, error: BaseException, seconds: float
    ) -> None:
        """Log a slow failure."""
        self._report(request, outcome_of(error), seconds)

    def _report(self, request: PluginRequest, outcome: str, seconds: float) -> None:
        if seconds >= SLOW_SECONDS:
            _log.warning(
                "%s %s of %s took %.1f s: %s",
                *(request.platform, request.operation, request.subject, seconds, outcome),
            )
