"""Whether an extractor's dictionary is one video at all."""

from urllib.parse import urlsplit

from agents.platforms.fields import Fields, text
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoRef

_LISTS = frozenset({"playlist", "multi_video"})
_LEADS_ON = frozenset({"url", "url_transparent"})


def check_one_video(fields: Fields, video: VideoRef) -> None:
    """Do nothing when the dictionary is the description of one video.

    Raises:
        ClipmillError: ``content.unsupported``; the page has several videos, or leads elsewhere.
    """
    kind = text(fields, "_type", limit=20) or "video"
    if kind in _LISTS:
        raise _unsupported(video, "its page has several videos, and single ones are fetched")
    if kind in _LEADS_ON:
        place = _host(text(fields, "url", limit=2_048) or "")
        raise _unsupported(
            video, f"its page leads to {place}, which no extractor of the platform reads"
        )


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "another page")[:253]
    except ValueError:
        return "another page"


def _unsupported(video: VideoRef, reason: str) -> ClipmillError:
    message = f"{video.platform} video {video.id}: {reason}."
    return ClipmillError(ErrorCode.CONTENT_UNSUPPORTED, message, reason=reason)
