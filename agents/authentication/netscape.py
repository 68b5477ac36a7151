"""Netscape's cookie format, which browsers' extensions write: reading it, and renewing it in place.

The format: https://curl.se/docs/http-cookies.html#cookie-file-format. Values are secrets: no
message holds any.
"""

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress

from schemas.video import Cookie

FIELDS = 7
"""Domain, subdomains too, path, secure, expiry, name, value; separated by tabs."""

HTTP_ONLY = "#HttpOnly_"
"""In front of the domain of cookies that scripts cannot see. Other lines with # are remarks."""

COOKIES_MAX = 500
"""A file with so many cookies gets no new ones: a page could set other names for ever. Browsers
keep 150 to 180 per site (RFC 6265 asks for 50)."""

Key = tuple[str, str, str]
"""Domain, path and name: what makes two cookies the same one (RFC 6265, section 5.3)."""


class NotACookieFileError(ValueError):
    """A text is not in Netscape's format; says what is wrong, without showing it."""


def key_of(cookie: Cookie) -> Key:
    """Return what a cookie is known by."""
    return cookie.domain, cookie.path, cookie.name


def read_cookies(text: str) -> tuple[Cookie, ...]:
    """Return the cookies of a file, those that are over included.

    Raises:
        NotACookieFileError: a line is none of the format.
    """
    parsed = (_parse(line, number) for number, line in enumerate(_lines(text), start=1))
    return tuple(cookie for cookie in parsed if cookie is not None)


def unexpired(cookies: Iterable[Cookie], now: float) -> tuple[Cookie, ...]:
    """Return the cookies that are not over at an epoch second."""
    return tuple(each for each in cookies if not _is_over(each, now))


def renewed(text: str, changes: Mapping[Key, Cookie], now: float) -> str:
    """Return a file with cookies set anew, new ones behind it, and those that are over left out.

    All other lines stay as they are, remarks too. The result may be the same text.

    Raises:
        NotACookieFileError: a line is none of the format.
    """
    left = {key: cookie for key, cookie in changes.items() if _fits(cookie)}
    kept = [_kept(line, number, left, now) for number, line in enumerate(_lines(text), start=1)]
    lines = [line for line in kept if line is not None]
    new = unexpired(left.values(), now)
    room = max(0, COOKIES_MAX - sum(not _is_remark(line) for line in lines))
    lines += [_line(cookie) for cookie in new[:room]]
    return "".join(f"{line}\n" for line in lines)


def _lines(text: str) -> list[str]:
    """Return the lines; `str.splitlines` would also part them at characters within values."""
    if not text:
        return []
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def _kept(line: str, number: int, left: dict[Key, Cookie], now: float) -> str | None:
    """Return what becomes of a line, and take its change out of those that are left."""
    old = _parse(line, number)
    if old is None:
        return line
    new = left.pop(key_of(old), None)
    if _is_over(new or old, now):
        return None
    return line if new is None else _line(new, http_only=line.startswith(HTTP_ONLY))


def _parse(line: str, number: int) -> Cookie | None:
    if _is_remark(line):
        return None
    fields = line.removeprefix(HTTP_ONLY).split("\t")
    if len(fields) != FIELDS:
        raise NotACookieFileError(f"line {number} has {len(fields)} fields, not {FIELDS}")
    domain, subdomains, path, secure, expiry, name, value = fields
    # Some tools leave the dot to the column beside it.
    dot = "." if subdomains.upper() == "TRUE" and not domain.startswith(".") else ""
    return Cookie(
        name=name,
        value=value,
        domain=f"{dot}{domain}",
        path=path or "/",
        secure=secure.upper() == "TRUE",
        expires_at=_epoch(expiry),
    )


def _is_remark(line: str) -> bool:
    text = line.removeprefix(HTTP_ONLY)
    return not text.strip() or text.startswith("#")


def _epoch(expiry: str) -> float | None:
    """Return an expiry; some tools write 0 or -1 for the end of the session, some nothing."""
    seconds = 0.0
    with suppress(ValueError):
        seconds = float(expiry)
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def _is_over(cookie: Cookie, now: float) -> bool:
    return cookie.expires_at is not None and cookie.expires_at <= now


def _line(cookie: Cookie, *, http_only: bool = False) -> str:
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


def _fits(cookie: Cookie) -> bool:
    """Return whether a cookie can be written so that it is read as the same one."""
    texts = cookie.domain, cookie.path, cookie.name, cookie.value
    plain = all(ord(sign) >= ord(" ") and sign != "\x7f" for text in texts for sign in text)
    encodable = all(_is_encodable(text) for text in texts)
    return plain and encodable and bool(cookie.domain.strip()) and not cookie.domain.startswith("#")


def _is_encodable(text: str) -> bool:
    with suppress(UnicodeEncodeError):
        return bool(text.encode()) or not text
    return False
