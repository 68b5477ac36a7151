"""Connections of aiohttp through a SOCKS5 proxy (RFC 1928), which resolves the names.

python-socks speaks with the proxy; the socket that it hands over is taken as aiohttp takes one of
its own, so that TLS, times and errors behind the proxy are those of a direct connection.
"""

import asyncio
import socket
import ssl
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from python_socks import ProxyConnectionError, ProxyError, ProxyType
from python_socks.async_.asyncio import Proxy

from agents.network.proxy import ProxyAddress, SocksProxy

NAME_BYTES_MAX = 255
"""Of a host in a SOCKS5 request, whose length is one byte (RFC 1928)."""

_DENIALS = frozenset({2, 7, 8})
"""Replies of RFC 1928 that no repetition changes: its rules, a command or kind of address that it
does not know."""

_EXPIRED = 6

_UNBOUNDED_SECONDS = 3_600.0
"""aiohttp's timeouts are far shorter; without a number python-socks takes 60 s."""


class SocksError(aiohttp.ClientError):
    """A SOCKS5 proxy did not make a connection.

    Attributes:
        reason: what it said; never a part of its URL.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SocksLoginError(SocksError):
    """It refuses the login, or wants one."""


class SocksDeniedError(SocksError):
    """It does not do what is asked, whoever asks again."""


class SocksExpiredError(SocksError):
    """The host did not answer it in time."""


class OtherProtocolError(SocksError):
    """It speaks something else."""


class SocksAwayError(aiohttp.ClientError):
    """It cannot be reached itself, or cannot be asked for a name.

    Attributes:
        host: of the proxy, or the name.
        os_error: why.
    """

    def __init__(self, host: str, os_error: BaseException) -> None:
        super().__init__(host)
        self.host = host
        self.os_error = os_error


class SocksConnector(aiohttp.TCPConnector):
    """A connector of aiohttp that dials one SOCKS5 proxy and nothing else.

    Args:
        proxy: to dial. It is asked for names, never for addresses that were resolved here.
        options: of `aiohttp.TCPConnector`, but for what resolves names and makes sockets.
    """

    def __init__(self, proxy: SocksProxy, **options: Any) -> None:
        super().__init__(resolver=_Unresolved(), use_dns_cache=False, **options)
        self._proxy = proxy

    async def _wrap_create_connection(
        self,
        *args: Any,
        req: Any,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
        **kwargs: Any,
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        for name in ("addr_infos", "client_error"):
            kwargs.pop(name, None)
        try:
            async with asyncio.timeout(timeout.sock_connect):
                connected = await self._connect_socket(req.url.raw_host, req.url.port)
                return await self._loop.create_connection(*args, **kwargs, sock=connected)
        except ssl.CertificateError as error:
            raise aiohttp.ClientConnectorCertificateError(req.connection_key, error) from error
        except ssl.SSLError as error:
            raise aiohttp.ClientConnectorSSLError(req.connection_key, error) from error

    async def _connect_socket(self, host: str, port: int) -> socket.socket:
        """Return a socket that leads to a host."""
        _check_name(host)
        address = self._proxy.address
        proxy = Proxy(
            ProxyType.SOCKS5,
            host=address.host,
            port=address.port,
            username=self._proxy.user,
            password=self._proxy.password,
            rdns=True,
        )
        try:
            return await proxy.connect(host, port, timeout=_UNBOUNDED_SECONDS)
        except ProxyConnectionError as error:
            raise _away(address, error) from None
        except ProxyError as error:
            raise _refusal(error) from None


class _Unresolved(AbstractResolver):
    """Leaves names as they are."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=host, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Do nothing."""


def _check_name(host: str) -> None:
    """Refuse a name that fits into no request.

    Raises:
        SocksAwayError: it is none.
    """
    try:
        fits = len(host.encode("idna")) <= NAME_BYTES_MAX
    except UnicodeError:
        fits = False
    if not fits:
        raise SocksAwayError(host, socket.gaierror(socket.EAI_NONAME, "it is no name"))


def _away(address: ProxyAddress, error: ProxyConnectionError) -> SocksAwayError:
    return SocksAwayError(address.host, error.__cause__ or error)


def _refusal(error: ProxyError) -> SocksError:
    # Only replies have a number; of what comes before them the library tells in words.
    said = str(error)
    if error.error_code is not None:
        if error.error_code in _DENIALS:
            return SocksDeniedError(said)
        return SocksExpiredError(said) if error.error_code == _EXPIRED else SocksError(said)
    if "uthentication" in said:
        return SocksLoginError(said)
    return OtherProtocolError(said) if "version" in said else SocksError(said)
