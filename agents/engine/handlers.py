"""Request handlers of an engine process: libcurl where it is available, and requests.

Both limit time and size. Addresses of requests are filtered by the audit hook of
`agents.network.guard`, because Python opens its sockets; for libcurl see `curl_handler`.
"""

import functools
import importlib.metadata
import traceback
from collections.abc import Callable
from typing import Any

from yt_dlp.networking._requests import RequestsRH
from yt_dlp.networking.exceptions import ProxyError
from yt_dlp.socks import Socks5Error
from yt_dlp.version import __version__ as yt_dlp_version

from agents.engine.request_bounds import REDIRECTS_MAX, Bounds, Deadline, PageTooLargeError
from schemas.video import EngineVersions

LOGIN_REFUSED = "the SOCKS proxy refused the login"

_CHUNK_BYTES = 64 * 1024


class GuardedRequestsRH(RequestsRH):
    """yt-dlp's handler on requests, with a total time, a size limit, and the engine's CA roots."""

    def __init__(self, *, bounds: Bounds, deadline: Deadline, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._bounds = bounds
        self._deadline = deadline

    def _make_sslcontext(self, legacy_ssl_support: bool | None = None) -> Any:
        context = super()._make_sslcontext(legacy_ssl_support=legacy_ssl_support)
        context.load_verify_locations(cafile=self._bounds.ca_file)
        return context

    def _create_instance(self, cookiejar: Any, legacy_ssl_support: bool | None = None) -> Any:
        session = super()._create_instance(cookiejar, legacy_ssl_support)
        session.max_redirects = REDIRECTS_MAX
        return session

    def _calculate_timeout(self, request: Any) -> float:
        timeout = min(super()._calculate_timeout(request), self._bounds.request_seconds)
        return self._deadline.allow(timeout)

    def _send(self, request: Any) -> Any:
        try:
            response = super()._send(request)
        except ProxyError as error:
            raise _specific_error(error) from error.cause
        except EOFError as error:
            # Only yt-dlp's SOCKS client raises it, when the proxy closes the connection.
            raise ProxyError(cause=error) from error
        response.fp = _BoundedBody(response.fp, self._bounds, self._deadline)
        return response


def _specific_error(error: ProxyError) -> ProxyError:
    # yt-dlp raises the same error number for a rejected login and for all other failures.
    link: BaseException | None = error.cause
    while link is not None and not isinstance(link, Socks5Error):
        link = link.__cause__ or link.__context__
    if link is not None and link.errno == Socks5Error.ERR_GENERAL_FAILURE:
        frames = traceback.extract_tb(link.__traceback__)
        if any(frame.name == "_socks5_auth" for frame in frames):
            return ProxyError(LOGIN_REFUSED, cause=error.cause)
    return error


class _BoundedBody:
    """A response body that raises beyond the size limit or the deadline."""

    def __init__(self, body: Any, bounds: Bounds, deadline: Deadline) -> None:
        self._body = body
        self._bytes_left = bounds.page_bytes_max
        self._deadline = deadline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def read(self, amount: int | None = None, *, decode_content: bool = True) -> bytes:
        self._deadline.allow(0)
        size = min(amount or _CHUNK_BYTES, _CHUNK_BYTES)
        chunk: bytes = self._body.read1(size, decode_content=decode_content)
        self._bytes_left -= len(chunk)
        if self._bytes_left < 0:
            raise PageTooLargeError("the response is larger than a page may be")
        return chunk


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
