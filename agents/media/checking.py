"""Whether a file is what the page promised. Pure.

What is held against a file: that it is no media, that the kind of stream is missing which makes
it the file that was chosen, that it is cut, or that a video plays for another time than the page
says; its sound may last longer than its picture. What is not: another codec or size (pages are
often wrong about those, and the result says what the file has), and the length of sound by itself
(it is the whole song, of which the post uses a part). A video without the sound that the page
promises is whole, but not what was asked for: `content.no_sound`.
"""

from agents.media.facts import MediaFacts
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoFormat

TOLERATED_SECONDS = 1.0
TOLERATED_SHARE = 0.1
"""A length is off when it is off by more than both: pages round to whole seconds."""

_ENDLESS = frozenset({"mp3", "aac", "mpegts", "ogg"})
"""Containers of which any piece is a whole file: only the page tells that one is cut."""


def check(facts: MediaFacts, promised: VideoFormat, page_seconds: float | None) -> None:
    """Return when the file is what was promised.

    Args:
        facts: what is in the file.
        promised: the format as the page describes it.
        page_seconds: how long the post plays, as the page says.

    Raises:
        ClipmillError: ``content.damaged``, with the reason; ``content.no_sound``.
    """
    reason = flaw(facts, promised, page_seconds)
    if reason is not None:
        raise damage(reason)
    if promised.audio_codec is not None and facts.audio_codec is None:
        raise no_sound(promised.format_id)


def damage(reason: str) -> ClipmillError:
    """Return the error of a file that is not what was promised."""
    message = f"the file that came is not what the page promised: {reason}"
    return ClipmillError(ErrorCode.CONTENT_DAMAGED, message, reason=reason)


def no_sound(format_id: str) -> ClipmillError:
    """Return the error of a video without the sound that was promised."""
    message = f"the file of format {format_id} has no sound, although the page promises it"
    return ClipmillError(ErrorCode.CONTENT_NO_SOUND, message, reason=f"format {format_id}")


def flaw(facts: MediaFacts, promised: VideoFormat, page_seconds: float | None) -> str | None:
    """Return what is wrong with a file, None when nothing is."""
    missing = _missing(facts, promised)
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


def _missing(facts: MediaFacts, promised: VideoFormat) -> str | None:
    pictured = promised.picture is not None or promised.video_codec is not None
    if pictured and facts.video_codec is None:
        return "there is no picture in it"
    if not pictured and promised.audio_codec is not None and facts.audio_codec is None:
        return "there is no sound in it"
    return None


def _is_off(seconds: float, wanted: float) -> bool:
    return abs(seconds - wanted) > max(TOLERATED_SECONDS, TOLERATED_SHARE * wanted)
