"""Allow-list of media URLs: https on port 443, and a host of the platform. Pure."""

import re
from functools import lru_cache

from yarl import URL

from schemas.errors import ClipmillError, ErrorCode

MAX_CHARACTERS = 8_192
"""Limit of a URL. Signed links have about 1,000; servers commonly reject more than 8 KiB."""

PORT = 443
"""No platform serves media on another port; a page that names one may aim at an unrelated service
on a host of the platform."""

_VISIBLE_ASCII = re.compile(r"[!-~]+")


def parse_media_url(text: str, hosts: tuple[str, ...]) -> URL:
    """Parse and check a media URL. It keeps its encoding: signed URLs must be sent unchanged.

    Args:
        text: the URL.
        hosts: permitted host suffixes, with or without a leading dot; ``.tiktokcdn.com`` permits
            ``tiktokcdn.com`` and all its subdomains.

    Raises:
        ClipmillError: ``platform.changed``; it is no https URL, or its host or port is not
            permitted.
    """
    url = _parse(text)
    if url is None:
        raise ClipmillError(
            ErrorCode.PLATFORM_CHANGED, "the platform gave a media link that is not an https URL"
        )
    # As it is in the URL: decoded, an internationalized name is not what a setting can hold.
    host = (url.raw_host or "").lower()
    if not is_permitted(host, hosts):
        raise ClipmillError(
            ErrorCode.PLATFORM_CHANGED,
            f"the media link leads to {host[:255]}, which is not a host of the platform",
            host=host[:255],
        )
    if url.port != PORT:
        raise ClipmillError(
            ErrorCode.PLATFORM_CHANGED,
            f"the media link leads to port {url.port} of {host[:255]}; media is served on {PORT}",
        )
    return url


@lru_cache(maxsize=1_024)
def is_permitted(host: str, hosts: tuple[str, ...]) -> bool:
    """Return whether the host is one of the suffixes, or a subdomain of one.

    Cached: a page names the same few hosts some thirty times.
    """
    name = host.lower()
    bare = (suffix.lower().lstrip(".") for suffix in hosts)
    return any(name == suffix or name.endswith(f".{suffix}") for suffix in bare if suffix)


def _parse(text: str) -> URL | None:
    if len(text) > MAX_CHARACTERS or not _VISIBLE_ASCII.fullmatch(text):
        return None
    try:
        url = URL(text, encoded=True)
        # yarl parses the parts lazily: the attributes may raise, too.
        is_valid = (
            url.scheme == "https" and url.host and url.port and not (url.user or url.password)
        )
    except ValueError:
        return None
    return url if is_valid else None
