"""Parses proxy URLs, for the guard and the clients. Pure."""

import msgspec
from yarl import URL

from schemas.errors import ClipmillError, ErrorCode

SOCKS = "socks5h"
"""SOCKS5 (RFC 1928) with DNS on the proxy; ``socks5`` would resolve names on the client."""

SOCKS_PORT = 1080
"""Default port (RFC 1928)."""

SCHEMES = ("http", "https", SOCKS)


class ProxyAddress(msgspec.Struct, frozen=True):
    """Address of a proxy. ``host`` is a name or an IP address, lower case."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class SocksProxy(msgspec.Struct, frozen=True):
    """A SOCKS5 proxy, with the login of its URL if it has one."""

    address: ProxyAddress
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        """Return the address, no login."""
        return f"<SOCKS5 proxy {self.address}>"


def parse_proxy(proxy: str | None) -> ProxyAddress | None:
    """Return the address of a proxy URL, None for direct connections.

    Raises:
        ClipmillError: ``system.config``; it is no URL of an HTTP or SOCKS5 proxy. The message
            omits the URL, which may hold a password.
    """
    return None if proxy is None else _parse(proxy)[1]


def parse_socks(proxy: str | None) -> SocksProxy | None:
    """Return the proxy of a SOCKS5 URL, None for other URLs.

    Raises:
        ClipmillError: as `parse_proxy`.
    """
    if proxy is None:
        return None
    url, address = _parse(proxy)
    return SocksProxy(address, url.user, url.password) if url.scheme == SOCKS else None


def _parse(proxy: str) -> tuple[URL, ProxyAddress]:
    try:
        url = URL(proxy)
        host, port = url.host, url.port
    except ValueError:
        raise _unusable() from None
    if port is None and url.scheme == SOCKS:
        port = SOCKS_PORT
    if not host or not port or url.scheme not in SCHEMES:
        raise _unusable()
    return url, ProxyAddress(host.lower(), port)


def _unusable() -> ClipmillError:
    return ClipmillError(
        ErrorCode.SYSTEM_CONFIG,
        "the egress proxy is not a URL like http://proxy.example:3128 or"
        " socks5h://proxy.example:1080; correct the setting",
    )
