"""Maps the info dictionary of any yt-dlp extractor to a `VideoInfo`."""

import re
from datetime import UTC, datetime

from agents.platforms.fields import (
    Fields,
    https_url,
    integer,
    number,
    objects,
    seconds,
    text,
    unix_time,
)
from schemas.video import Author, Statistics, VideoFormat, VideoInfo, VideoRef

TITLE_CHARACTERS = 200
DESCRIPTION_CHARACTERS = 10_000
NAME_CHARACTERS = 200
MAX_THUMBNAILS = 50


def read_info(
    fields: Fields, video: VideoRef, formats: tuple[VideoFormat, ...], *, site: str
) -> VideoInfo:
    """Return the description of a video. Every field of the dictionary may be missing.

    Args:
        fields: info dictionary of the extractor.
        video: supplies platform, id and URL; those of the dictionary are not trusted.
        formats: formats that the page offers.
        site: display name of the platform.
    """
    title = " ".join((text(fields, "title", limit=TITLE_CHARACTERS) or "").split())
    return VideoInfo(
        platform=video.platform,
        id=video.id,
        url=video.url,
        title=title or f"{site} video {video.id}",
        description=text(fields, "description", limit=DESCRIPTION_CHARACTERS),
        author=_author(fields),
        statistics=_statistics(fields),
        published_at=unix_time(fields, "timestamp") or _upload_date(fields),
        duration_seconds=seconds(fields, "duration"),
        thumbnail_url=_thumbnail_url(fields),
        formats=formats,
    )


def _author(fields: Fields) -> Author:
    names = [text(fields, name, limit=NAME_CHARACTERS) for name in ("uploader", "creator")]
    return Author(
        id=text(fields, "uploader_id", limit=NAME_CHARACTERS),
        name=next(filter(None, names), None),
        display_name=text(fields, "channel", limit=NAME_CHARACTERS),
        url=https_url(fields, "uploader_url"),
    )


def _statistics(fields: Fields) -> Statistics:
    return Statistics(
        views=integer(fields, "view_count"),
        likes=integer(fields, "like_count"),
        comments=integer(fields, "comment_count"),
        reposts=integer(fields, "repost_count"),
        saves=integer(fields, "save_count"),
    )


def _upload_date(fields: Fields) -> datetime | None:
    """Return midnight UTC of ``upload_date``, YYYYMMDD."""
    value = text(fields, "upload_date", limit=8) or ""
    try:
        date = datetime.strptime(value, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    # strptime also accepts fewer digits and non-ASCII ones.
    return date if re.fullmatch(r"[0-9]{8}", value, re.ASCII) else None


def _thumbnail_url(fields: Fields) -> str | None:
    ranked = [
        (number(thumbnail, "preference") or 0, url)
        for thumbnail in objects(fields, "thumbnails", limit=MAX_THUMBNAILS)
        if (url := https_url(thumbnail, "url"))
    ]
    best = max(ranked, key=lambda pair: pair[0], default=None)
    return best[1] if best else https_url(fields, "thumbnail")
