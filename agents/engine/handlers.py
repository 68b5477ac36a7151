"""The request handlers of an engine process: libcurl when it can be had, and requests."""

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
    # yt-dlp refuses versions of curl_cffi that it does not know; the health page tells.
    IMPERSONATION = False
    _CLASSES: tuple[type, ...] = (GuardedRequestsRH,)
else:
    IMPERSONATION = bool(GuardedCurlRH.supported_targets)
    _CLASSES = (GuardedCurlRH, GuardedRequestsRH)


def guarded_handlers(bounds: Bounds, deadline: Deadline) -> list[Callable[..., Any]]:
    """Return what makes the handlers, in the form that yt-dlp calls them.

    Its urllib handler is not among them: it takes ``data:`` and ``ftp:`` URLs.
    """
    return [functools.partial(kind, bounds=bounds, deadline=deadline) for kind in _CLASSES]


def engine_versions() -> EngineVersions:
    """Return the versions in use; ``missing`` for a library that is not installed."""
    return EngineVersions(yt_dlp=yt_dlp_version, curl_cffi=_version("curl-cffi"))


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
