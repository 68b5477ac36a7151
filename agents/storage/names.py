"""Names of finished files: from ids only, safe on every file system and in every URL. Pure."""

import hashlib
import re
from pathlib import PurePosixPath

from schemas.containers import CONTAINERS
from schemas.errors import ClipmillError, ErrorCode

# No dots and no separators: no name can be "..", hidden, or split differently than it was joined.
_PLATFORM = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FORMAT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}(?:~sound)?")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_SHOWN_CHARACTERS = 32
_DIGEST_CHARACTERS = 16
_MARK = "~"
"""Separates a digest, or says that the file is the sound of a format. No plain format id contains
it, so the kinds of names never meet."""


def file_name(*, platform: str, video_id: str, format_id: str, extension: str) -> PurePosixPath:
    """Return the relative path ``<platform>/<id>/<id>.<format>.<ext>``.

    Format ids that are too long or hold other characters are shortened, and a digest is added
    that keeps them apart. Extensions are those of `schemas.containers.CONTAINERS`: whoever named
    the format, no file can be one that browsers run.

    Raises:
        ClipmillError: ``content.unsupported``; another part cannot be used.
    """
    _check("platform", platform, _PLATFORM)
    _check("video id", video_id, _VIDEO_ID)
    if extension not in CONTAINERS:
        raise _refusal("file extension", extension)
    return PurePosixPath(platform, video_id, f"{video_id}.{_safe(format_id)}.{extension}")


def _check(what: str, value: str, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(value):
        raise _refusal(what, value)


def _refusal(what: str, value: str) -> ClipmillError:
    return ClipmillError(
        ErrorCode.CONTENT_UNSUPPORTED, f"the {what} {value[:80]!r} cannot be part of a file name"
    )


def _safe(format_id: str) -> str:
    if _FORMAT_ID.fullmatch(format_id):
        return format_id
    digest = hashlib.sha256(format_id.encode("utf-8", "surrogatepass")).hexdigest()
    shown = _UNSAFE.sub("_", format_id[:_SHOWN_CHARACTERS])
    return f"{shown}{_MARK}{digest[:_DIGEST_CHARACTERS]}"
