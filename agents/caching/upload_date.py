"""Caches publication times of posts: not every page or listing states them."""

from datetime import datetime
from typing import Final

import msgspec

from agents.caching.ttl_lru import BoundedCache
from schemas.listing import ListedPost, Listing
from schemas.video import VideoInfo

NAME: Final = "upload_date"

TTL_SECONDS = 86_400.0
"""Default TTL. A date never changes; the TTL only removes posts that are not requested any more."""


def size_of(key: str, _published_at: datetime) -> int:
    """Return the memory of key and value, object headers included."""
    return len(key) + 100


class UploadDates:
    """Publication times by video key.

    Args:
        store: constructed with `size_of`.
    """

    def __init__(self, store: BoundedCache[str, datetime] | None = None) -> None:
        self._store = BoundedCache(NAME, TTL_SECONDS, size_of=size_of) if store is None else store

    def put(self, key: str, published_at: datetime | None) -> None:
        """Store a publication time, if there is one."""
        if published_at is not None and self._store.peek(key) != published_at:
            self._store.set(key, published_at)

    def get(self, key: str) -> datetime | None:
        return self._store.get(key)

    def complete(self, key: str, info: VideoInfo) -> VideoInfo:
        """Fill in a missing date from the cache, or store the one of the description."""
        if info.published_at is not None:
            self.put(key, info.published_at)
            return info
        known = self.get(key)
        return info if known is None else msgspec.structs.replace(info, published_at=known)

    def complete_listing(self, listing: Listing) -> Listing:
        """Fill in missing dates of the posts from the cache, and store the stated ones."""
        entries = tuple(self._complete_post(listing.platform, post) for post in listing.entries)
        return msgspec.structs.replace(listing, entries=entries)

    def _complete_post(self, platform: str, post: ListedPost) -> ListedPost:
        key = f"{platform}:{post.id}"
        if post.published_at is not None:
            self.put(key, post.published_at)
            return post
        known = self.get(key)
        return post if known is None else msgspec.structs.replace(post, published_at=known)
