"""Untrusted text without characters that control a terminal or reorder a line."""

UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"


def printable(text: str) -> str:
    """Replace control characters in untrusted text."""
    return "".join(char if char.isprintable() else UNPRINTABLE for char in text)
