"""Errors of format selection: the reason, and the formats that were offered."""

from collections.abc import Sequence

from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoFormat

MAX_OFFERED = 30
"""Formats that an error lists; the rest is counted."""

NO_FORMATS, PICTURES_ONLY = "no_formats", "pictures_only"
"""Values of ``details["failure"]``. The second: a video was requested of a post of pictures."""


def no_format(
    reason: str, formats: Sequence[VideoFormat], *, failure: str = NO_FORMATS
) -> ClipmillError:
    """Return the error for a post without a selectable file."""
    message = f"No format of this post can be selected: {reason}. Available: {_list(formats)}."
    return ClipmillError(
        ErrorCode.CONTENT_NO_FORMATS,
        message,
        reason=reason,
        offered=_list(formats),
        failure=failure,
    )


def too_large(limit: int, smallest: int, formats: Sequence[VideoFormat]) -> ClipmillError:
    """Return the error for a post whose smallest choice exceeds the limit (bytes)."""
    reason = f"the smallest file has {smallest} bytes, but max_bytes is {limit}"
    message = f"No format of this post can be selected: {reason}. Available: {_list(formats)}."
    return ClipmillError(
        ErrorCode.REQUEST_TOO_LARGE,
        message,
        field="options.max_bytes",
        reason=reason,
        offered=_list(formats),
    )


def _list(formats: Sequence[VideoFormat]) -> str:
    shown = [_describe(each) for each in formats[:MAX_OFFERED]]
    more = [f"{len(formats) - MAX_OFFERED} more"] if len(formats) > MAX_OFFERED else []
    return ", ".join(shown + more) or "nothing"


def _describe(each: VideoFormat) -> str:
    size = f"{each.width}x{each.height}" if each.smaller_side else ""
    marks = "watermarked" * each.watermarked, "unplayable" * (not each.playable)
    sound = each.audio_codec or ("" if each.picture else "silent")
    parts = size, each.video_codec or "", sound, *marks
    return f"{each.format_id} ({' '.join(part for part in parts if part)} {each.container})"
