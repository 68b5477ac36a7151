"""The address guard for libcurl, which no hook of Python sees.

libcurl asks an "open socket" callback for every socket that it wants to connect, and tells it
the resolved address: https://curl.se/libcurl/c/CURLOPT_OPENSOCKETFUNCTION.html
"""

import ctypes
import socket
from typing import Any

from curl_cffi import Curl
from curl_cffi._wrapper import ffi, lib  # type: ignore[import-not-found]  # compiled, no types
from curl_cffi.const import CurlOpt

from agents.engine.request_bounds import Permits

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
    """Makes libcurl's sockets, for permitted addresses only.

    Attributes:
        refused: an address was refused since this was last set to False.
    """

    def __init__(self, permits: Permits) -> None:
        self.refused = False
        self._permits = permits
        self._callback = _OpenSocket(self._open)

    def attach(self, curl: Curl) -> None:
        """Guard the next request of this handle."""
        address = ctypes.cast(self._callback, ctypes.c_void_p).value
        pointer = ffi.cast("void *", address)
        if lib._curl_easy_setopt(curl._curl, CurlOpt.OPENSOCKETFUNCTION, pointer):  # noqa: SLF001
            raise OSError("libcurl does not take the address guard")

    def _open(self, _context: Any, _purpose: int, pointer: Any) -> int:
        try:
            return self._opened(pointer)
        except Exception:  # noqa: BLE001 - libcurl can take no exception, only "no socket"
            self.refused = True
            return _BAD_SOCKET

    def _opened(self, pointer: Any) -> int:
        wanted = pointer.contents
        # Only `length` bytes of the address exist.
        data = ctypes.string_at(ctypes.addressof(wanted) + _HEADER_BYTES, min(wanted.length, 128))
        with socket.socket(wanted.family, wanted.kind, wanted.protocol) as opened:
            if self._permits(opened, parse_socket_address(wanted.family, data)):
                return opened.detach()
        self.refused = True
        return _BAD_SOCKET


def parse_socket_address(family: int, data: bytes) -> tuple[str, int]:
    """Return host and port of a C ``sockaddr_in`` or ``sockaddr_in6``.

    Raises:
        ValueError: it is neither.
    """
    port = int.from_bytes(data[2:4], "big")
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, data[4:8]), port
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, data[8:24]), port
    raise ValueError(f"address family {family} is not one of the internet")
