"""SSRF guard: permits connections to public addresses and the configured proxy only.

The check applies to the resolved address at connect time, so neither a DNS answer (DNS rebinding)
nor a redirect leads a client into the private network.
"""

import errno
import ipaddress
import socket
import sys
from collections.abc import Callable
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

from agents.network.egress import ProxyAddress, parse_proxy

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
        # The same text for every address: aiohappyeyeballs keeps the class of the error only
        # when all addresses of a name failed with the same text.
        super().__init__(errno.EACCES, "its address is not public")


def is_public(address: str) -> bool:
    """Return whether it is a public unicast IP address; False for anything else.

    IPv6 addresses with an embedded IPv4 address (mapped, 6to4, NAT64) are checked by that one.
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
    """The ``socket_factory`` of aiohttp's connector, for permitted addresses only.

    Args:
        proxy: the only address that may be private.
    """

    def __init__(self, proxy: ProxyAddress | None) -> None:
        self._proxy = proxy
        self._proxy_hosts = {proxy.host} if proxy else set()

    def open_socket(self, info: AddressInfo) -> socket.socket:
        """Return an unconnected socket.

        Raises:
            AddressRefusedError: the address is neither public nor the proxy's.
        """
        family, kind, protocol, _, address = info
        if not self._permits(*address[:2]):
            raise AddressRefusedError
        return socket.socket(family, kind, protocol)

    def record_resolution(self, host: str, addresses: list[ResolveResult]) -> None:
        """Record the addresses of a name if it is the proxy's."""
        if self._proxy is not None and host.lower() == self._proxy.host:
            self._proxy_hosts |= {result["host"] for result in addresses}

    def _permits(self, host: str, port: int) -> bool:
        if is_public(host):
            return True
        return self._proxy is not None and port == self._proxy.port and host in self._proxy_hosts


class GuardedResolver(AbstractResolver):
    """Wraps a resolver and reports the addresses of the proxy to the guard."""

    def __init__(self, guard: AddressGuard, resolver: AbstractResolver | None = None) -> None:
        self._guard = guard
        self._resolver = resolver or DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = await self._resolver.resolve(host, port, family)
        self._guard.record_resolution(host, addresses)
        return addresses

    async def close(self) -> None:
        await self._resolver.close()


def install_connect_guard(*proxies: str | None) -> None:
    """Restrict every Python socket of this process to public addresses and the proxies.

    For processes that run third-party code, such as an extraction engine's. An audit hook, so it
    cannot be undone, and connections of C libraries such as libcurl bypass it. Unix sockets are
    permitted.

    Args:
        proxies: URLs of the proxies in use, None for direct connections.

    Raises:
        ClipmillError: ``system.config``; a proxy URL is invalid.
    """
    permits = connect_check(*map(parse_proxy, proxies))

    def on_event(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and not permits(*arguments):
            raise AddressRefusedError

    sys.addaudithook(on_event)


def connect_check(*proxies: ProxyAddress | None) -> Callable[[socket.socket, Any], bool]:
    """Return the predicate of `install_connect_guard`: may a socket connect to an address?"""
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
