"""yt-dlp's plain handler, bounded. Python's own sockets are guarded by an audit hook."""

import traceback
from typing import Any

from yt_dlp.networking._requests import RequestsRH
from yt_dlp.networking.exceptions import ProxyError
from yt_dlp.socks import Socks5Error

from agents.engine.request_bounds import REDIRECTS_MAX, Bounds, Deadline, PageTooLargeError

LOGIN_REFUSED = "the SOCKS proxy refused the login"

_PIECE_BYTES = 64 * 1024


class GuardedRequestsRH(RequestsRH):
    """`RequestsRH` with a total time, a page cap, and the engine's own roots."""

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
        asked = min(super()._calculate_timeout(request), self._bounds.request_seconds)
        return self._deadline.allow(asked)

    def _send(self, request: Any) -> Any:
        try:
            response = super()._send(request)
        except ProxyError as error:
            raise _precise(error) from error.cause
        except EOFError as error:
            # Only yt-dlp's SOCKS client raises it: the proxy hung up.
            raise ProxyError(cause=error) from error
        response.fp = _BoundedBody(response.fp, self._bounds, self._deadline)
        return response


def _precise(error: ProxyError) -> ProxyError:
    """Return the error of a proxy; yt-dlp has one number for a refused login and for all else."""
    link: BaseException | None = error.cause
    while link is not None and not isinstance(link, Socks5Error):
        link = link.__cause__ or link.__context__
    if link is not None and link.errno == Socks5Error.ERR_GENERAL_FAILURE:
        places = traceback.extract_tb(link.__traceback__)
        if any(place.name == "_socks5_auth" for place in places):
            return ProxyError(LOGIN_REFUSED, cause=error.cause)
    return error


class _BoundedBody:
    """A response's body that ends with an error when it is too long or takes too long."""

    def __init__(self, body: Any, bounds: Bounds, deadline: Deadline) -> None:
        self._body = body
        self._bytes_left = bounds.page_bytes_max
        self._deadline = deadline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def read(self, amount: int | None = None, *, decode_content: bool = True) -> bytes:
        self._deadline.allow(0)
        wanted = min(amount or _PIECE_BYTES, _PIECE_BYTES)
        piece: bytes = self._body.read1(wanted, decode_content=decode_content)
        self._bytes_left -= len(piece)
        if self._bytes_left < 0:
            raise PageTooLargeError("the response is larger than a page may be")
        return piece
