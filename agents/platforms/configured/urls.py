"""The one form of a page's URL, and the id of what is on it, for sites nothing is known of.

What the extractors call the id stands in regular expressions of yt-dlp, which is not imported where
links are read: the engine may run another release than this process has, patterns from outside
would meet hostile input here without a limit of time, and every process would pay 16 MB and 0.2 s.
So a page's id is a digest of its URL. Two links that differ in more than their writing are two
videos, which costs a second download at worst; one video is never taken for another.
"""

import hashlib
import re
from collections.abc import Collection
from operator import itemgetter
from urllib.parse import quote, quote_plus, unquote_plus

from agents.platforms.urls import Link, shorten
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoRef

TRACKING = frozenset({"fbclid", "gclid", "igshid", "mc_cid", "mc_eid", "msclkid"})
TRACKING_PREFIX = "utm_"
"""Parameters that tell where a visitor came from, and change nothing of the page."""

SHOWN_CHARACTERS = 32
DIGEST_CHARACTERS = 20
"""80 bits: among a billion pages two have the same digest with a chance of 4 in 10 million."""

_PATH_SAFE = "/%:@!$&'()*+,;=~-._"
"""What a path may hold as it is (RFC 3986, section 3.3), and what is encoded already."""

_QUERY_SAFE = _PATH_SAFE + "?"
"""The same of a query (section 3.4)."""


def read_page_link(link: Link, name: str, hosts: Collection[str]) -> VideoRef:
    """Return the video that is behind a link to a page of the site.

    Raises:
        ClipmillError: ``content.unsupported``; it is the site's home page.
    """
    path = quote(link.path, safe=_PATH_SAFE)
    if not path.strip("/"):
        raise refusal(link, "this is the home page")
    query = _telling(link.query)
    return VideoRef(
        platform=name,
        id=_id_of(_bare(link.host, hosts), path, query),
        url=f"https://{link.host}{path}{'?' if query else ''}{query}",
    )


def refusal(link: Link, reason: str) -> ClipmillError:
    """Return the error of a link that is no page of a video."""
    message = f"{shorten(link.url)} is not supported: {reason}."
    return ClipmillError(ErrorCode.CONTENT_UNSUPPORTED, message, field="url", reason=reason)


def _telling(query: str) -> str:
    """Return the parameters that may tell which page is meant, in one writing.

    They are sorted by their names. Those of one name keep their order, which sites may go by.
    """
    encoded = quote(query, safe=_QUERY_SAFE)
    pairs = (part.partition("=") for part in encoded.split("&") if part)
    parameters = ((_rewritten(name), equals, _rewritten(value)) for name, equals, value in pairs)
    telling = (each for each in parameters if not _is_tracking(each[0].lower()))
    return "&".join("".join(each) for each in sorted(telling, key=itemgetter(0)))


def _rewritten(text: str) -> str:
    """Return the text with what has to be encoded encoded, and nothing else.

    By latin-1, which has a letter for every byte: sites need not write UTF-8.
    """
    return quote_plus(unquote_plus(text, encoding="latin-1"), encoding="latin-1")


def _is_tracking(name: str) -> bool:
    return name in TRACKING or name.startswith(TRACKING_PREFIX)


def _bare(host: str, hosts: Collection[str]) -> str:
    """Return the host without ``www.`` when the site is known by both names."""
    bare = host.removeprefix("www.")
    return bare if bare in hosts else host


def _id_of(host: str, path: str, query: str) -> str:
    page = f"{host}{path.rstrip('/')}?{query}"
    digest = hashlib.sha256(page.encode()).hexdigest()[:DIGEST_CHARACTERS]
    last = path.rstrip("/").rpartition("/")[2]
    # For people, who look for it among files; the digest alone tells pages apart.
    shown = re.sub(r"[^A-Za-z0-9_-]+", "-", last)[:SHOWN_CHARACTERS].strip("-_")
    return f"{shown}-{digest}" if shown else digest
