"""Texts of cues: markup of the input is reduced to three tags, and written for each format. Pure.

No tag or attribute of the input is copied: what is written is built from the three names.
"""

import html
import re

TAGS = frozenset({"b", "i", "u"})

_TAG = re.compile(r"<(?P<end>/?)(?:(?P<name>[A-Za-z]{1,20})[^<>]{0,1000}|[0-9:.]{5,15})>", re.ASCII)
_KEPT = re.compile(r"(</?[biu]>)")
_OVERRIDE = re.compile(r"\{\\[^{}]{0,100}\}")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_HUGE_REFERENCE = re.compile(r"&#[0-9]{20,};?", re.ASCII)
"""`html.unescape` raises ValueError for one of more than 4,300 digits."""

_SPACES = re.compile(r"[ \t\u00a0]+")
_TAG_START = re.compile(r"<(?=[A-Za-z/!?])")


def from_markup(text: str) -> str:
    """Return a text with tags and entities of WebVTT, SubRip or HTML as the text of a cue."""
    parts: list[str] = []
    position = 0
    for tag in _TAG.finditer(text):
        parts.append(_escaped(_unescaped(text[position : tag.start()])))
        name = (tag["name"] or "").lower()
        if name in TAGS:
            parts.append(f"<{tag['end']}{name}>")
        elif name == "br":
            parts.append("\n")
        position = tag.end()
    parts.append(_escaped(_unescaped(text[position:])))
    return _balanced(_lines("".join(parts)))


def from_plain(text: str) -> str:
    """Return a text without markup as the text of a cue."""
    return _lines(_escaped(text))


def to_srt(text: str) -> str:
    """Return the text of a cue for SubRip, which has tags, but no entities.

    What looks like the start of another tag is written with a full-width sign: players interpret
    tags of HTML.
    """
    parts = _KEPT.split(text)
    return "".join(part if index % 2 else _written(part) for index, part in enumerate(parts))


def _written(text: str) -> str:
    return _TAG_START.sub("\uff1c", html.unescape(text)).replace("-->", "→")


def _unescaped(text: str) -> str:
    return html.unescape(_HUGE_REFERENCE.sub("\ufffd", text))


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)


def _lines(text: str) -> str:
    """Return the lines that are not blank, without control characters."""
    plain = _OVERRIDE.sub("", _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))
    lines = (_SPACES.sub(" ", line).strip() for line in plain.split("\n"))
    return "\n".join(line for line in lines if _KEPT.sub("", line))


def _balanced(text: str) -> str:
    """Return a text whose tags are closed in the order of their nesting; others are removed."""
    opened: list[str] = []
    parts: list[str] = []
    for part in _KEPT.split(text):
        if not _KEPT.fullmatch(part):
            parts.append(part)
        elif part[1] != "/":
            opened.append(part[1])
            parts.append(part)
        elif opened and opened[-1] == part[2]:
            opened.pop()
            parts.append(part)
    parts += (f"</{name}>" for name in reversed(opened))
    return "".join(parts)
