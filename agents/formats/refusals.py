"""Why no file of a post can be chosen, with what there was to choose from."""

from collections.abc import Sequence

from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoFormat

MAX_OFFERED = 30
"""Files that an error lists; it also counts the others."""

NO_FORMATS, PICTURES_ONLY = "no_formats", "pictures_only"
"""Of ``details["failure"]``. The second: a video was asked for, and the post has pictures."""

Formats = Sequence[VideoFormat]


def no_format(reason: str, formats: Formats, *, failure: str = NO_FORMATS) -> ClipmillError:
    """Return the error of a post none of whose files can be taken, for this reason."""
    message = f"No file of this post can be chosen: {reason}. Offered: {_list(formats)}."
    return ClipmillError(
        ErrorCode.CONTENT_NO_FORMATS,
        message,
        reason=reason,
        offered=_list(formats),
        failure=failure,
    )


def too_large(limit: int, smallest: int, formats: Formats) -> ClipmillError:
    """Return the error of a post whose `smallest` choice has more bytes than the `limit`."""
    reason = f"the smallest file has {smallest} bytes, max_bytes is {limit}"
    message = f"No file of this post can be chosen: {reason}. Offered: {_list(formats)}."
    return ClipmillError(
        ErrorCode.REQUEST_TOO_LARGE,
        message,
        field="options.max_bytes",
        reason=reason,
        offered=_list(formats),
    )


def _list(formats: Formats) -> str:
    shown = [_describe(each) for each in formats[:MAX_OFFERED]]
    more = [f"{len(formats) - MAX_OFFERED} more"] if len(formats) > MAX_OFFERED else []
    return ", ".join(shown + more) or "nothing"


def _describe(each: VideoFormat) -> str:
    size = f"{each.width}x{each.height}" if each.smaller_side else ""
    marks = "watermarked" * each.watermarked, "unplayable" * (not each.playable)
    sound = each.audio_codec or ("" if each.picture else "silent")
    parts = size, each.video_codec or "", sound, *marks
    return f"{each.format_id} ({' '.join(part for part in parts if part)} {each.container})"
