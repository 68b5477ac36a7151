"""Caches the metadata that a platform reads from an extraction.

Reading it is most of the cost of a ``video_info`` hit.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from agents.caching.ttl_lru import BoundedCache
from agents.platforms.interface import Platform
from agents.platforms.subtitles import read_subtitles, tracks_of
from schemas.codec import encode
from schemas.subtitles import SubtitleSource
from schemas.video import Extraction, MediaSource, VideoInfo, VideoRef

NAME: Final = "metadata"

TTL_SECONDS = 1_800.0
"""Default TTL, the same as that of the extraction."""

PAGE_BYTES = 2_600
"""Memory of a page without files. Measured."""

SOURCE_BYTES = 1_700
"""Memory of each file of a page, with URL and format. Measured."""

SUBTITLE_BYTES = 1_000
"""Memory of the subtitles of a language, with a signed URL."""

Key = tuple[str, bytes]
"""Canonical URL of the page, and digest of the extraction."""


@dataclass(frozen=True, slots=True)
class Page:
    """Metadata of an extraction.

    Attributes:
        info: the description.
        sources: the media URL of each format.
        digest: of the extraction and its cookies; the cache key.
        subtitles: sources of the subtitles; None when the page was read without them.
    """

    info: VideoInfo
    sources: tuple[MediaSource, ...]
    digest: bytes
    subtitles: tuple[SubtitleSource, ...] | None = None


def size_of(_key: Key, page: Page) -> int:
    """Estimate the memory of a page: it is spread over hundreds of objects."""
    texts = sum(len(each.text or "") for each in page.subtitles or ())
    subtitles = SUBTITLE_BYTES * len(page.subtitles or ()) + texts
    return PAGE_BYTES + SOURCE_BYTES * len(page.sources) + subtitles


class MetadataCache:
    """Pages by the raw extraction that they are read from.

    Args:
        store: constructed with `size_of`.
    """

    def __init__(self, store: BoundedCache[Key, Page] | None = None) -> None:
        self._store = BoundedCache(NAME, TTL_SECONDS, size_of=size_of) if store is None else store

    def read(self, platform: Platform, video: VideoRef, extraction: Extraction) -> Page:
        """Return the page of an extraction.

        Raises:
            ClipmillError: the platform cannot read it.
        """
        digest = digest_of(extraction)
        key = (video.url, digest)
        page = self._store.get(key)
        if page is None:
            page = _read(platform, video, extraction, digest)
            self._store.set(key, page)
        return page


def _read(platform: Platform, video: VideoRef, extraction: Extraction, digest: bytes) -> Page:
    sources = platform.get_media_sources(extraction)
    info = platform.describe(video, extraction, sources)
    if not extraction.subtitles:
        return Page(info, sources, digest)
    subtitles = read_subtitles(extraction)
    return Page(replace(info, subtitles=tracks_of(subtitles)), sources, digest, subtitles)


def digest_of(extraction: Extraction) -> bytes:
    """Return the SHA-256 digest of an extraction and its cookies."""
    digest = hashlib.sha256(extraction.raw)
    # The sources carry the cookies, and another extraction of the page may have set other ones.
    digest.update(encode((extraction.cookies, extraction.subtitles)))
    return digest.digest()
