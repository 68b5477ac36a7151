"""The HTTP client: guarded addresses, trusted roots, explicit proxy, no cookies of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver

from agents.network.egress import Egress
from agents.network.guard import AddressGuard, GuardedResolver
from agents.network.proxy import parse_proxy, parse_socks
from agents.network.socks import SocksConnector
from agents.network.trust import client_context

CONNECTIONS = 256
"""At once and in all, unless a stage may do more at a time: whoever waits for a connection is
taken for someone whom the server keeps waiting. There is no other limit for each host: nearly all
media of a platform come from one or two, and the tasks of a stage are bounded by its gate. A file
that follows another of its host takes that one's connection, through a proxy as well: 20 files
one after the other, one connection; 4 at a time, 4."""

KEEP_ALIVE_SECONDS = 15.0
"""Shorter than the idle timeouts of common servers (nginx 75 s, many CDNs 60 s or 30 s)."""

READ_BUFFER_BYTES = 1 << 18
"""Per connection; aiohttp holds up to twice as much. With half of it a download costs a third more
processor time, as reading stops and starts all the time; with twice as much no less, and 100 at
once hold 350 MB in place of 270."""

TIMEOUT = aiohttp.ClientTimeout(total=60.0, connect=10.0, sock_connect=10.0, sock_read=20.0)
"""For requests that bring none of their own, in seconds."""


@asynccontextmanager
async def open_session(
    egress: Egress, *, connections: int = CONNECTIONS, resolver: AbstractResolver | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    """Open an HTTP client for one way out; closes it at the end.

    Bodies are handed over as they came (no decompression), cookies are neither kept nor sent,
    and proxy settings of the environment are ignored. Redirects must be followed by
    `agents.network.redirects.open_response`, which checks every step.

    Args:
        egress: proxy and additional roots.
        connections: at once and in all; waiting for one counts as connecting.
        resolver: resolves names; default: the system's.

    Raises:
        ClipmillError: ``system.config``; the proxy's URL or the file of roots is unusable.
    """
    socks = parse_socks(egress.proxy)
    async with aiohttp.ClientSession(
        connector=_connector(egress, connections, resolver),
        proxy=None if socks else egress.proxy,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=TIMEOUT,
        read_bufsize=READ_BUFFER_BYTES,
    ) as session:
        yield session


def _connector(
    egress: Egress, connections: int, resolver: AbstractResolver | None
) -> aiohttp.TCPConnector:
    options: dict[str, Any] = {
        "ssl": client_context(egress),
        "limit": connections,
        "keepalive_timeout": KEEP_ALIVE_SECONDS,
    }
    socks = parse_socks(egress.proxy)
    if socks is not None:
        # It dials nothing but the proxy: what a guard has to see to otherwise.
        return SocksConnector(socks, **options)
    guard = AddressGuard(parse_proxy(egress.proxy))
    return aiohttp.TCPConnector(
        socket_factory=guard.open_socket, resolver=GuardedResolver(guard, resolver), **options
    )
