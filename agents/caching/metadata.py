"""Caches the metadata that a platform reads from an extraction, and the publication times.

Reading the metadata is most of the cost of a ``video_info`` hit. The times have a cache of their
own, because not every page or listing states them.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from msgspec.structs import replace

from agents.caching.ttl_lru import BoundedCache
from agents.platforms.interface import Platform
from agents.platforms.subtitles import read_subtitles, tracks_of
from schemas.codec import encode
from schemas.listing import ListedPost, Listing
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

DATES_NAME: Final = "upload_date"

DATES_TTL_SECONDS = 86_400.0
"""Default TTL. A date never changes; the TTL only removes posts that are not requested any more."""

MetadataKey = tuple[str, bytes]
"""Canonical URL of the page, and digest of the extraction."""

Described = TypeVar("Described", VideoInfo, ListedPost)


@dataclass(frozen=True, slots=True)
class PageMetadata:
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


def size_of(_key: MetadataKey, page: PageMetadata) -> int:
    """Estimate the memory of a page: it is spread over hundreds of objects."""
    texts = sum(len(each.text or "") for each in page.subtitles or ())
    subtitles = SUBTITLE_BYTES * len(page.subtitles or ()) + texts
    return PAGE_BYTES + SOURCE_BYTES * len(page.sources) + subtitles


class MetadataCache:
    """Pages by the raw extraction that they are read from.

    Args:
        store: constructed with `size_of`.
    """

    def __init__(self, store: BoundedCache[MetadataKey, PageMetadata] | None = None) -> None:
        self._store = BoundedCache(NAME, TTL_SECONDS, size_of=size_of) if store is None else store

    def read(self, platform: Platform, video: VideoRef, extraction: Extraction) -> PageMetadata:
        """Return the page of an extraction.

        Raises:
            ClipmillError: the platform cannot read it.
        """
        digest = digest_of(extraction)
        key = (video.url, digest)
        page = self._store.get(key)
        if page is None:
            sources = platform.get_media_sources(extraction)
            info = platform.describe(video, extraction, sources)
            subtitles = read_subtitles(extraction) if extraction.subtitles else None
            if subtitles is not None:
                info = replace(info, subtitles=tracks_of(subtitles))
            page = PageMetadata(info, sources, digest, subtitles)
            self._store.set(key, page)
        return page


def digest_of(extraction: Extraction) -> bytes:
    """Return the SHA-256 digest of an extraction and its cookies."""
    digest = hashlib.sha256(extraction.raw)
    # The sources carry the cookies, and another extraction of the page may have set other ones.
    digest.update(encode((extraction.cookies, extraction.subtitles)))
    return digest.digest()


def size_of_date(key: str, _published_at: datetime) -> int:
    """Return the memory of key and value, object headers included."""
    return len(key) + 100


class UploadDates:
    """Publication times by video key.

    Args:
        store: constructed with `size_of_date`.
    """

    def __init__(self, store: BoundedCache[str, datetime] | None = None) -> None:
        self._store = (
            BoundedCache(DATES_NAME, DATES_TTL_SECONDS, size_of=size_of_date)
            if store is None
            else store
        )

    def put(self, key: str, published_at: datetime | None) -> None:
        """Store a publication time, if there is one."""
        if published_at is not None and self._store.peek(key) != published_at:
            self._store.set(key, published_at)

    def get(self, key: str) -> datetime | None:
        return self._store.get(key)

    def complete(self, key: str, described: Described) -> Described:
        """Fill in a missing date from the cache, or store the one of the description."""
        if described.published_at is not None:
            self.put(key, described.published_at)
            return described
        known = self.get(key)
        return described if known is None else replace(described, published_at=known)

    def complete_listing(self, listing: Listing) -> Listing:
        """Fill in missing dates of the posts from the cache, and store the stated ones."""
        platform = listing.platform
        entries = tuple(self.complete(f"{platform}:{it.id}", it) for it in listing.entries)
        return replace(listing, entries=entries)
