"""An egress: proxy and trusted roots, shared by every outbound client."""

from pathlib import Path

import msgspec

DIRECT = "direct"
"""Name of the egress without a proxy."""


class Egress(msgspec.Struct, frozen=True, kw_only=True):
    """A route to the public internet.

    Attributes:
        name: in breakers, attempts and settings.
        proxy: URL of an HTTP CONNECT or SOCKS5 proxy, None for direct connections.
        ca_file: PEM file of roots trusted in addition to certifi's.
        ca_bundle: PEM file with certifi's and the additional roots, written by
            `agents.network.trust.write_ca_bundle`; for libcurl and requests.
    """

    name: str = DIRECT
    proxy: str | None = None
    ca_file: Path | None = None
    ca_bundle: Path | None = None
