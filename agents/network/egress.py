"""An egress, for every outbound client: its proxy, and the root certificates that it trusts."""

import os
import ssl
import tempfile
from pathlib import Path

import certifi
import msgspec
from yarl import URL

from schemas.errors import ClipmillError, ErrorCode

DIRECT = "direct"
"""Name of the egress without a proxy."""

SOCKS = "socks5h"
"""SOCKS5 (RFC 1928) with DNS on the proxy; ``socks5`` would resolve names on the client."""

SOCKS_PORT = 1080
"""Default port (RFC 1928)."""

SCHEMES = ("http", "https", SOCKS)

_PEM_MARKER = b"-----BEGIN CERTIFICATE-----"


class Egress(msgspec.Struct, frozen=True, kw_only=True):
    """A route to the public internet.

    Attributes:
        name: in breakers, attempts and settings.
        proxy: URL of an HTTP CONNECT or SOCKS5 proxy, None for direct connections.
        ca_file: PEM file of roots trusted in addition to certifi's.
        ca_bundle: PEM file with certifi's and the additional roots, written by
            `agents.network.egress.write_ca_bundle`; for libcurl and requests.
    """

    name: str = DIRECT
    proxy: str | None = None
    ca_file: Path | None = None
    ca_bundle: Path | None = None


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
    return None if proxy is None else _parse_proxy_url(proxy)[1]


def parse_socks(proxy: str | None) -> SocksProxy | None:
    """Return the proxy of a SOCKS5 URL, None for other URLs.

    Raises:
        ClipmillError: as `parse_proxy`.
    """
    if proxy is None:
        return None
    url, address = _parse_proxy_url(proxy)
    return SocksProxy(address, url.user, url.password) if url.scheme == SOCKS else None


def _parse_proxy_url(proxy: str) -> tuple[URL, ProxyAddress]:
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


def client_context(egress: Egress) -> ssl.SSLContext:
    """Return a verifying TLS context: certifi's roots and those of ``egress.ca_file``.

    Takes about 10 ms: create it once per client, not per connection.

    Raises:
        ClipmillError: ``system.config``; the file cannot be read or holds no certificate.
    """
    context = ssl.create_default_context(cafile=certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    if egress.ca_file is not None:
        _load_roots(context, egress.ca_file)
    return context


def write_ca_bundle(egress_ca_file: Path, target: Path) -> Path:
    """Write certifi's roots and the additional ones to one PEM file, atomically.

    libcurl and requests accept a single file, which replaces their own roots.

    Raises:
        ClipmillError: ``system.config``; a file cannot be read or written, or holds no
            certificate.
    """
    _load_roots(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), egress_ca_file)
    default_roots = Path(certifi.where()).read_bytes()
    try:
        _write_atomically(target, default_roots.rstrip() + b"\n\n" + egress_ca_file.read_bytes())
    except OSError as error:
        raise ClipmillError(
            ErrorCode.SYSTEM_CONFIG,
            f"cannot write the bundle of trusted roots to {target}: {error.strerror};"
            " make its directory writable",
        ) from None
    return target


def _load_roots(context: ssl.SSLContext, ca_file: Path) -> None:
    try:
        if _PEM_MARKER not in ca_file.read_bytes():
            raise ssl.SSLError(0, "it holds no PEM certificate")
        context.load_verify_locations(cafile=ca_file)
    except OSError as error:
        raise ClipmillError(
            ErrorCode.SYSTEM_CONFIG,
            f"cannot trust the roots in {ca_file}: {error.strerror or error};"
            " name a readable PEM file with certificates, or remove the setting",
        ) from None


def _write_atomically(target: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink()
        raise
