"""Parses the text of a cookie file (Netscape or JSON export) and applies renewed cookies. Pure.

The parser is lenient: a line that departs from the format is used where it can be read, and
reported by number. Values are secrets: no message holds any.
"""

import codecs
from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from agents.accounts.cookie_formats import (
    HEADER,
    PADDING,
    CookieLine,
    format_cookie,
    format_line,
    is_writable,
    parse_line,
    read_export,
)
from schemas.video import Cookie

COOKIES_MAX = 500
"""A file with so many cookies takes no new ones, because a page could set other names forever.
Browsers keep 150 to 180 per site (RFC 6265 asks for 50)."""

LINES_MAX = 20_000
"""Limit per file; an export of all cookies of a browser has about 3,000."""

LISTED_MAX = 10
"""Line ranges per reason, and reasons, that one message lists."""

CookieKey = tuple[str, str, str]
"""Domain, path and name: the identity of a cookie (RFC 6265, section 5.3)."""

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class NotACookieFileError(ValueError):
    """A text has no cookie, or is too large; the message quotes nothing of it."""


class CookieText(msgspec.Struct, frozen=True):
    """A parsed cookie file.

    Attributes:
        lines: all lines, comments included.
        unit: name of a line in messages.
    """

    lines: tuple[CookieLine, ...]
    unit: str = "line"

    @property
    def cookies(self) -> tuple[Cookie, ...]:
        """The cookies, expired ones included. Secrets."""
        return tuple(line.cookie for line in self.lines if line.cookie is not None)


def decode_text(data: bytes) -> str:
    """Decode UTF-8 or UTF-16; invalid bytes become U+FFFD, and NULs are removed.

    Windows' shells write UTF-16. A file that was cut by a crash, or copied from a buffer, has NULs
    at its start or end.
    """
    if data.startswith(_UTF_16):
        text = data.decode("utf-16", "replace")
    else:
        text = data.decode("utf-8-sig", "replace")
    return text.replace("\0", "")


def parse_text(text: str) -> CookieText:
    """Parse lines in Netscape's format, or a JSON export.

    Raises:
        NotACookieFileError: it has more than `LINES_MAX` lines.
    """
    export = read_export(text) if _looks_like_json(text) else None
    if export is not None:
        lines, unit = export, "entry"
    else:
        texts = _lines(text)
        _check_count(len(texts))
        lines = [parse_line(number, each) for number, each in enumerate(texts, start=1)]
        unit = "line"
    _check_count(len(lines))
    return CookieText(tuple(lines), unit)


def read_cookies(text: str) -> CookieText:
    """Parse a text that must hold a cookie.

    Raises:
        NotACookieFileError: it has no cookie that can be read, or too many lines.
    """
    parsed = parse_text(text)
    if parsed.cookies:
        return parsed
    bad = next((line for line in parsed.lines if line.issue), None)
    reason = "it has no cookie" if bad is None else f"{parsed.unit} {bad.number} {bad.issue}"
    if parsed.unit == "line" and _looks_like_json(text):
        reason += "; it begins as JSON, but is not valid JSON"
    raise NotACookieFileError(reason)


def format_issues(parsed: CookieText) -> str | None:
    """Return the lines that depart from the format, by number; None when there are none."""
    issues = [
        _issues(parsed, "left out", [each for each in parsed.lines if each.cookie is None]),
        _issues(parsed, "accepted", [each for each in parsed.lines if each.cookie]),
    ]
    return "; ".join(each for each in issues if each) or None


def key_of(cookie: Cookie) -> CookieKey:
    return cookie.domain, cookie.path, cookie.name


def unexpired(cookies: Iterable[Cookie], now: float) -> tuple[Cookie, ...]:
    """Return the cookies that have not expired at an epoch second."""
    return tuple(each for each in cookies if not _is_expired(each, now))


def has_cookie_for(cookies: Iterable[Cookie], hosts: Collection[str]) -> bool:
    """Return whether a client sends one of the cookies to one of these hosts."""
    domains = {each.domain.lower().lstrip(".") for each in cookies}
    return any(
        host == domain or host.endswith(f".{domain}")
        for host in hosts
        for domain in domains
        if "." in domain
    )


def with_renewals(text: str, changes: Mapping[CookieKey, Cookie], now: float) -> str:
    """Return the text of a file with renewed cookies, new ones appended, expired ones removed.

    Comments and lines that every tool reads stay as they are; other lines are rewritten in the
    format, or as comments when they cannot be read. Without a change the text stays as it is.

    Raises:
        NotACookieFileError: it has more than `LINES_MAX` lines.
    """
    pending = {key: cookie for key, cookie in changes.items() if is_writable(cookie)}
    before = parse_text(text).lines
    kept = [
        each for each in (_with_change(line, pending, now) for line in before) if each is not None
    ]
    free = max(0, COOKIES_MAX - sum(line.cookie is not None for line in kept))
    new = unexpired(pending.values(), now)[:free]
    if not new and tuple(kept) == before:
        return text
    lines = [*map(format_line, kept), *map(format_cookie, new)]
    if not lines or not lines[0].startswith((HEADER, "# HTTP Cookie File")):
        lines.insert(0, HEADER)
    return "".join(f"{line}\n" for line in lines)


def _with_change(
    line: CookieLine, pending: dict[CookieKey, Cookie], now: float
) -> CookieLine | None:
    """Apply the pending change of a line and remove it from ``pending``; None drops the line."""
    if line.cookie is None:
        return line
    new = pending.pop(key_of(line.cookie), None)
    if _is_expired(new or line.cookie, now):
        return None
    if new is None or format_cookie(new) == format_cookie(line.cookie):
        return line
    return msgspec.structs.replace(line, cookie=new, is_exact=False)


def _lines(text: str) -> list[str]:
    """Split at CR, LF and CRLF only: `str.splitlines` also splits at characters in values."""
    if not text:
        return []
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def _looks_like_json(text: str) -> bool:
    return text.lstrip(f"{PADDING}\r\n")[:1] in {"[", "{"}


def _check_count(count: int) -> None:
    if count > LINES_MAX:
        raise NotACookieFileError(f"it has more than {LINES_MAX} lines")


def _issues(parsed: CookieText, treatment: str, lines: Iterable[CookieLine]) -> str | None:
    by_reason: dict[str, list[int]] = {}
    for line in lines:
        if line.issue is not None:
            by_reason.setdefault(line.issue, []).append(line.number)
    if not by_reason:
        return None
    reasons = [
        f"{parsed.unit} {_first(_ranges(numbers))} {reason}"
        for reason, numbers in by_reason.items()
    ]
    return f"{treatment}: {_first(reasons)}"


def _first(texts: Iterable[str]) -> str:
    listed = list(texts)
    more = ["…"] if len(listed) > LISTED_MAX else []
    return ", ".join([*listed[:LISTED_MAX], *more])


def _ranges(numbers: list[int]) -> Iterator[str]:
    """Yield ascending numbers as ranges: ``3``, ``5-9``."""
    begin = 0
    for end in range(1, len(numbers) + 1):
        if end == len(numbers) or numbers[end] != numbers[end - 1] + 1:
            first, last = numbers[begin], numbers[end - 1]
            yield str(last) if first == last else f"{first}-{last}"
            begin = end


def _is_expired(cookie: Cookie, now: float) -> bool:
    return cookie.expires_at is not None and cookie.expires_at <= now
