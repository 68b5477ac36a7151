"""Request handlers of an engine process: libcurl where it is available, and requests."""

import functools
import importlib.metadata
from collections.abc import Callable
from typing import Any

from yt_dlp.version import __version__ as yt_dlp_version

from agents.engine.request_bounds import Bounds, Deadline
from agents.engine.requests_handler import GuardedRequestsRH
from schemas.video import EngineVersions

try:
    from agents.engine.curl_handler import GuardedCurlRH
except ImportError:
    # yt-dlp rejects versions of curl_cffi that it does not know; the health page reports it.
    IMPERSONATION = False
    _HANDLERS: tuple[type, ...] = (GuardedRequestsRH,)
else:
    IMPERSONATION = bool(GuardedCurlRH.supported_targets)
    _HANDLERS = (GuardedCurlRH, GuardedRequestsRH)


def guarded_handlers(bounds: Bounds, deadline: Deadline) -> list[Callable[..., Any]]:
    """Return the factories of the handlers, to be called by yt-dlp.

    Excludes its urllib handler, which accepts ``data:`` and ``ftp:`` URLs.
    """
    return [functools.partial(handler, bounds=bounds, deadline=deadline) for handler in _HANDLERS]


def engine_versions() -> EngineVersions:
    """Return the installed versions; ``missing`` for a library that is not installed."""
    return EngineVersions(yt_dlp=yt_dlp_version, curl_cffi=_installed_version("curl-cffi"))


def _installed_version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
