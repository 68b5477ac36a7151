"""Parses JSON cookie exports: Cookie-Editor, EditThisCookie, Selenium, Playwright.

An export is an array of cookies, or an object with an array ``cookies`` (Playwright's storage
state). The first write converts such a file to Netscape's format. Values are secrets: no message
holds any.
"""

import re
from typing import Any

import msgspec

from agents.accounts.netscape import PADDING, CookieLine, expiry_of, is_writable
from schemas.video import Cookie

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
    return [_line(number, entry) for number, entry in enumerate(found, start=1)]


def _line(number: int, entry: Any) -> CookieLine:
    text = _WHITESPACE.sub(" ", msgspec.json.encode(entry).decode())
    cookie, issue = _cookie(entry)
    if cookie is None:
        return CookieLine(number, text, issue=issue, is_exact=False)
    http_only = entry.get("httpOnly") is True
    return CookieLine(number, text, cookie, http_only, is_exact=False)


def _cookie(entry: Any) -> tuple[Cookie | None, str | None]:
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
        expires_at=None if entry.get("session") is True else _expiry(entry),
    )
    return (
        (cookie, None)
        if is_writable(cookie)
        else (None, "has a character that is not allowed in a cookie")
    )


def _expiry(entry: dict[str, Any]) -> float | None:
    for name in _EXPIRY_NAMES:
        found = entry.get(name)
        if isinstance(found, int | float | str):
            return expiry_of(found)
    return None
