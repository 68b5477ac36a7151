"""Netscape's cookie format, line by line: what a line says, and how it is written.

The format: https://curl.se/docs/http-cookies.html#cookie-file-format. Add-ons and editors write it
with a column too many, without its last tab, with spaces. A line that can be read is read; what is
written is what yt-dlp and Python's `http.cookiejar` read. Values are secrets: no message holds any.
"""

import math
import re
from contextlib import suppress

import msgspec

from schemas.video import Cookie

HEADER = "# Netscape HTTP Cookie File"
"""First line of a file; Python's `http.cookiejar`, and so yt-dlp, refuses a file without it."""

FIELDS = 7
"""Domain, subdomains too, path, secure, expiry, name, value; separated by tabs."""

HTTP_ONLY = "#HttpOnly_"
"""In front of the domain of cookies that scripts cannot see. Other lines with # are remarks."""

_ESCAPED_TAB = r"\t"
"""What a tab becomes in variables, YAML and JSON that nobody unescapes."""

MILLISECONDS_FROM = 1e11
"""Numbers from here on are no seconds (it would be the year 5138): Firefox keeps milliseconds since
release 142, and some tools write them as they are."""

_FLAGS = frozenset({"TRUE", "FALSE"})

_EXPIRY = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?)?")
"""An expiry as yt-dlp reads it."""

_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffd]")
"""Control characters, halves of surrogate pairs, and what stands for bytes that are no UTF-8."""

PADDING = " \t\ufeff\u200b\u00a0"
"""In front of a line: indentation, byte-order marks of files that were joined, pasted spaces."""


class Line(msgspec.Struct, frozen=True):
    """A line of a cookie file, or an entry of a JSON export.

    Attributes:
        number: place in the file, from 1.
        text: the line without its end. Holds secrets.
        cookie: what it says; None for a remark and for a line that cannot be read.
        http_only: scripts cannot see the cookie.
        oddity: how it departs from the format, None when it does not. Holds no secret.
        is_exact: other tools read the text as it stands.
    """

    number: int
    text: str
    cookie: Cookie | None = None
    http_only: bool = False
    oddity: str | None = None
    is_exact: bool = True

    def __repr__(self) -> str:
        """Return its number and what is odd about it, not its text."""
        return f"Line({self.number}, {self.oddity})"


def parse_line(number: int, text: str) -> Line:
    """Return what a line says; one that cannot be read has an oddity and no cookie."""
    if _is_remark(text):
        return Line(number, text)
    marked = text.lstrip(PADDING)
    http_only = marked[: len(HTTP_ONLY)].lower() == HTTP_ONLY.lower()
    bare = marked[len(HTTP_ONLY) :] if http_only else marked
    fields, oddity = _fields(bare.lstrip(PADDING))
    if fields is None:
        return Line(number, text, oddity=oddity)
    cookie = _cookie(fields)
    if not fits(cookie):
        return Line(number, text, oddity="has a domain or a character that no cookie has")
    is_exact = oddity is None and _is_exact(text, fields)
    return Line(number, text, cookie, http_only, oddity, is_exact)


def format_cookie(cookie: Cookie, *, http_only: bool = False) -> str:
    """Return the line of a cookie that fits."""
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


def format_line(line: Line) -> str:
    """Return a line as every tool reads it; what cannot be read becomes a remark."""
    if line.cookie is not None:
        if line.is_exact:
            return line.text
        return format_cookie(line.cookie, http_only=line.http_only)
    return line.text.lstrip(PADDING) if line.oddity is None else f"# {line.text}"


def fits(cookie: Cookie) -> bool:
    """Return whether a cookie can be written so that it is read as the same one."""
    texts = cookie.domain, cookie.path, cookie.name, cookie.value
    return all(map(_is_writable, texts)) and bool(
        cookie.domain.strip(PADDING) == cookie.domain
        and "." in cookie.domain
        and not cookie.domain.startswith(("#", "$"))
    )


def _is_writable(text: str) -> bool:
    return text == text.strip(" ") and _UNWRITABLE.search(text) is None


def _is_remark(text: str) -> bool:
    bare = text.lstrip(PADDING)
    if bare[: len(HTTP_ONLY)].lower() == HTTP_ONLY.lower():
        bare = bare[len(HTTP_ONLY) :]
    return not bare.strip() or bare.startswith("#")


def _fields(text: str) -> tuple[list[str] | None, str | None]:
    """Return the seven fields of a line, and how it departs from the format."""
    if "\t" not in text and text.count(_ESCAPED_TAB) >= FIELDS - 2:
        fields, oddity = _fields(text.replace(_ESCAPED_TAB, "\t"))
        return fields, oddity or f"has {_ESCAPED_TAB} in place of tabs"
    tabbed = [field.strip(" ") for field in text.split("\t")]
    if len(tabbed) == FIELDS:
        return tabbed, None
    told = f"has {len(tabbed)} fields, not {FIELDS}"
    if len(tabbed) == FIELDS - 1 and _has_flags(tabbed):
        # Editors and forms cut off the last tab when the value is empty.
        return [*tabbed, ""], told
    if len(tabbed) > FIELDS and _has_flags(tabbed):
        return tabbed[:FIELDS], told
    spaced = text.split(None, FIELDS - 1)
    if len(spaced) == FIELDS - 1:
        spaced.append("")
    if len(spaced) == FIELDS and _has_flags(spaced) and _is_number(spaced[4]):
        return [field.strip() for field in spaced], "has spaces in place of tabs"
    return None, told


def _has_flags(fields: list[str]) -> bool:
    return {fields[1].upper(), fields[3].upper()} <= _FLAGS


def _is_number(text: str) -> bool:
    with suppress(ValueError):
        return math.isfinite(float(text))
    return False


def _cookie(fields: list[str]) -> Cookie:
    domain, subdomains, path, secure, expiry, name, value = fields
    # Some tools leave the dot to the column beside it.
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
    """Return whether yt-dlp's loader takes the line; one with a wrong flag fails the whole file."""
    has_dot = fields[0].startswith(".")
    return (
        text.removeprefix(HTTP_ONLY) == "\t".join(fields)
        and (fields[1] == "TRUE") == has_dot
        and _EXPIRY.fullmatch(fields[4]) is not None
        and float(fields[4] or 0) < MILLISECONDS_FROM
    )


def expiry_of(expiry: str | float) -> float | None:
    """Return an expiry; some tools write 0 or -1 for the end of the session, some nothing."""
    seconds = 0.0
    with suppress(ValueError, OverflowError):
        seconds = float(expiry)
    if seconds >= MILLISECONDS_FROM:
        seconds /= 1_000.0
    return seconds if math.isfinite(seconds) and seconds > 0 else None
