"""What a platform makes of a page, remembered: reading it is most of the work of a cache hit."""

import hashlib
from dataclasses import dataclass

from agents.caching.ttl_lru import BoundedCache
from agents.platforms.interface import Platform
from schemas.codec import encode
from schemas.video import Extraction, MediaSource, VideoInfo, VideoRef

NAME = "metadata"

LIFE_SECONDS = 1_800.0
"""Unless set: the same as the life of what the page said."""

PAGE_BYTES = 2_600
"""Of memory for a page without files. Measured."""

SOURCE_BYTES = 1_700
"""Of memory for each file that a page offers, with its URL and format. Measured."""

Key = tuple[str, bytes]
"""The page's canonical URL, and the digest of the extraction."""


@dataclass(frozen=True, slots=True)
class Page:
    """What a platform reads in an extraction.

    Attributes:
        info: the description.
        sources: where the bytes of each format are.
        digest: of the extraction and its cookies; another one is another page.
    """

    info: VideoInfo
    sources: tuple[MediaSource, ...]
    digest: bytes


def size_of(_key: Key, page: Page) -> int:
    """Return the bytes of a page, estimated: they are spread over hundreds of objects."""
    return PAGE_BYTES + SOURCE_BYTES * len(page.sources)


class MetadataCache:
    """Pages by the raw extraction that they are made of.

    Args:
        store: keeps them; made with `size_of`.
    """

    def __init__(self, store: BoundedCache[Key, Page] | None = None) -> None:
        self._store = BoundedCache(NAME, LIFE_SECONDS, size_of=size_of) if store is None else store

    def read(self, platform: Platform, video: VideoRef, extraction: Extraction) -> Page:
        """Return what the platform reads in an extraction.

        Raises:
            ClipmillError: the platform cannot read it.
        """
        digest = digest_of(extraction)
        key = (video.url, digest)
        page = self._store.get(key)
        if page is None:
            info = platform.describe(video, extraction)
            page = Page(info, platform.get_media_sources(extraction), digest)
            self._store.set(key, page)
        return page


def digest_of(extraction: Extraction) -> bytes:
    """Return the digest of what a page said, and of the cookies that it set (SHA-256)."""
    digest = hashlib.sha256(extraction.raw)
    # The sources carry the cookies, and a page read anew may have set other ones.
    digest.update(encode(extraction.cookies))
    return digest.digest()
