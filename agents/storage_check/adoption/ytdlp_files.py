"""Names, info files and download archives of yt-dlp."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from agents.platforms import Platforms
from agents.storage import PostDetails
from agents.storage_check.adoption.report import RefusedError
from schemas.errors import ClipmillError
from schemas.video import VideoRef

INFO_SUFFIX = ".info.json"

INFO_BYTES_MAX = 32 * 2**20
"""More than any info file has; one with all comments of a post has some 20 MB."""

ARCHIVE_BYTES_MAX = 256 * 2**20
"""Some 8,000,000 entries."""

SAME_IDS = frozenset(
    {"douyin", "facebook", "instagram", "streamable", "tiktok", "vimeo", "youtube"}
)
"""Platforms whose posts have the id that yt-dlp gives their videos. Those of Bluesky, Reddit and X
have another one: they are known by the link in an info file only."""

_NAME = re.compile(r"(?P<title>.*) \[(?P<id>[A-Za-z0-9_-]{1,64})\]", re.DOTALL)
_LINE = re.compile(r"(?P<extractor>[a-z0-9_.:-]{1,64}) (?P<id>[A-Za-z0-9_-]{1,64})")


class InfoFile(msgspec.Struct, frozen=True):
    """The fields of an info file that adoption reads."""

    webpage_url: str
    title: str | None = None
    uploader: str | None = None
    channel: str | None = None
    uploader_id: str | None = None
    timestamp: float | None = None
    upload_date: str | None = None
    format_note: str | None = None

    @property
    def details(self) -> PostDetails:
        return PostDetails(
            author=self.uploader or self.channel or "",
            author_id=self.uploader_id or "",
            title=self.title or "",
            published_at=self._published_at(),
        )

    @property
    def is_watermarked(self) -> bool:
        return "watermark" in (self.format_note or "").lower()

    def _published_at(self) -> datetime | None:
        try:
            if self.timestamp is not None:
                return datetime.fromtimestamp(self.timestamp, UTC)
            return datetime.strptime(self.upload_date or "", "%Y%m%d").replace(tzinfo=UTC)
        except (ValueError, OverflowError, OSError):
            return None


class ArchiveEntry(msgspec.Struct, frozen=True):
    """An entry of a download archive, as ``tiktok 7000000000000000001``."""

    extractor: str
    id: str


def read_info(media: Path, stem: str) -> InfoFile | None:
    """Return the info file beside a media file; None without one.

    Raises:
        RefusedError: it cannot be read.
    """
    try:
        content = _read(media.with_name(f"{stem}{INFO_SUFFIX}"), INFO_BYTES_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RefusedError(f"its info file cannot be read: {error.strerror}") from None
    try:
        return msgspec.json.decode(content, type=InfoFile, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(f"its info file cannot be read: {error}") from None


def read_name(stem: str) -> tuple[str, str] | None:
    """Return title and id in a name without its extension; None for another name."""
    found = _NAME.fullmatch(stem)
    return None if found is None else (found["title"], found["id"])


def post_of_link(url: str, platforms: Platforms) -> VideoRef:
    """Return the post of a link.

    Raises:
        RefusedError: no installed platform has a post of that link.
    """
    try:
        _, target = platforms.find(url)
    except ClipmillError as error:
        raise RefusedError(f"the link in its info file: {error.message}") from None
    if not isinstance(target, VideoRef):
        raise RefusedError("the link in its info file is not that of a post")
    return target


def read_archive(path: Path) -> Iterator[ArchiveEntry]:
    """Yield the entries of a download archive; other lines are skipped.

    Raises:
        OSError: it cannot be read.
    """
    for line in _read(path, ARCHIVE_BYTES_MAX).decode(errors="replace").splitlines():
        found = _LINE.fullmatch(line.strip())
        if found is not None:
            yield ArchiveEntry(found["extractor"], found["id"])


def platforms_by_extractor(platforms: Platforms) -> Mapping[str, str]:
    """Return the platforms with the ids of yt-dlp, by extractor as archives name it."""
    named = {}
    for platform in sorted(SAME_IDS.intersection(platforms.names)):
        for extractor in platforms.by_name(platform).get_capabilities().extractors:
            named[extractor.rpartition(":")[2].removesuffix("IE").lower()] = platform
    return named


def _read(path: Path, bytes_max: int) -> bytes:
    # A FIFO without a writer would block.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(None, "it is not a regular file")
        content = file.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise OSError(None, f"it is larger than {bytes_max} bytes")
    return content
