"""Untrusted text made fit for logs, records and screens: no secrets, no control characters."""

import re

# Linear on any input, as a page may have written the text: no character is read more than twice.
_URL = re.compile(
    r"(?P<scheme>(?:https?|socks\w{0,2})://)(?:[^\s/?#]*@)?"
    r"(?P<page>[^\s?#'\"]*)(?P<secret>[?#]\S*)?",
    re.IGNORECASE,
)

_CLOSING = ",;.)]}>"
"""Characters after a URL that belong to the sentence around it."""


def redact(text: str) -> str:
    """Remove users, passwords, queries and fragments from the URLs in a text."""
    return _URL.sub(_public, text)


def _public(url: re.Match[str]) -> str:
    secret = url["secret"] or ""
    rest = secret.rstrip(_CLOSING)
    # A closing quote after a query is not part of it.
    rest = rest[:-1] if rest.endswith(("'", '"')) else rest
    return f"{url['scheme']}{url['page']}{secret[len(rest) :]}"


UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"


def printable(text: str) -> str:
    """Replace characters in untrusted text that control a terminal or reorder a line."""
    return "".join(char if char.isprintable() else UNPRINTABLE for char in text)
