"""An aiohttp connector through a SOCKS5 proxy (RFC 1928) with DNS on the proxy.

python-socks does the handshake; aiohttp uses its socket like one of its own, so TLS, timeouts and
errors behind the proxy are those of a direct connection.
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

from agents.network.egress import ProxyAddress, SocksProxy

NAME_BYTES_MAX = 255
"""Limit of a host name in a SOCKS5 request, whose length field is one byte (RFC 1928)."""

_DENIALS = frozenset({2, 7, 8})
"""Replies of RFC 1928 that are not worth a retry: denied by ruleset, unsupported command or address
type."""

_TTL_EXPIRED = 6

_UNBOUNDED_SECONDS = 3_600.0
"""Effectively none: aiohttp's timeouts are far shorter; the default of python-socks is 60 s."""


class SocksError(aiohttp.ClientError):
    """The proxy did not establish a connection.

    Attributes:
        reason: of the proxy; never a part of its URL.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SocksLoginError(SocksError):
    """The proxy rejects the login, or requires one."""


class SocksDeniedError(SocksError):
    """The proxy denies the request permanently."""


class SocksTimeoutError(SocksError):
    """The host did not answer the proxy in time."""


class SocksProtocolError(SocksError):
    """The peer is no SOCKS5 proxy."""


class SocksUnreachableError(aiohttp.ClientError):
    """The proxy is unreachable, or a host name is invalid in a request to it.

    Attributes:
        host: of the proxy, or the invalid name.
        os_error: the cause.
    """

    def __init__(self, host: str, os_error: BaseException) -> None:
        super().__init__(host)
        self.host = host
        self.os_error = os_error


class SocksConnector(aiohttp.TCPConnector):
    """A connector of aiohttp that connects to one SOCKS5 proxy and nothing else.

    Args:
        proxy: receives host names, never addresses that were resolved here.
        options: of `aiohttp.TCPConnector`, except resolver and socket factory.
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
        """Return a socket connected to a host through the proxy."""
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
            raise _unreachable(address, error) from None
        except ProxyError as error:
            raise _from_proxy_error(error) from None


class _Unresolved(AbstractResolver):
    """A resolver that returns names unresolved."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=host, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Do nothing."""


def _check_name(host: str) -> None:
    """Reject a name that no request can hold.

    Raises:
        SocksUnreachableError: it is too long or invalid.
    """
    try:
        fits = len(host.encode("idna")) <= NAME_BYTES_MAX
    except UnicodeError:
        fits = False
    if not fits:
        raise SocksUnreachableError(host, socket.gaierror(socket.EAI_NONAME, "it is not a name"))


def _unreachable(address: ProxyAddress, error: ProxyConnectionError) -> SocksUnreachableError:
    return SocksUnreachableError(address.host, error.__cause__ or error)


def _from_proxy_error(error: ProxyError) -> SocksError:
    # Only replies have an error code; failures of the handshake have nothing but a text.
    reason = str(error)
    if error.error_code is not None:
        if error.error_code in _DENIALS:
            return SocksDeniedError(reason)
        if error.error_code == _TTL_EXPIRED:
            return SocksTimeoutError(reason)
        return SocksError(reason)
    if "uthentication" in reason:
        return SocksLoginError(reason)
    return SocksProtocolError(reason) if "version" in reason else SocksError(reason)
