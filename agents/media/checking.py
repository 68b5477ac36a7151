"""Verification of a file's media facts against the page's description. Pure.

A file is damaged if it is no media, lacks the stream that its format is chosen for, is truncated,
or is a video whose duration differs from the page's; its audio may be longer than its video.
Accepted are another codec or size (pages are often wrong about them, and the result states those of
the file), and another duration of audio alone (the whole song, of which the post uses a part). A
video without the audio that the page promises is intact, but not as requested: `content.no_sound`.
"""

from agents.media.protocol import MediaFacts
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoFormat

TOLERATED_SECONDS = 1.0
TOLERATED_SHARE = 0.1
"""A duration must exceed both tolerances to be wrong: pages round to whole seconds."""

_ENDLESS = frozenset({"mp3", "aac", "mpegts", "ogg"})
"""Containers without a declared end: truncation shows only against the page's duration."""


def check(facts: MediaFacts, promised: VideoFormat, page_seconds: float | None) -> None:
    """Verify a file.

    Args:
        facts: of the file.
        promised: the format as described by the page.
        page_seconds: duration of the post according to the page.

    Raises:
        ClipmillError: ``content.damaged``, with the reason; ``content.no_sound``.
    """
    reason = find_mismatch(facts, promised, page_seconds)
    if reason is not None:
        raise damaged_error(reason)
    if promised.audio_codec is not None and facts.audio_codec is None:
        raise no_sound_error(promised.format_id)


def damaged_error(reason: str) -> ClipmillError:
    """Return the ``content.damaged`` error of a file."""
    message = f"the downloaded file does not match the metadata of its page: {reason}"
    return ClipmillError(ErrorCode.CONTENT_DAMAGED, message, reason=reason)


def no_sound_error(format_id: str) -> ClipmillError:
    """Return the ``content.no_sound`` error of a video."""
    message = f"the file of format {format_id} has no sound, although its page declares it"
    return ClipmillError(ErrorCode.CONTENT_NO_SOUND, message, reason=f"format {format_id}")


def find_mismatch(
    facts: MediaFacts, promised: VideoFormat, page_seconds: float | None
) -> str | None:
    """Return why a file is damaged, None when it is not."""
    missing = _missing_stream(facts, promised)
    if missing:
        return missing
    length = facts.duration_seconds
    if length is None or (promised.picture is not None and not promised.motion):
        return None
    if facts.end_seconds is not None and _is_off(min(facts.end_seconds, length), length):
        return f"it ends after {facts.end_seconds:.1f} of {length:.1f} seconds"
    lengths = (length, facts.picture_seconds or length)
    song_seconds = promised.duration_seconds or 0.0
    if facts.container in _ENDLESS and length < song_seconds and _is_off(length, song_seconds):
        return f"it plays for {length:.1f} seconds, the page says {song_seconds:.1f}"
    plays_as_post = promised.video_codec and promised.picture is None
    if plays_as_post and page_seconds and all(_is_off(it, page_seconds) for it in lengths):
        return f"it plays for {length:.1f} seconds, the page says {page_seconds:.1f}"
    return None


def _missing_stream(facts: MediaFacts, promised: VideoFormat) -> str | None:
    pictured = promised.picture is not None or promised.video_codec is not None
    if pictured and facts.video_codec is None:
        return "there is no picture in it"
    if not pictured and promised.audio_codec is not None and facts.audio_codec is None:
        return "there is no sound in it"
    return None


def _is_off(seconds: float, expected: float) -> bool:
    return abs(seconds - expected) > max(TOLERATED_SECONDS, TOLERATED_SHARE * expected)
