"""Cleans texts of pages for file names. Pure."""

import re
import unicodedata

from schemas.path_template import RESERVED

UNKNOWN = "unknown"
"""In place of a text that the page does not have, or of which nothing remains."""

DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [f"{name}{digit}" for name in ("COM", "LPT") for digit in "0123456789¹²³"]
)
"""Names of devices on Windows, with any extension."""

DEVICE_PREFIX = "~"
"""No id begins with it, so a name with the prefix is none of another file."""

JOINERS = "\u200c\u200d"
"""Format characters of Persian words and of emoji."""

_FULL_WIDTH = {ord(each): ord(each) + 0xFEE0 for each in (*RESERVED, "/")}
"""As yt-dlp does: readable, and without a meaning to file systems and URLs."""

_EMOJI_TAGS = range(0xE0020, 0xE0080)
"""Format characters of the flags of regions."""

_CHARACTERS_MAX = 1_024
"""No more are read: a page's text may have megabytes."""

_SPACES = re.compile(r"\s+")


def clean_text(text: str, bytes_max: int) -> str:
    """Return a text as part of a file name: no separators, control or directional characters.

    Args:
        text: from the page.
        bytes_max: of the result, in UTF-8; it is cut between characters.
    """
    normal = unicodedata.normalize("NFC", text[:_CHARACTERS_MAX])
    shown = _SPACES.sub(" ", "".join(map(_shown, normal))).translate(_FULL_WIDTH)
    cut = _stripped(shown).encode()[:bytes_max].decode(errors="ignore")
    return _stripped(cut) or UNKNOWN[:bytes_max]


def escape_device(name: str) -> str:
    """Return a file name, with a prefix if it is that of a device on Windows."""
    is_device = name.partition(".")[0].rstrip(" ").upper() in DEVICES
    return f"{DEVICE_PREFIX}{name}" if is_device else name


def _shown(character: str) -> str:
    if character.isspace():
        return " "
    match unicodedata.category(character):
        case "Cf":
            is_kept = character in JOINERS or ord(character) in _EMOJI_TAGS
            return character if is_kept else ""
        case "Cc" | "Cs" | "Cn":
            return ""
        case _:
            return character


def _stripped(text: str) -> str:
    """Strip dots and spaces, which Windows ignores and Unix hides, and lone joiners."""
    return text.strip(f". {JOINERS}")
