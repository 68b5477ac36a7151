"""yt-dlp's browser-impersonating request handler (curl_cffi) with limits and the SSRF guard."""

import ctypes
import socket
from collections.abc import Iterator
from typing import Any

from curl_cffi import Curl
from curl_cffi._wrapper import ffi, lib  # type: ignore[import-not-found]  # compiled, no types
from curl_cffi.const import CurlECode, CurlOpt
from curl_cffi.requests import Response, Session
from curl_cffi.requests.exceptions import RequestException
from yt_dlp.networking._curlcffi import CurlCFFIRH
from yt_dlp.networking.exceptions import TransportError

from agents.engine.request_bounds import Bounds, ConnectCheck, Deadline, PageTooLargeError
from agents.network.guard import AddressRefusedError

_SCHEMES = b"http,https"

_BAD_SOCKET = -1  # CURL_SOCKET_BAD, curl/curl.h


class _SocketAddress(ctypes.Structure):
    # struct curl_sockaddr, curl/curl.h; `data` is a sockaddr of the length given before it.
    _fields_ = (
        ("family", ctypes.c_int),
        ("kind", ctypes.c_int),
        ("protocol", ctypes.c_int),
        ("length", ctypes.c_uint),
        ("data", ctypes.c_ubyte * 128),
    )


_OpenSocket = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_SocketAddress)
)

_HEADER_BYTES = _SocketAddress.data.offset


class CurlGuard:
    """SSRF guard for libcurl, whose sockets Python's audit hook does not see.

    libcurl calls an "open socket" callback with the resolved address of every socket that it is
    about to connect: https://curl.se/libcurl/c/CURLOPT_OPENSOCKETFUNCTION.html

    Attributes:
        refused: an address was rejected since the caller last reset this to False.
    """

    def __init__(self, permits: ConnectCheck) -> None:
        self.refused = False
        self._permits = permits
        self._callback = _OpenSocket(self._open)

    def attach(self, curl: Curl) -> None:
        """Install the callback for the next request of this handle."""
        address = ctypes.cast(self._callback, ctypes.c_void_p).value
        pointer = ffi.cast("void *", address)
        if lib._curl_easy_setopt(curl._curl, CurlOpt.OPENSOCKETFUNCTION, pointer):  # noqa: SLF001
            raise OSError("libcurl does not take the address guard")

    def _open(self, _context: Any, _purpose: int, pointer: Any) -> int:
        try:
            return self._open_permitted(pointer)
        except Exception:  # noqa: BLE001 - a C callback can only return "no socket"
            self.refused = True
            return _BAD_SOCKET

    def _open_permitted(self, pointer: Any) -> int:
        target = pointer.contents
        # libcurl allocates only `length` bytes of the address.
        data = ctypes.string_at(ctypes.addressof(target) + _HEADER_BYTES, min(target.length, 128))
        with socket.socket(target.family, target.kind, target.protocol) as connection:
            if self._permits(connection, parse_socket_address(target.family, data)):
                return connection.detach()
        self.refused = True
        return _BAD_SOCKET


def parse_socket_address(family: int, data: bytes) -> tuple[str, int]:
    """Return host and port of a C ``sockaddr_in`` or ``sockaddr_in6``.

    Raises:
        ValueError: another address family.
    """
    port = int.from_bytes(data[2:4], "big")
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, data[4:8]), port
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, data[8:24]), port
    raise ValueError(f"address family {family} is not one of the internet")


class GuardedCurlRH(CurlCFFIRH):
    """`CurlCFFIRH` without streaming: connections are reused, and timeouts are total times."""

    def __init__(self, *, bounds: Bounds, deadline: Deadline, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._bounds = bounds
        self._deadline = deadline
        self._guard = CurlGuard(bounds.permits)

    def _create_instance(self, cookiejar: Any = None) -> Any:
        return _BufferedSession(self._guard, self._bounds, cookiejar)

    def _calculate_timeout(self, request: Any) -> float:
        timeout = min(super()._calculate_timeout(request), self._bounds.request_seconds)
        return self._deadline.allow(timeout)

    def _send(self, request: Any) -> Any:
        self._guard.refused = False
        try:
            return super()._send(request)
        except TransportError as error:
            raise self._specific_error(error) from error.cause

    def _specific_error(self, error: Any) -> Any:
        if self._guard.refused:
            return TransportError(cause=AddressRefusedError())
        if getattr(error.cause, "code", None) == CurlECode.FILESIZE_EXCEEDED:
            return PageTooLargeError(cause=error.cause)
        return error

    def close(self) -> None:
        self._clear_instances()


class _BufferedSession:
    """Adapter of curl_cffi's session for yt-dlp that reads every response whole.

    A streamed response would use a copy of the handle, and so a new connection each time, and its
    timeout would limit idle time instead of total time.
    """

    def __init__(self, guard: CurlGuard, bounds: Bounds, cookies: Any) -> None:
        self._session: Session[Response] = Session(
            cookies=cookies, trust_env=False, curl_options=_options(bounds)
        )
        self._guard = guard

    @property
    def curl(self) -> Curl:
        """The handle; yt-dlp sets its proxy."""
        curl: Curl = self._session.curl
        return curl

    def close(self) -> None:
        self._session.close()

    def request(
        self, *, timeout: tuple[float, float], stream: bool, **options: Any
    ) -> "_BufferedResponse":
        """Send a request; `timeout[0]` is its total time, and `stream` is ignored.

        Raises:
            RequestException: libcurl's failure.
        """
        del stream
        # curl_cffi resets the options of the handle after each request.
        self._guard.attach(self.curl)
        try:
            return _BufferedResponse(self._session.request(**options, timeout=timeout[0]))
        except RequestException as error:
            partial = _BufferedResponse(error.response, error) if error.response else None
            error.response = partial
            if partial is not None and error.code == CurlECode.PARTIAL_FILE:
                return partial
            raise


class _BufferedResponse:
    """A response in memory, with the interface of the streamed one that yt-dlp reads.

    Args:
        response: complete, or truncated by the failure.
        failure: raised after the last byte, as a stream would raise it.
    """

    def __init__(self, response: Response, failure: RequestException | None = None) -> None:
        self._failure = failure
        self.content = response.content
        self.headers = response.headers
        self.url = response.url
        self.status_code = response.status_code
        self.reason = response.reason

    def iter_content(self) -> Iterator[bytes]:
        yield self.content
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Do nothing: the connection is in the pool again already."""


def _options(bounds: Bounds) -> dict[Any, Any]:
    # curl_cffi applies these last, so they override the environment and yt-dlp's options.
    return {
        CurlOpt.CAINFO: str(bounds.ca_file),
        CurlOpt.PROXY_CAINFO: str(bounds.ca_file),
        CurlOpt.MAXFILESIZE_LARGE: bounds.page_bytes_max,
        CurlOpt.PROTOCOLS_STR: _SCHEMES,
        CurlOpt.REDIR_PROTOCOLS_STR: _SCHEMES,
    }
