"""Texts without secrets: what is logged, published or kept says nothing that opens a door."""

import re

# Each character is looked at once or twice, whoever wrote the text: a page does.
_URL = re.compile(
    r"(?P<scheme>(?:https?|socks\w{0,2})://)(?:[^\s/?#]*@)?"
    r"(?P<page>[^\s?#'\"]*)(?P<secret>[?#]\S*)?",
    re.IGNORECASE,
)

_CLOSING = ",;.)]}>"
"""Signs behind a URL that are of the sentence around it."""


def redact(text: str) -> str:
    """Return text without users, passwords, queries and fragments of the URLs in it."""
    return _URL.sub(_public, text)


def _public(url: re.Match[str]) -> str:
    secret = url["secret"] or ""
    rest = secret.rstrip(_CLOSING)
    # What closes a quotation behind a query is not part of it.
    rest = rest[:-1] if rest.endswith(("'", '"')) else rest
    return f"{url['scheme']}{url['page']}{secret[len(rest) :]}"
