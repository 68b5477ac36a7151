"""The address of the egress proxy, as the guard and the clients need it."""

import msgspec
from yarl import URL

from schemas.errors import ClipmillError, ErrorCode

SOCKS = "socks5h"
"""SOCKS5 (RFC 1928) with names that the proxy resolves; ``socks5`` has the client resolve them."""

SOCKS_PORT = 1080
"""Of a URL without one; RFC 1928 names it."""

SCHEMES = ("http", "https", SOCKS)


class ProxyAddress(msgspec.Struct, frozen=True):
    """Where the proxy listens. ``host`` is a name or an IP address, lower case."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class SocksProxy(msgspec.Struct, frozen=True):
    """A SOCKS5 proxy, and the login of its URL, if it has one."""

    address: ProxyAddress
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        """Return where it listens, without the login."""
        return f"<SOCKS5 proxy {self.address}>"


def parse_proxy(proxy: str | None) -> ProxyAddress | None:
    """Return where the proxy of that URL listens, None for direct connections.

    Raises:
        ClipmillError: ``system.config``; it is no URL of an HTTP or SOCKS5 proxy. The message does
            not repeat the URL, which may hold a password.
    """
    return None if proxy is None else _parse(proxy)[1]


def parse_socks(proxy: str | None) -> SocksProxy | None:
    """Return the SOCKS5 proxy of that URL, None when it is another one.

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
