"""What TikTok tells about a video, from yt-dlp's dictionary. Every field may be missing."""

from agents.platforms.fields import (
    Fields,
    integer,
    moment,
    number,
    rows,
    seconds,
    text,
    web_url,
)
from agents.platforms.tiktok.urls import profile_url
from schemas.video import Author, Statistics, VideoFormat, VideoInfo, VideoRef

TITLE_CHARACTERS = 200
DESCRIPTION_CHARACTERS = 10_000
NAME_CHARACTERS = 200
MAX_THUMBNAILS = 50


def read_info(fields: Fields, video: VideoRef, formats: tuple[VideoFormat, ...]) -> VideoInfo:
    """Return the description of a video.

    Args:
        fields: yt-dlp's dictionary, as `TikTokIE` returns it.
        video: whose it is; what the dictionary says about its id and page is not believed.
        formats: the formats that it offers.
    """
    return VideoInfo(
        platform=video.platform,
        id=video.id,
        url=video.url,
        title=_title(fields, video),
        description=text(fields, "description", limit=DESCRIPTION_CHARACTERS),
        author=_author(fields),
        statistics=_statistics(fields),
        published_at=moment(fields, "timestamp"),
        duration_seconds=seconds(fields, "duration"),
        thumbnail_url=_thumbnail_url(fields),
        formats=formats,
    )


def _title(fields: Fields, video: VideoRef) -> str:
    title = text(fields, "title", limit=TITLE_CHARACTERS) or ""
    return " ".join(title.split()) or f"TikTok video {video.id}"


def _author(fields: Fields) -> Author:
    name = text(fields, "uploader", limit=NAME_CHARACTERS)
    return Author(
        id=text(fields, "uploader_id", limit=NAME_CHARACTERS),
        name=name,
        display_name=text(fields, "channel", limit=NAME_CHARACTERS),
        url=profile_url(name),
    )


def _statistics(fields: Fields) -> Statistics:
    return Statistics(
        views=integer(fields, "view_count"),
        likes=integer(fields, "like_count"),
        comments=integer(fields, "comment_count"),
        reposts=integer(fields, "repost_count"),
        saves=integer(fields, "save_count"),
    )


def _thumbnail_url(fields: Fields) -> str | None:
    """Return the preferred picture; yt-dlp counts the moving cover lower than the others."""
    ranked = [
        (number(thumbnail, "preference") or 0, url)
        for thumbnail in rows(fields, "thumbnails", limit=MAX_THUMBNAILS)
        if (url := web_url(thumbnail, "url"))
    ]
    best = max(ranked, key=lambda pair: pair[0], default=None)
    return best[1] if best else web_url(fields, "thumbnail")
