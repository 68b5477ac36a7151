"""Texts without secrets: what is logged, published or kept says nothing that opens a door."""

import re

_SECRETS = re.compile(
    # What closes a quotation behind a query is not part of it.
    r"(?P<scheme>https?://)(?:[^\s/?#]*@)?(?P<page>[^\s?#'\"]*)"
    r"(?:[?#]\S*?(?=['\"]?[,;.)\]}>]*(?:\s|$)))?",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return text without users, passwords, queries and fragments of the URLs in it."""
    return _SECRETS.sub(r"\g<scheme>\g<page>", text)
