"""Names of published files: relative paths that consist of ids only. Pure."""

import hashlib
import re
from collections.abc import Collection
from pathlib import PurePosixPath

import msgspec

from schemas.errors import ClipmillError, ErrorCode
from schemas.files import SIDECAR_TYPES
from schemas.subtitles import SUBTITLE_TYPES, SubtitleFormat
from schemas.video import CONTAINERS, MEDIA_TYPES

# No dots and no separators: no part can be "..", hidden, or split a path.
_PLATFORM = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FORMAT_ID = re.compile(r"(?!.*-thumb$)[A-Za-z0-9_-]{1,64}(?:~sound)?(?:~tagged)?")
_DIGESTED = re.compile(r"(?!.*-thumb$)[A-Za-z0-9_-]{1,32}~[0-9a-f]{16}")
"""A format id that was shortened already, as read from a name."""

ADOPTED = "adopted"
"""Format id of a file of which only the post is known, see `agents.download.file_provider`."""

THUMBNAIL_SUFFIX = "~thumbnail"
"""Of the format id of a thumbnail, after that of the media file it belongs to."""

_SHOWN_SUFFIX = "-thumb"
"""Of a thumbnail's name, as media servers expect it. No other name has it."""

FILE_TYPES = MEDIA_TYPES | SIDECAR_TYPES | SUBTITLE_TYPES
"""Media types of stored files by extension."""

SUBTITLES, CAPTIONS = "~subtitles~", "~captions~"
"""In the format id of subtitles, between that of the media file and the language. The second stands
for automatic ones."""

_SUBTITLES_ID = re.compile(
    r"(?P<media>.*)~(?P<kind>subtitles|captions)~(?P<language>[^~]*)\.(?P<extension>vtt|srt)",
    re.DOTALL,
)
_LANGUAGE = re.compile(r"(?!.*-x-auto$)[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*", re.IGNORECASE | re.ASCII)
_LANGUAGE_BYTES = 26
_SHOWN_LANGUAGE = 9
_AUTOMATIC = "-x-auto"
"""Private part of the language tag of subtitles by speech recognition."""

_MEDIA_BYTES = 49
"""Of the media's part in a name of subtitles, so that with the language it has at most 83 bytes,
which templates reserve for a format."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_SHOWN_CHARACTERS = 32
_DIGEST_CHARACTERS = 16
_MARK = "~"
"""Prefix of a digest, or of the suffix for a format's sound. No plain format id contains it, so the
kinds of names never collide."""


class FileIds(msgspec.Struct, frozen=True):
    """What identifies a file: platform, post, and the format within the post."""

    platform: str
    video_id: str
    format_id: str


def file_name(ids: FileIds, extension: str) -> PurePosixPath:
    """Return the relative path ``<platform>/<id>/<id>.<format>.<ext>``.

    Format ids that are too long or have other characters are shortened, with a digest that keeps
    them unique. Extensions are limited to `FILE_TYPES`: platforms choose format ids and
    containers, and no file may be of a type that browsers run.

    Raises:
        ClipmillError: ``content.unsupported``; a part is not a valid name.
    """
    return with_extension(file_stem(ids), extension)


def file_stem(ids: FileIds) -> PurePosixPath:
    """Return the relative path of `file_name` without its extension; raises as it does."""
    _check("platform", ids.platform, _PLATFORM)
    _check("video id", ids.video_id, _VIDEO_ID)
    name = f"{ids.video_id}.{safe_format(ids.format_id)}"
    return PurePosixPath(ids.platform, ids.video_id, name)


def with_extension(stem: PurePosixPath, extension: str) -> PurePosixPath:
    """Return the path of a stem with an extension.

    Raises:
        ClipmillError: ``content.unsupported``; it is none of a stored file.
    """
    if extension not in FILE_TYPES:
        raise _invalid("file extension", extension)
    return stem.with_name(f"{stem.name}.{extension}")


def format_of(name: str) -> str:
    """Return the format id of a part of a name, for which `safe_format` returns that part."""
    if name.endswith(_SHOWN_SUFFIX):
        return f"{name.removesuffix(_SHOWN_SUFFIX)}{THUMBNAIL_SUFFIX}"
    return name


def _check(part: str, value: str, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(value):
        raise _invalid(part, value)


def _invalid(part: str, value: str) -> ClipmillError:
    return ClipmillError(
        ErrorCode.CONTENT_UNSUPPORTED, f"the {part} {value[:80]!r} cannot be part of a file name"
    )


def safe_format(format_id: str) -> str:
    """Return a format id as part of a name, see `file_name`."""
    subtitles = _SUBTITLES_ID.fullmatch(format_id)
    if subtitles is not None:
        return f"{_media_part(subtitles['media'])}.{_language_part(subtitles)}"
    if format_id.endswith(THUMBNAIL_SUFFIX):
        return f"{safe_format(format_id.removesuffix(THUMBNAIL_SUFFIX))}{_SHOWN_SUFFIX}"
    if _FORMAT_ID.fullmatch(format_id) or _DIGESTED.fullmatch(format_id):
        return format_id
    return _shortened(format_id, _SHOWN_CHARACTERS)


def subtitles_id(
    media_id: str, language: str, extension: SubtitleFormat, *, automatic: bool
) -> str:
    """Return the format id of subtitles of a media file.

    Their file is ``<stem of the media>.<language>.<extension>``.
    """
    escaped = language.replace("%", "%25").replace("~", "%7E")
    return f"{media_id}{CAPTIONS if automatic else SUBTITLES}{escaped}.{extension}"


def extensions_of(format_id: str) -> Collection[str]:
    """Return the extensions that a file with this format id may have."""
    subtitles = _SUBTITLES_ID.fullmatch(format_id)
    return CONTAINERS if subtitles is None else (subtitles["extension"],)


def _media_part(format_id: str) -> str:
    name = safe_format(format_id)
    if len(name) <= _MEDIA_BYTES:
        return name
    return _shortened(format_id, _MEDIA_BYTES - _DIGEST_CHARACTERS - len(_MARK))


def _language_part(subtitles: re.Match[str]) -> str:
    language = subtitles["language"]
    is_plain = _LANGUAGE.fullmatch(language) and len(language) <= _LANGUAGE_BYTES
    name = language if is_plain else _shortened(language, _SHOWN_LANGUAGE)
    return name + _AUTOMATIC * (subtitles["kind"] == "captions")


def _shortened(text: str, shown: int) -> str:
    """Return the start of a text with safe characters, and a digest of the whole."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_UNSAFE.sub('_', text[:shown])}{_MARK}{digest[:_DIGEST_CHARACTERS]}"
