"""Listings: profiles, collections and playlists, and their posts."""

from typing import Literal

import msgspec

from schemas.codec import Moment

ListingKind = Literal["profile", "collection", "playlist"]

LISTED_MAX = 1_000
"""Posts of one listing; the maximum of a batch."""


class ListingRef(msgspec.Struct, frozen=True, kw_only=True):
    """The canonical name of one listing; ``url`` is its canonical page."""

    platform: str
    kind: ListingKind
    id: str
    url: str

    @property
    def key(self) -> str:
        """Key of its record: ``tiktok:profile/name``."""
        return f"{self.platform}:{self.kind}/{self.id}"


class ListedPost(msgspec.Struct, frozen=True, kw_only=True):
    """One post of a listing, with the metadata that the listing contains."""

    id: str
    url: str
    title: str | None = None
    published_at: Moment | None = None


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The posts of a listing, newest first where the platform has an order.

    Attributes:
        entries: at most as many as were requested.
        complete: the platform has no more.
    """

    platform: str
    kind: ListingKind
    id: str
    url: str
    title: str | None = None
    entries: tuple[ListedPost, ...] = ()
    complete: bool = True
