"""Which media URLs may be opened at all: https on port 443, and a host of the platform."""

import re
from functools import lru_cache

from yarl import URL

from schemas.errors import ClipmillError, ErrorCode

MAX_CHARACTERS = 8_192
"""Signed links have about 1,000; servers commonly refuse more than 8 KiB."""

PORT = 443
"""No platform serves media on another port; a page that names one has somebody dial a service
that happens to listen on a host of the platform."""

_VISIBLE_ASCII = re.compile(r"[!-~]+")


def parse_media_url(text: str, hosts: tuple[str, ...]) -> URL:
    """Return the URL, to be sent exactly as it is written (it is signed).

    Args:
        text: the URL.
        hosts: suffixes of permitted hosts, with or without a leading dot; ``.tiktokcdn.com``
            permits itself without the dot and every host under it.

    Raises:
        ClipmillError: ``platform.changed``; it is no https URL, or its host or port is not
            permitted.
    """
    url = _parse(text)
    if url is None:
        raise ClipmillError(
            ErrorCode.PLATFORM_CHANGED, "the platform gave a media link that is no https URL"
        )
    host = url.host or ""
    if not is_permitted(host, hosts):
        raise ClipmillError(
            ErrorCode.PLATFORM_CHANGED,
            f"the media link leads to {host[:255]}, which is not a host of the platform;"
            " if it is one, add it to the platform's media_hosts in the settings",
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
    """Return whether the host is one of the suffixes, or under one of them.

    A page names the same few hosts some thirty times, so answers are remembered.
    """
    name = host.lower()
    bare = (suffix.lower().lstrip(".") for suffix in hosts)
    return any(name == suffix or name.endswith(f".{suffix}") for suffix in bare if suffix)


def _parse(text: str) -> URL | None:
    if len(text) > MAX_CHARACTERS or not _VISIBLE_ASCII.fullmatch(text):
        return None
    try:
        url = URL(text, encoded=True)
        # yarl takes the parts apart, and may refuse them, only when they are asked for.
        sound = url.scheme == "https" and url.host and url.port and not (url.user or url.password)
    except ValueError:
        return None
    return url if sound else None
