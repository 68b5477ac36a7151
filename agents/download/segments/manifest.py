"""Reads the manifest of a track, and checks every address in it before any is fetched."""

import asyncio
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from agents.download.segments.requests import TrackRequests
from agents.manifests.dash import parse_dash
from agents.manifests.hls import parse_hls
from agents.manifests.segments import Resource, TrackPart, parts_of
from agents.network.addresses import parse_media_url
from schemas.errors import ClipmillError, ErrorCode

BYTES_MAX = 8 * 2**20
"""The playlist of a film of eight hours with signed addresses has 5 MB."""


async def read_manifest(requests: TrackRequests) -> tuple[TrackPart, ...]:
    """Return the parts of a track.

    Raises:
        ClipmillError: the manifest cannot be fetched, see `agents.manifests`, or names a host
            that is not permitted.
    """
    try:
        document, url = await requests.read(requests.source.url, bytes_max=BYTES_MAX)
    except ClipmillError as error:
        if error.code is ErrorCode.REQUEST_TOO_LARGE:
            reason = f"it has more than {BYTES_MAX} bytes"
            message = f"the manifest of the video cannot be used: {reason}"
            raise ClipmillError(ErrorCode.PLATFORM_CHANGED, message, reason=reason) from None
        raise
    # Half a second of processor time for the longest ones.
    return await asyncio.to_thread(_parse, requests, document, url)


def _parse(requests: TrackRequests, document: bytes, url: str) -> tuple[TrackPart, ...]:
    source = requests.source
    if source.format.protocol == "dash":
        segments = parse_dash(document, url, source.representation or "")
    else:
        segments = parse_hls(document.decode("utf-8", "replace"), url)
    parts = parts_of(segments)
    _check_addresses((each for part in parts for each in part.resources), requests.hosts)
    return parts


def _check_addresses(resources: Iterable[Resource], hosts: tuple[str, ...]) -> None:
    """Check one address per host and port; each is checked again when it is requested."""
    origins: dict[str, str] = {}
    for url in _addresses(resources):
        origins.setdefault(urlsplit(url).netloc, url)
    for url in origins.values():
        parse_media_url(url, hosts)


def _addresses(resources: Iterable[Resource]) -> Iterator[str]:
    for each in resources:
        yield each.url
        if each.key is not None:
            yield each.key.url
