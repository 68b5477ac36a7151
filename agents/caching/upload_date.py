"""When posts were published, remembered: not every page or listing tells it."""

from datetime import datetime

import msgspec

from agents.caching.ttl_lru import BoundedCache
from schemas.listing import ListedPost, Listing
from schemas.video import VideoInfo

NAME = "upload_date"

LIFE_SECONDS = 86_400.0
"""Unless set. It never changes; a life bounds what is kept of videos that nobody asks for."""


def size_of(key: str, _moment: datetime) -> int:
    """Return the bytes of a key and its moment, with Python's own for each."""
    return len(key) + 100


class UploadDates:
    """Moments by video key.

    Args:
        store: keeps them; made with `size_of`.
    """

    def __init__(self, store: BoundedCache[str, datetime] | None = None) -> None:
        self._store = BoundedCache(NAME, LIFE_SECONDS, size_of=size_of) if store is None else store

    def note(self, key: str, published_at: datetime | None) -> None:
        """Remember when a post was published, if that was told."""
        if published_at is not None and self._store.peek(key) != published_at:
            self._store.set(key, published_at)

    def get(self, key: str) -> datetime | None:
        """Return when a post was published, as far as that is known."""
        return self._store.get(key)

    def complete(self, key: str, info: VideoInfo) -> VideoInfo:
        """Return the description with its date, when it lacks it and it is known; learn from it."""
        if info.published_at is not None:
            self.note(key, info.published_at)
            return info
        known = self.get(key)
        return info if known is None else msgspec.structs.replace(info, published_at=known)

    def complete_listing(self, listing: Listing) -> Listing:
        """Return the listing with the dates of its posts that are known; learn from the others."""
        entries = tuple(self._complete_post(listing.platform, post) for post in listing.entries)
        return msgspec.structs.replace(listing, entries=entries)

    def _complete_post(self, platform: str, post: ListedPost) -> ListedPost:
        key = f"{platform}:{post.id}"
        if post.published_at is not None:
            self.note(key, post.published_at)
            return post
        known = self.get(key)
        return post if known is None else msgspec.structs.replace(post, published_at=known)
