"""Formats of cookies on disk: lines of Netscape's cookie file format, and JSON exports. Pure.

The format: https://curl.se/docs/http-cookies.html#cookie-file-format. Add-ons and editors write it
with an extra column, without its last tab, or with spaces. The parser accepts all of these; the
formatter writes what yt-dlp and Python's `http.cookiejar` read.

A JSON export (Cookie-Editor, EditThisCookie, Selenium, Playwright) is an array of cookies, or an
object with an array ``cookies`` (Playwright's storage state). The first write converts such a file
to Netscape's format. Values are secrets: no message holds any.
"""

import math
import re
from contextlib import suppress
from typing import Any

import msgspec

from schemas.video import Cookie

HEADER = "# Netscape HTTP Cookie File"
"""First line of a file; Python's `http.cookiejar`, and so yt-dlp, rejects a file without it."""

FIELDS = 7
"""Domain, subdomain flag, path, secure, expiry, name, value; separated by tabs."""

HTTP_ONLY = "#HttpOnly_"
"""Prefix of the domain of HttpOnly cookies. Other lines that begin with # are comments."""

_ESCAPED_TAB = r"\t"
"""A tab that came through a variable, YAML or JSON without being unescaped."""

MILLISECONDS_FROM = 1e11
"""An expiry from here on is in milliseconds (as seconds it would be the year 5138): Firefox stores
milliseconds since release 142, and some tools export them unconverted."""

_FLAGS = frozenset({"TRUE", "FALSE"})

_EXPIRY = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?)?")
"""An expiry that yt-dlp accepts."""

_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffd]")
"""Control characters, lone surrogates, and the replacement character of invalid UTF-8."""

PADDING = " \t\ufeff\u200b\u00a0"
"""Leading characters to strip: indentation, byte-order marks of joined files, pasted spaces."""


class CookieLine(msgspec.Struct, frozen=True):
    """A line of a cookie file, or an entry of a JSON export.

    Attributes:
        number: from 1.
        text: without the line end. Holds secrets.
        cookie: None for a comment and for a line that cannot be read.
        http_only: the cookie is HttpOnly.
        issue: how the line departs from the format, None when it does not. Holds no secret.
        is_exact: other tools read the text without a change.
    """

    number: int
    text: str
    cookie: Cookie | None = None
    http_only: bool = False
    issue: str | None = None
    is_exact: bool = True

    def __repr__(self) -> str:
        """Return number and issue, not the text."""
        return f"Line({self.number}, {self.issue})"


def parse_line(number: int, text: str) -> CookieLine:
    """Parse a line; one that cannot be read has an issue and no cookie."""
    if _is_comment(text):
        return CookieLine(number, text)
    marked = text.lstrip(PADDING)
    http_only = marked[: len(HTTP_ONLY)].lower() == HTTP_ONLY.lower()
    bare = marked[len(HTTP_ONLY) :] if http_only else marked
    fields, issue = _fields(bare.lstrip(PADDING))
    if fields is None:
        return CookieLine(number, text, issue=issue)
    cookie = _cookie(fields)
    if not is_writable(cookie):
        return CookieLine(
            number, text, issue="has a domain or a character that is not allowed in a cookie"
        )
    is_exact = issue is None and _is_exact(text, fields)
    return CookieLine(number, text, cookie, http_only, issue, is_exact)


def format_cookie(cookie: Cookie, *, http_only: bool = False) -> str:
    """Return the line of a cookie that `is_writable`."""
    return (HTTP_ONLY if http_only else "") + "\t".join(
        (
            cookie.domain,
            "TRUE" if cookie.domain.startswith(".") else "FALSE",
            cookie.path,
            "TRUE" if cookie.secure else "FALSE",
            str(int(cookie.expires_at or 0)),
            cookie.name,
            cookie.value,
        )
    )


def format_line(line: CookieLine) -> str:
    """Return the line as every tool reads it; an unreadable one becomes a comment."""
    if line.cookie is not None:
        if line.is_exact:
            return line.text
        return format_cookie(line.cookie, http_only=line.http_only)
    return line.text.lstrip(PADDING) if line.issue is None else f"# {line.text}"


def is_writable(cookie: Cookie) -> bool:
    """Return whether the cookie survives a round trip through the format."""
    texts = cookie.domain, cookie.path, cookie.name, cookie.value
    return all(map(_is_safe, texts)) and bool(
        cookie.domain.strip(PADDING) == cookie.domain
        and "." in cookie.domain
        and not cookie.domain.startswith(("#", "$"))
    )


def _is_safe(text: str) -> bool:
    return text == text.strip(" ") and _UNWRITABLE.search(text) is None


def _is_comment(text: str) -> bool:
    bare = text.lstrip(PADDING)
    if bare[: len(HTTP_ONLY)].lower() == HTTP_ONLY.lower():
        bare = bare[len(HTTP_ONLY) :]
    return not bare.strip() or bare.startswith("#")


def _fields(text: str) -> tuple[list[str] | None, str | None]:
    """Return the seven fields of a line, and its issue."""
    if "\t" not in text and text.count(_ESCAPED_TAB) >= FIELDS - 2:
        fields, issue = _fields(text.replace(_ESCAPED_TAB, "\t"))
        return fields, issue or f"has {_ESCAPED_TAB} in place of tabs"
    tabbed = [field.strip(" ") for field in text.split("\t")]
    if len(tabbed) == FIELDS:
        return tabbed, None
    issue = f"has {len(tabbed)} fields, not {FIELDS}"
    if len(tabbed) == FIELDS - 1 and _has_flags(tabbed):
        # Editors and forms strip the last tab when the value is empty.
        return [*tabbed, ""], issue
    if len(tabbed) > FIELDS and _has_flags(tabbed):
        return tabbed[:FIELDS], issue
    spaced = text.split(None, FIELDS - 1)
    if len(spaced) == FIELDS - 1:
        spaced.append("")
    if len(spaced) == FIELDS and _has_flags(spaced) and _is_number(spaced[4]):
        return [field.strip() for field in spaced], "has spaces in place of tabs"
    return None, issue


def _has_flags(fields: list[str]) -> bool:
    return {fields[1].upper(), fields[3].upper()} <= _FLAGS


def _is_number(text: str) -> bool:
    with suppress(ValueError):
        return math.isfinite(float(text))
    return False


def _cookie(fields: list[str]) -> Cookie:
    domain, subdomains, path, secure, expiry, name, value = fields
    # Some tools omit the leading dot and set only the subdomain flag.
    dot = "." if subdomains.upper() == "TRUE" and not domain.startswith(".") else ""
    return Cookie(
        name=name,
        value=value,
        domain=f"{dot}{domain}",
        path=path or "/",
        secure=secure.upper() == "TRUE",
        expires_at=expiry_of(expiry),
    )


def _is_exact(text: str, fields: list[str]) -> bool:
    """Return whether yt-dlp's loader accepts the line; a wrong flag fails the whole file there."""
    has_dot = fields[0].startswith(".")
    return (
        text.removeprefix(HTTP_ONLY) == "\t".join(fields)
        and (fields[1] == "TRUE") == has_dot
        and _EXPIRY.fullmatch(fields[4]) is not None
        and float(fields[4] or 0) < MILLISECONDS_FROM
    )


def expiry_of(expiry: str | float) -> float | None:
    """Parse an expiry (epoch seconds or ms); session cookies have 0, -1 or nothing: None."""
    seconds = 0.0
    with suppress(ValueError, OverflowError):
        seconds = float(expiry)
    if seconds >= MILLISECONDS_FROM:
        seconds /= 1_000.0
    return seconds if math.isfinite(seconds) and seconds > 0 else None


_EXPIRY_NAMES = ("expirationDate", "expires", "expiry")
"""Field names of Cookie-Editor and EditThisCookie, of Playwright, of Selenium."""

_WHITESPACE = re.compile(r"\s+")


def read_export(text: str) -> list[CookieLine] | None:
    """Return one line for each cookie of an export; None when the text is no export."""
    try:
        found = msgspec.json.decode(text.strip(f"{PADDING}\r\n"))
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return None
    if isinstance(found, dict):
        found = found.get("cookies", [found])
    if not isinstance(found, list):
        return None
    return [_exported_line(number, entry) for number, entry in enumerate(found, start=1)]


def _exported_line(number: int, entry: Any) -> CookieLine:
    text = _WHITESPACE.sub(" ", msgspec.json.encode(entry).decode())
    cookie, issue = _exported_cookie(entry)
    if cookie is None:
        return CookieLine(number, text, issue=issue, is_exact=False)
    http_only = entry.get("httpOnly") is True
    return CookieLine(number, text, cookie, http_only, is_exact=False)


def _exported_cookie(entry: Any) -> tuple[Cookie | None, str | None]:
    if not isinstance(entry, dict):
        return None, "is not an object"
    for field in ("name", "value", "domain"):
        if not isinstance(entry.get(field), str):
            return None, f"has no {field}"
    domain = entry["domain"].strip()
    dot = "." if entry.get("hostOnly") is False and not domain.startswith(".") else ""
    path = entry.get("path")
    cookie = Cookie(
        name=entry["name"].strip(" "),
        value=entry["value"].strip(" "),
        domain=f"{dot}{domain}",
        path=path if isinstance(path, str) and path else "/",
        secure=entry.get("secure") is True,
        expires_at=None if entry.get("session") is True else _exported_expiry(entry),
    )
    return (
        (cookie, None)
        if is_writable(cookie)
        else (None, "has a character that is not allowed in a cookie")
    )


def _exported_expiry(entry: dict[str, Any]) -> float | None:
    for name in _EXPIRY_NAMES:
        found = entry.get(name)
        if isinstance(found, int | float | str):
            return expiry_of(found)
    return None
