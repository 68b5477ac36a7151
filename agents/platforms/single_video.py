"""Recognizes results of yt-dlp that are not the description of one video."""

from urllib.parse import urlsplit

from agents.platforms.fields import Fields, text
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoRef

_PLAYLIST_TYPES = frozenset({"playlist", "multi_video"})
_REDIRECT_TYPES = frozenset({"url", "url_transparent"})


def check_single_video(fields: Fields, video: VideoRef) -> None:
    """Verify that the dictionary describes a single video.

    Raises:
        ClipmillError: ``content.unsupported``; it is a playlist, or redirects to another page.
    """
    kind = text(fields, "_type", limit=20) or "video"
    if kind in _PLAYLIST_TYPES:
        raise _unsupported(video, "its page has several videos, and only single ones are supported")
    if kind in _REDIRECT_TYPES:
        target = _host(text(fields, "url", limit=2_048) or "")
        raise _unsupported(
            video, f"its page leads to {target}, which no extractor of the platform reads"
        )


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "another page")[:253]
    except ValueError:
        return "another page"


def _unsupported(video: VideoRef, reason: str) -> ClipmillError:
    message = f"{video.platform} video {video.id}: {reason}."
    return ClipmillError(ErrorCode.CONTENT_UNSUPPORTED, message, reason=reason)
