"""Refuses connections to anything but the public internet and the configured proxy.

Names are judged by the address that is dialled, at the moment of dialling, so that no DNS answer
and no redirect leads a client into the house.
"""

import errno
import ipaddress
import socket
import sys
from collections.abc import Callable
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

from agents.network.proxy import ProxyAddress, parse_proxy

AddressInfo = tuple[
    int | socket.AddressFamily,
    int | socket.SocketKind,
    int,
    str,
    tuple[Any, ...],
]
"""An entry of `socket.getaddrinfo`: family, type, protocol, canonical name, address."""

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # RFC 4291, section 2.4
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052, section 2.1
_IPV4_BITS = 0xFFFFFFFF


class AddressRefusedError(OSError):
    """The address is not public."""

    def __init__(self) -> None:
        # One text for every address: aiohappyeyeballs keeps the class of the error only when
        # all the addresses of a name failed with the same text.
        super().__init__(errno.EACCES, "its address is not public")


def is_public(address: str) -> bool:
    """Return whether it is a public unicast IP address.

    IPv6 addresses that carry an IPv4 address (mapped, 6to4, NAT64) are judged by that one too.
    Anything that is no IP address is not public.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return _is_public_4(parsed)
    embedded = _embedded(parsed)
    if embedded is not None:
        return _is_public_4(embedded)
    return parsed.is_global and parsed in _GLOBAL_UNICAST


def _is_public_4(address: ipaddress.IPv4Address) -> bool:
    return address.is_global and not address.is_multicast


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & _IPV4_BITS)
    return address.ipv4_mapped or address.sixtofour


class AddressGuard:
    """Makes sockets for aiohttp's connector, for permitted addresses only.

    Args:
        proxy: the one address that may be private.
    """

    def __init__(self, proxy: ProxyAddress | None) -> None:
        self._proxy = proxy
        self._proxy_hosts = {proxy.host} if proxy else set()

    def open_socket(self, info: AddressInfo) -> socket.socket:
        """Return an unconnected socket; aiohttp's ``socket_factory``.

        Raises:
            AddressRefusedError: the address is neither public nor the proxy's.
        """
        family, kind, protocol, _, address = info
        if not self._permits(*address[:2]):
            raise AddressRefusedError
        return socket.socket(family, kind, protocol)

    def learn(self, host: str, addresses: list[ResolveResult]) -> None:
        """Note what a name was resolved to, in case it is the proxy's."""
        if self._proxy is not None and host.lower() == self._proxy.host:
            self._proxy_hosts |= {result["host"] for result in addresses}

    def _permits(self, host: str, port: int) -> bool:
        if is_public(host):
            return True
        return self._proxy is not None and port == self._proxy.port and host in self._proxy_hosts


class GuardedResolver(AbstractResolver):
    """Resolves as another resolver does, and tells the guard where the proxy is."""

    def __init__(self, guard: AddressGuard, resolver: AbstractResolver | None = None) -> None:
        self._guard = guard
        self._resolver = resolver or DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name."""
        addresses = await self._resolver.resolve(host, port, family)
        self._guard.learn(host, addresses)
        return addresses

    async def close(self) -> None:
        """Close the resolver behind."""
        await self._resolver.close()


def install_connect_guard(*proxies: str | None) -> None:
    """Make every Python socket of this process refuse what is neither public nor a proxy.

    For processes that run foreign code, such as an extraction engine's. It cannot be undone
    (an audit hook) and does not see connections made by C libraries such as libcurl. Unix
    sockets are left alone.

    Args:
        proxies: URLs of the proxies in use, None for direct connections.

    Raises:
        ClipmillError: ``system.config``; a proxy's URL is none.
    """
    permits = connect_check(*map(parse_proxy, proxies))

    def on_event(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and not permits(*arguments):
            raise AddressRefusedError

    sys.addaudithook(on_event)


def connect_check(*proxies: ProxyAddress | None) -> Callable[[socket.socket, Any], bool]:
    """Return the decision of `install_connect_guard`: may this socket connect to there?"""
    known = [proxy for proxy in proxies if proxy is not None]

    def permits(connecting: socket.socket, address: Any) -> bool:
        if connecting.family == socket.AF_UNIX:
            return True
        if connecting.family not in {socket.AF_INET, socket.AF_INET6}:
            return False
        host, port = address[:2]
        return is_public(host) or any(_is_proxy(proxy, host, port) for proxy in known)

    return permits


def _is_proxy(proxy: ProxyAddress, host: str, port: int) -> bool:
    if port != proxy.port:
        return False
    if host == proxy.host:
        return True
    try:
        known = socket.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return host in {entry[4][0] for entry in known}
