"""Cookies as JSON: what Cookie-Editor and EditThisCookie put on the clipboard.

An array of cookies, or an object whose ``cookies`` are one (Playwright's storage state). A file of
it becomes a Netscape file when it is written first. Values are secrets: no message holds any.
"""

import re
from typing import Any

import msgspec

from agents.accounts.netscape import PADDING, Line, expiry_of, fits
from schemas.video import Cookie

_EXPIRY_NAMES = ("expirationDate", "expires", "expiry")
"""Of Cookie-Editor and EditThisCookie, of Playwright, of Selenium."""

_WHITE = re.compile(r"\s+")


def read_export(text: str) -> list[Line] | None:
    """Return an export's cookies, one a line; None when the text is no export."""
    try:
        found = msgspec.json.decode(text.strip(f"{PADDING}\r\n"))
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return None
    if isinstance(found, dict):
        found = found.get("cookies", [found])
    if not isinstance(found, list):
        return None
    return [_line(number, entry) for number, entry in enumerate(found, start=1)]


def _line(number: int, entry: Any) -> Line:
    text = _WHITE.sub(" ", msgspec.json.encode(entry).decode())
    cookie, oddity = _cookie(entry)
    if cookie is None:
        return Line(number, text, oddity=oddity, is_exact=False)
    http_only = entry.get("httpOnly") is True
    return Line(number, text, cookie, http_only, is_exact=False)


def _cookie(entry: Any) -> tuple[Cookie | None, str | None]:
    if not isinstance(entry, dict):
        return None, "is no object"
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
        expires_at=None if entry.get("session") is True else _expiry(entry),
    )
    return (cookie, None) if fits(cookie) else (None, "has a character that no cookie has")


def _expiry(entry: dict[str, Any]) -> float | None:
    for name in _EXPIRY_NAMES:
        found = entry.get(name)
        if isinstance(found, int | float | str):
            return expiry_of(found)
    return None
