"""Opens a media URL; each redirect is checked against the allow-list before the connection."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from agents.network.addresses import parse_media_url
from agents.network.errors import map_errors
from schemas.errors import ClipmillError, ErrorCode

REDIRECTS = frozenset({301, 302, 303, 307, 308})


@asynccontextmanager
async def open_response(
    session: aiohttp.ClientSession,
    address: str,
    *,
    hosts: tuple[str, ...],
    redirects: int,
    headers: Callable[[URL], Mapping[str, str]],
    timeouts: aiohttp.ClientTimeout,
) -> AsyncIterator[aiohttp.ClientResponse]:
    """GET the URL; yields the first response that is not a redirect, its body unread.

    Errors of reads in the block are mapped, too.

    Args:
        session: HTTP client.
        address: the URL.
        hosts: permitted host suffixes, for every hop.
        redirects: maximum to follow.
        headers: of a request; called for every hop, so that no header or cookie for one host
            reaches another.
        timeouts: of every hop.

    Raises:
        ClipmillError: ``platform.changed`` for a forbidden host or a plain-text link,
            ``network.*`` otherwise.
    """
    url = parse_media_url(address, hosts)
    for _ in range(redirects + 1):
        with map_errors(str(url.host)):
            async with session.get(
                url, headers=headers(url), timeout=timeouts, allow_redirects=False
            ) as response:
                if response.status not in REDIRECTS:
                    yield response
                    return
                url = _target(url, response.headers.get("Location", ""), hosts)
    raise ClipmillError(
        ErrorCode.NETWORK_SERVER, f"{url.host} redirects more than {redirects} times"
    )


def _target(url: URL, location: str, hosts: tuple[str, ...]) -> URL:
    try:
        joined = str(url.join(URL(location, encoded=True)))
    except ValueError:
        joined = ""
    return parse_media_url(joined, hosts)
