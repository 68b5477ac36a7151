"""yt-dlp's plain handler, bounded. Python's own sockets are guarded by an audit hook."""

from typing import Any

from yt_dlp.networking._requests import RequestsRH

from agents.engine.requesting import REDIRECTS_MAX, Bounds, Deadline, PageTooLargeError

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
        response = super()._send(request)
        response.fp = _BoundedBody(response.fp, self._bounds, self._deadline)
        return response


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
