"""Maps the dictionary of a list extractor to the `Listing` of a profile or collection."""

from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from agents.platforms.fields import Fields, https_url, objects, text, unix_time
from agents.platforms.tiktok.urls import read_url
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import LISTED_MAX, ListedPost, Listing, ListingKind, ListingRef
from schemas.video import VideoRef

EXTRACTORS: Mapping[ListingKind, str] = {
    "profile": "agents.platforms.tiktok.list_pages:TikTokUserIE",
    "collection": "agents.platforms.tiktok.list_pages:TikTokCollectionIE",
}
"""Extractor by kind of listing; yt-dlp has none for playlists."""

TITLE_CHARACTERS = 200


def read_listing(fields: Fields, listing: ListingRef, limit: int) -> Listing:
    """Return the first posts of a listing; entries whose URL `read_url` rejects are dropped.

    Args:
        fields: the extractor's dictionary: ``entries``, and ``clipmill_complete``.
        listing: listing that was read.
        limit: maximum number of posts.

    Raises:
        ClipmillError: ``platform.changed``; the dictionary is not a playlist, or none of its
            entries is a post.
    """
    if fields.get("_type") != "playlist":
        raise _unreadable(listing, "the extractor's result is not a list of posts")
    entries = objects(fields, "entries", limit=LISTED_MAX)
    posts = _posts(entries)
    if entries and not posts:
        raise _unreadable(listing, "its list has no post")
    return Listing(
        platform=listing.platform,
        kind=listing.kind,
        id=listing.id,
        url=listing.url,
        title=text({"title": _title(fields)}, "title", limit=TITLE_CHARACTERS),
        entries=tuple(posts[:limit]),
        complete=fields.get("clipmill_complete") is True and len(posts) <= limit,
    )


def _title(fields: Fields) -> str | None:
    """Return the unescaped title: that of a collection is taken from its URL."""
    title = fields.get("title")
    return unquote(title) if isinstance(title, str) else None


def _posts(entries: Sequence[Fields]) -> list[ListedPost]:
    """Return the posts without duplicates, in order of first occurrence."""
    posts: dict[str, ListedPost] = {}
    for entry in entries:
        if post := _post(entry):
            posts.setdefault(post.id, post)
    return list(posts.values())


def _post(entry: Fields) -> ListedPost | None:
    video = _video(https_url(entry, "url"))
    if video is None:
        return None
    return ListedPost(
        id=video.id,
        url=video.url,
        title=text(entry, "title", limit=TITLE_CHARACTERS),
        published_at=unix_time(entry, "timestamp"),
    )


def _video(url: str | None) -> VideoRef | None:
    try:
        target = read_url(url)
    except ClipmillError:
        return None
    return target if isinstance(target, VideoRef) else None


def _unreadable(listing: ListingRef, reason: str) -> ClipmillError:
    message = f"TikTok {listing.kind} {listing.id}: {reason}."
    return ClipmillError(ErrorCode.PLATFORM_CHANGED, message, failure="unreadable_list")
