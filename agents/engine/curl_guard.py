"""SSRF guard for libcurl, whose sockets Python's audit hook does not see.

libcurl calls an "open socket" callback with the resolved address of every socket that it is about
to connect: https://curl.se/libcurl/c/CURLOPT_OPENSOCKETFUNCTION.html
"""

import ctypes
import socket
from typing import Any

from curl_cffi import Curl
from curl_cffi._wrapper import ffi, lib  # type: ignore[import-not-found]  # compiled, no types
from curl_cffi.const import CurlOpt

from agents.engine.request_bounds import ConnectCheck

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
    """Opens libcurl's sockets, for permitted addresses only.

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
