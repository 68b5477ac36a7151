"""The SOCKS5 proxy (RFC 1928, RFC 1929) of the same site."""

import asyncio
import contextlib
import struct
from dataclasses import dataclass
from typing import Self

from tests.standin.delivery import until_hangup
from tests.standin.proxy import HTTPS_PORT, Proxy, reset_tls
from tests.standin.scenarios import ORDINARY
from tests.standin.site import is_standin_host

USER, PASSWORD = "anna", "s3cret/@:"
"""The only valid login, with characters that a URL must encode."""

VERSION = 5
LOGIN_VERSION = 1
CONNECT = 1
ANONYMOUS, LOGIN, NO_METHOD = 0, 2, 255
IPV4, NAME, IPV6 = 1, 3, 4
GRANTED, DENIED, UNREACHABLE, NO_COMMAND = 0, 2, 4, 7


class HangUpError(OSError):
    """The client was rejected, or speaks another protocol."""


@dataclass(frozen=True)
class Destination:
    """The requested destination."""

    command: int
    kind: int
    host: str
    port: int

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> Self:
        version, command, _, kind = await reader.readexactly(4)
        if version != VERSION:
            raise HangUpError
        sizes = {IPV4: 4, IPV6: 16}
        size = sizes[kind] if kind in sizes else (await reader.readexactly(1))[0]
        raw = await reader.readexactly(size)
        (port,) = struct.unpack("!H", await reader.readexactly(2))
        return cls(command, kind, raw.decode("latin-1"), port)


@dataclass(frozen=True)
class SocksProxy:
    """Handles the connections of a SOCKS port; accepts anonymous clients and `USER`.

    Attributes:
        proxy: Serves the tunnels, and holds the switches.
    """

    proxy: Proxy

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client connection.

        Raises:
            OSError: The client disconnected.
        """
        with contextlib.suppress(asyncio.IncompleteReadError, HangUpError):
            await self._negotiate(reader, writer)
            await self._connect(await Destination.read(reader), reader, writer)

    async def _negotiate(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version, count = await reader.readexactly(2)
        if version != VERSION:
            raise HangUpError
        offered = await reader.readexactly(count)
        case = self.proxy.switches.use("socks", egress=self.proxy.egress)
        if case.scenario.name == "socks.close":
            raise HangUpError
        if case.scenario.name == "socks.http":
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            raise HangUpError
        if case.scenario.name == "socks.methods":
            writer.write(bytes([VERSION, NO_METHOD]))
            raise HangUpError
        method = LOGIN if LOGIN in offered else ANONYMOUS
        writer.write(bytes([VERSION, method]))
        if method == LOGIN and not await self._authenticate(reader, writer):
            self.proxy.counters.count("refused", "", 407, self.proxy.egress)
            raise HangUpError

    async def _authenticate(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        _, size = await reader.readexactly(2)
        user = await reader.readexactly(size)
        password = await reader.readexactly((await reader.readexactly(1))[0])
        is_right = (user, password) == (USER.encode(), PASSWORD.encode())
        writer.write(bytes([LOGIN_VERSION, 0 if is_right else 1]))
        return is_right

    async def _connect(
        self, destination: Destination, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        code = self._reply(destination)
        if code:
            writer.write(_reply(code))
            return
        host = destination.host.lower()
        case = self.proxy.switches.use("connect", host, egress=self.proxy.egress)
        if case.scenario.name == "connect.502":
            writer.write(_reply(UNREACHABLE))
        elif case.scenario.name == "connect.hang":
            await until_hangup(reader)
        else:
            writer.write(_reply(GRANTED))
            broken = case is not ORDINARY or host.startswith("tls-reset.")
            serve = reset_tls(reader, writer) if broken else self.proxy.tunnel(host, reader, writer)
            await serve

    def _reply(self, destination: Destination) -> int:
        """The reply code of a request; 0 grants it."""
        if destination.command != CONNECT:
            return NO_COMMAND
        case = self.proxy.switches.last("socks", egress=self.proxy.egress)
        if case.scenario.name == "socks.reply":
            return case.value
        if (
            destination.kind != NAME
            or not is_standin_host(destination.host.lower())
            or str(destination.port) != HTTPS_PORT
        ):
            self.proxy.counters.refused_hosts[f"{destination.host}:{destination.port}"] += 1
            self.proxy.counters.count("refused", "", 403, self.proxy.egress)
            return DENIED
        return GRANTED


def _reply(code: int) -> bytes:
    return bytes([VERSION, code, 0, IPV4, 0, 0, 0, 0, 0, 0])
