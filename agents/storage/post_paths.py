"""Paths of the files of a post by a template, and the record that keeps them stable. Pure.

A page's texts change; its files must be found again. The first publication of a post therefore
stores a record, the template and the texts of that moment, under a name that consists of ids. All
files of the post are published and found by its record, also when the template is changed.
"""

import re
import unicodedata
from datetime import UTC
from pathlib import PurePosixPath
from typing import Self

import msgspec

from agents.storage.names import FileIds, safe_format
from schemas.codec import Moment
from schemas.path_template import (
    PART_BYTES_MAX,
    RESERVED,
    SPARE_BYTES,
    PathTemplate,
    TemplateField,
    parse_template,
)
from schemas.video import VideoInfo

RECORDS = ".posts"
"""Directory of the records. It is hidden, so its files are none of the published ones."""

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


class PostDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What a page says of a post, as far as a path may contain it."""

    author: str = ""
    author_id: str = ""
    title: str = ""
    published_at: Moment | None = None

    @classmethod
    def of(cls, info: VideoInfo) -> Self:
        author = info.author
        return cls(
            author=author.name or author.display_name or author.id or "",
            author_id=author.id or "",
            title=info.title,
            published_at=info.published_at,
        )


class PostRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Template and texts of the first publication of a post."""

    template: str
    details: PostDetails

    @classmethod
    def of(cls, template: PathTemplate, details: PostDetails) -> Self:
        """Return the record of a new post, its texts cleaned, so that it is small."""
        return cls(
            template=template.text,
            details=PostDetails(
                author=clean_text(details.author, PART_BYTES_MAX),
                author_id=clean_text(details.author_id, PART_BYTES_MAX),
                title=clean_text(details.title, PART_BYTES_MAX),
                published_at=details.published_at,
            ),
        )


def record_name(ids: FileIds) -> PurePosixPath:
    """Return the relative path of a post's record. The ids must be valid, see `file_stem`."""
    return PurePosixPath(RECORDS, ids.platform, f"{ids.video_id}.json")


def encode_record(record: PostRecord) -> bytes:
    return msgspec.json.encode(record)


def decode_record(content: bytes) -> PostRecord | None:
    """Return a stored record; None for a malformed one, and for a template that is not valid."""
    try:
        record = msgspec.json.decode(content, type=PostRecord)
        parse_template(record.template)
    except (msgspec.DecodeError, ValueError):
        return None
    return record


def post_stem(record: PostRecord, ids: FileIds) -> PurePosixPath:
    """Return the relative path of a file without its extension. The ids must be valid."""
    values = {
        "platform": ids.platform,
        "id": ids.video_id,
        "format": safe_format(ids.format_id),
    }
    parts = parse_template(record.template).parts
    return PurePosixPath(*(_render(part, values, record.details) for part in parts))


def _render(
    part: tuple[str | TemplateField, ...], ids: dict[str, str], details: PostDetails
) -> str:
    """Render a part. Texts share the bytes that remain, equally for every format of the post."""
    texts = sum(isinstance(each, TemplateField) and not each.is_identity for each in part)
    room = PART_BYTES_MAX - SPARE_BYTES - sum(_size(each, ids) for each in part)
    rendered: list[str] = []
    for each in part:
        if isinstance(each, str):
            rendered.append(each)
        elif each.is_identity:
            rendered.append(ids[each.name])
        else:
            text = clean_text(_text(each, details), min(each.bytes_max, room // texts))
            room, texts = room - len(text.encode()), texts - 1
            rendered.append(text)
    return escape_device("".join(rendered))


def _size(each: str | TemplateField, ids: dict[str, str]) -> int:
    if isinstance(each, str):
        return len(each.encode())
    if each.name == "format":
        return each.bytes_max
    return len(ids[each.name]) if each.is_identity else 0


def _text(field: TemplateField, details: PostDetails) -> str:
    if field.name != "date":
        return str(getattr(details, field.name))
    moment = details.published_at
    return "" if moment is None else f"{moment.astimezone(UTC):{field.date_format}}"


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
