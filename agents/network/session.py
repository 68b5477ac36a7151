"""The HTTP client: SSRF guard, trusted roots, explicit proxy, no cookie jar."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver

from agents.network.egress import Egress, client_context, parse_proxy, parse_socks
from agents.network.guard import AddressGuard, GuardedResolver
from agents.network.socks import SocksConnector

CONNECTIONS = 256
"""Size of the whole connection pool, unless a stage runs more tasks: the wait for a free connection
counts as connect time, and would be reported as a timeout of the server. There is no limit per
host: nearly all media of a platform come from one or two, and the stage's gate bounds its tasks.
Connections are reused, through a proxy as well: 20 files one after the other take one connection,
4 at a time take 4."""

KEEP_ALIVE_SECONDS = 15.0
"""Idle timeout, shorter than those of common servers (nginx 75 s, many CDNs 60 s or 30 s)."""

READ_BUFFER_BYTES = 1 << 18
"""Read buffer per connection; aiohttp holds up to twice as much. With half of it a download costs a
third more processor time, because reading is paused and resumed all the time; with twice as much no
less, and 100 downloads hold 350 MB instead of 270."""

TIMEOUT = aiohttp.ClientTimeout(total=60.0, connect=10.0, sock_connect=10.0, sock_read=20.0)
"""Seconds, for requests without timeouts of their own."""


@asynccontextmanager
async def open_session(
    egress: Egress, *, connections: int = CONNECTIONS, resolver: AbstractResolver | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    """Open an HTTP client for one egress; it is closed at the end of the block.

    Bodies are not decompressed, cookies neither stored nor sent, and proxy settings of the
    environment ignored. Redirects must be followed with `agents.network.transfer.open_response`,
    which checks every hop.

    Args:
        egress: proxy and additional roots.
        connections: pool size; waiting for a connection counts as connect time.
        resolver: default: the system's.

    Raises:
        ClipmillError: ``system.config``; the proxy URL or the file of roots is unusable.
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
        # No guard: this connector connects to nothing but the proxy.
        return SocksConnector(socks, **options)
    guard = AddressGuard(parse_proxy(egress.proxy))
    return aiohttp.TCPConnector(
        socket_factory=guard.open_socket, resolver=GuardedResolver(guard, resolver), **options
    )
