"""The way out: which proxy, which trusted roots. One value for every client that dials out."""

from pathlib import Path

import msgspec

DIRECT = "direct"
"""Name of the way out that leads through no proxy."""


class Egress(msgspec.Struct, frozen=True, kw_only=True):
    """One way out of the house.

    Attributes:
        name: what breakers, attempts and settings call it.
        proxy: URL of an HTTP CONNECT or SOCKS5 proxy, None for direct connections.
        ca_file: PEM file of roots trusted in addition to the usual ones (certifi's).
        ca_bundle: PEM file with the usual and the additional roots together, made by
            `agents.network.trust.write_ca_bundle`; what libcurl and requests are given.
    """

    name: str = DIRECT
    proxy: str | None = None
    ca_file: Path | None = None
    ca_bundle: Path | None = None
