"""The posts of a profile or collection, from what the engine's extractors return."""

from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from agents.platforms.fields import Fields, moment, rows, text, web_url
from agents.platforms.tiktok.urls import read_url
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import LISTED_MAX, ListedPost, Listing, ListingKind, ListingRef
from schemas.video import VideoRef

EXTRACTORS: Mapping[ListingKind, str] = {
    "profile": "agents.platforms.tiktok.list_pages:TikTokUserIE",
    "collection": "agents.platforms.tiktok.list_pages:TikTokCollectionIE",
}
"""Which extractor reads a kind of listing. yt-dlp has none for playlists."""

TITLE_CHARACTERS = 200


def read_listing(fields: Fields, listing: ListingRef, limit: int) -> Listing:
    """Return the first posts of a listing; an address is believed only when `read_url` reads it.

    Args:
        fields: the extractor's dictionary: ``entries``, and ``clipmill_complete``.
        listing: whose they are.
        limit: how many are wanted.

    Raises:
        ClipmillError: ``platform.changed``; the dictionary is none of a listing, or none of its
            entries is a post.
    """
    if fields.get("_type") != "playlist":
        raise _unreadable(listing, "the extractor's answer is no list of posts")
    told = rows(fields, "entries", limit=LISTED_MAX)
    posts = _posts(told)
    if told and not posts:
        raise _unreadable(listing, "nothing in its list is a post")
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
    """Return the title; that of a collection is a part of its address."""
    told = fields.get("title")
    return unquote(told) if isinstance(told, str) else None


def _posts(told: Sequence[Fields]) -> list[ListedPost]:
    """Return every post once, at its first place."""
    posts: dict[str, ListedPost] = {}
    for row in told:
        if post := _post(row):
            posts.setdefault(post.id, post)
    return list(posts.values())


def _post(row: Fields) -> ListedPost | None:
    video = _video(web_url(row, "url"))
    if video is None:
        return None
    return ListedPost(
        id=video.id,
        url=video.url,
        title=text(row, "title", limit=TITLE_CHARACTERS),
        published_at=moment(row, "timestamp"),
    )


def _video(url: str | None) -> VideoRef | None:
    try:
        found = read_url(url)
    except ClipmillError:
        return None
    return found if isinstance(found, VideoRef) else None


def _unreadable(listing: ListingRef, reason: str) -> ClipmillError:
    message = f"TikTok {listing.kind} {listing.id}: {reason}."
    return ClipmillError(ErrorCode.PLATFORM_CHANGED, message, failure="unreadable_list")
