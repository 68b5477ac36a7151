"""Headers of a media request: the extractor's, filtered, and the matching cookies. Pure."""

import ipaddress
import re
from collections.abc import Iterable

from yarl import URL

from schemas.video import Cookie, MediaSource

FORWARDED = frozenset(
    {"accept", "accept-language", "origin", "referer", "sec-fetch-mode", "user-agent"}
)
"""Headers of the extractor that are forwarded. All others (cookies, authorization, ranges,
hop-by-hop) are set here, per host."""

_VALUE = re.compile(r"[ -~]{1,4096}")
# RFC 6265, section 4.1.1; quotes and commas are tolerated in values as browsers do.
_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_COOKIE_VALUE = re.compile(r"[!-:<-~ ]{0,4096}")


def media_headers(source: MediaSource, url: URL) -> dict[str, str]:
    """Return the headers for this URL; to be called again for every redirect."""
    headers = {
        name: value
        for name, value in source.headers.items()
        if name.lower() in FORWARDED and _VALUE.fullmatch(value)
    }
    headers["Accept-Encoding"] = "identity"
    return headers | cookie_header(source.cookies, url)


def cookie_header(cookies: Iterable[Cookie], url: URL) -> dict[str, str]:
    """Return the ``Cookie`` header for the URL, empty when no cookie matches.

    Longer paths come first (RFC 6265, section 5.4).
    """
    matching = [cookie for cookie in cookies if _is_valid(cookie) and cookie_matches(cookie, url)]
    matching.sort(key=lambda cookie: len(cookie.path), reverse=True)
    pairs = [f"{cookie.name}={cookie.value}" for cookie in matching]
    return {"Cookie": "; ".join(pairs)} if pairs else {}


def cookie_matches(cookie: Cookie, url: URL) -> bool:
    """Return whether a browser would send the cookie to this URL.

    A domain with a leading dot includes its subdomains, one without is that host only: the
    convention of `http.cookiejar`.
    """
    return (
        _domain_matches(cookie.domain.lower(), (url.host or "").lower())
        and _path_matches(cookie.path, url.raw_path)
        and (url.scheme == "https" or not cookie.secure)
    )


def _domain_matches(domain: str, host: str) -> bool:
    bare = domain.removeprefix(".")
    if not bare or host == bare:
        return bool(bare)
    return domain.startswith(".") and host.endswith(domain) and not _is_address(host)


def _path_matches(path: str, requested: str) -> bool:
    if not path.startswith("/") or path == requested:
        return True
    return requested.startswith(path if path.endswith("/") else f"{path}/")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_valid(cookie: Cookie) -> bool:
    return bool(_COOKIE_NAME.fullmatch(cookie.name) and _COOKIE_VALUE.fullmatch(cookie.value))
