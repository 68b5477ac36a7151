"""The address of the egress proxy, as the guard and the clients need it."""

import msgspec
from yarl import URL

from schemas.errors import ClipmillError, ErrorCode

SCHEMES = ("http", "https")


class ProxyAddress(msgspec.Struct, frozen=True):
    """Where the proxy listens. ``host`` is a name or an IP address, lower case."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_proxy(proxy: str | None) -> ProxyAddress | None:
    """Return where the proxy of that URL listens, None for direct connections.

    Raises:
        ClipmillError: ``system.config``; it is no URL of an HTTP proxy. The message does not
            repeat the URL, which may hold a password.
    """
    if proxy is None:
        return None
    try:
        url = URL(proxy)
        host, port = url.host, url.port
    except ValueError:
        host = port = None
    if not host or not port or url.scheme not in SCHEMES:
        raise ClipmillError(
            ErrorCode.SYSTEM_CONFIG,
            "the egress proxy is not a URL like http://proxy.example:3128; correct the setting",
        )
    return ProxyAddress(host.lower(), port)
