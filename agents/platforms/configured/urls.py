"""Canonical URL and video id of a page, for sites whose link forms are not known.

The id that an extractor uses is defined by regular expressions of yt-dlp, which is not imported
where links are parsed: the engine may run another release than this process has, third-party
patterns would run on hostile input without a timeout, and every process would pay 16 MB and 0.2 s.
A page's id is therefore a digest of its canonical URL. Two links that differ in more than escapes,
parameter order and tracking are two videos, which costs a second download at worst; one video is
never taken for another.
"""

import hashlib
import re
from collections.abc import Collection
from operator import itemgetter
from urllib.parse import quote, quote_plus, unquote_plus

from agents.platforms.urls import Link, shorten
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoRef

TRACKING_PARAMETERS = frozenset({"fbclid", "gclid", "igshid", "mc_cid", "mc_eid", "msclkid"})
TRACKING_PREFIX = "utm_"
"""Parameters that record where a visitor came from, without effect on the page."""

SLUG_CHARACTERS = 32
DIGEST_CHARACTERS = 20
"""80 bits: the chance of a collision among a billion pages is 4 in 10 million."""

_PATH_SAFE = "/%:@!$&'()*+,;=~-._"
"""Characters that a path may hold unescaped (RFC 3986, section 3.3), and the ``%`` of escapes."""

_QUERY_SAFE = _PATH_SAFE + "?"
"""The same for a query (section 3.4)."""


def read_page_link(link: Link, name: str, hosts: Collection[str]) -> VideoRef:
    """Return the video of a link to a page of the site.

    Raises:
        ClipmillError: ``content.unsupported``; the page is the site's home page.
    """
    path = quote(link.path, safe=_PATH_SAFE)
    if not path.strip("/"):
        raise unsupported_link(link, "this is the home page")
    query = _canonical_query(link.query)
    return VideoRef(
        platform=name,
        id=_page_id(_without_www(link.host, hosts), path, query),
        url=f"https://{link.host}{path}{'?' if query else ''}{query}",
    )


def unsupported_link(link: Link, reason: str) -> ClipmillError:
    """Return the ``content.unsupported`` error of a link."""
    message = f"{shorten(link.url)} is not supported: {reason}."
    return ClipmillError(ErrorCode.CONTENT_UNSUPPORTED, message, field="url", reason=reason)


def _canonical_query(query: str) -> str:
    """Return a query without tracking parameters, escaped uniformly and sorted by name.

    Parameters of one name keep their order, which may matter to the site.
    """
    encoded = quote(query, safe=_QUERY_SAFE)
    pairs = (part.partition("=") for part in encoded.split("&") if part)
    parameters = ((_reencoded(name), equals, _reencoded(value)) for name, equals, value in pairs)
    kept = (each for each in parameters if not _is_tracking(each[0].lower()))
    return "&".join("".join(each) for each in sorted(kept, key=itemgetter(0)))


def _reencoded(text: str) -> str:
    """Return a text with the minimal escapes.

    Latin-1 maps every byte to one character: sites need not use UTF-8.
    """
    return quote_plus(unquote_plus(text, encoding="latin-1"), encoding="latin-1")


def _is_tracking(name: str) -> bool:
    return name in TRACKING_PARAMETERS or name.startswith(TRACKING_PREFIX)


def _without_www(host: str, hosts: Collection[str]) -> str:
    """Return the host without ``www.`` if the site has that host too."""
    bare = host.removeprefix("www.")
    return bare if bare in hosts else host


def _page_id(host: str, path: str, query: str) -> str:
    page = f"{host}{path.rstrip('/')}?{query}"
    digest = hashlib.sha256(page.encode()).hexdigest()[:DIGEST_CHARACTERS]
    last = path.rstrip("/").rpartition("/")[2]
    # The slug is for people who browse files; the digest alone identifies the page.
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", last)[:SLUG_CHARACTERS].strip("-_")
    return f"{slug}-{digest}" if slug else digest
