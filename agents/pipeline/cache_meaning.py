"""What must be the same for a remembered answer to mean the same."""

import hashlib
from importlib.metadata import version
from urllib.parse import urlsplit

from agents.caching.row_codec import MEANING_BYTES
from schemas.codec import encode
from streams.settings import Settings


def meaning_of(settings: Settings) -> bytes:
    """Return the digest of the settings that decide what a page says, `MEANING_BYTES` long.

    That is the way out (other regions are told other things), the bound of a page, and the
    release of yt-dlp that reads it. Logins of proxies are no part of it.
    """
    egress = settings.egress
    proxies = {**egress.proxies, "": egress.proxy or ""}
    places = sorted(
        (name, urlsplit(url).hostname, urlsplit(url).port) for name, url in proxies.items()
    )
    facts = encode([places, settings.engine.page_bytes, version("yt-dlp")])
    return hashlib.sha256(facts).digest()[:MEANING_BYTES]


def shared_prefix(settings: Settings) -> str:
    """Return what all keys in a shared cache begin with: other releases have keys of their own."""
    return f"clipmill:{version('clipmill')}:{meaning_of(settings).hex()}:"
