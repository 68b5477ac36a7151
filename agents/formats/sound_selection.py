"""Which file the sound is taken from: explicit rules over formats and options, nothing else.

The sound asked for is that of the video itself (`Options.audio`), in a file of its own or beside a
picture, or the song. A post of pictures has its song; where that cannot be had, the sound of the
video that TikTok has made of it.

The container asked for and the watermark are looked at; the size, the codec of the picture and
whether a player knows that are not. Of several files the one is taken whose sound is told to have
the highest bitrate (``worst``: the lowest), then the one with the fewest bytes: all of them are
fetched, and only the sound is kept.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from agents.formats.refusals import no_format, too_large
from schemas.request import Options
from schemas.video import VideoFormat

CONTAINERS: Mapping[str, frozenset[str]] = {
    "mp4": frozenset({"mp4", "m4v", "m4a"}),
    "webm": frozenset({"webm", "weba"}),
}
"""File extensions of each container, those of files with sound only included."""

Formats = Sequence[VideoFormat]
Effort = tuple[bool, bool, float, float, str]


def is_sound(each: VideoFormat) -> bool:
    """Return whether a file has sound and no picture."""
    return each.audio_codec is not None and each.video_codec is None


def choose_sound(formats: Formats, options: Options, avoided: Collection[str]) -> VideoFormat:
    """Return the file that has the sound asked for, alone or beside a picture.

    Raises:
        ClipmillError: see `agents.formats.selection.choose`.
    """
    fulfilling = _fulfilling(formats, options)
    if not fulfilling:
        raise no_format(_why_none(formats, options), formats)
    usable = [each for each in fulfilling if each.format_id not in avoided]
    if not usable:
        raise no_format("the download of every fitting file has failed", formats)
    limit = options.max_bytes
    # How large the sound is that is taken out of a video is not known yet.
    fitting = [
        each for each in usable if limit is None or not is_sound(each) or (each.bytes or 0) <= limit
    ]
    if not fitting:
        raise too_large(limit or 0, min(each.bytes or 0 for each in usable), formats)
    fitting = [each for each in fitting if not each.watermarked] or fitting
    if _has_pictures(formats):
        fitting = [each for each in fitting if is_sound(each)] or fitting
    return min(fitting, key=_worst_first if options.quality == "worst" else best_first)


def _has_pictures(formats: Formats) -> bool:
    return any(each.picture for each in formats)


def _fulfilling(formats: Formats, options: Options) -> list[VideoFormat]:
    photos = _has_pictures(formats)
    return [
        each
        for each in formats
        if each.audio_codec is not None
        and (_is_of_photos(each, options) if photos else each.song == (options.audio == "song"))
        and (each.playable or not is_sound(each))
        and (options.watermark == "allow" or not each.watermarked)
        and (options.container == "any" or each.container in CONTAINERS[options.container])
    ]


def _is_of_photos(each: VideoFormat, options: Options) -> bool:
    return options.audio == "video" or is_sound(each)


def _bits(each: VideoFormat) -> int | None:
    return each.bits_per_second if is_sound(each) else each.audio_bits_per_second


def best_first(each: VideoFormat) -> tuple[int, Effort]:
    """Return a key by which the file comes first from which sound is best taken."""
    return -(_bits(each) or 0), _effort(each)


def _worst_first(each: VideoFormat) -> tuple[float, Effort]:
    return _bits(each) or float("inf"), _effort(each)


def _effort(each: VideoFormat) -> Effort:
    """Return what it takes to have the sound of a file, those without a picture first."""
    size, rate = each.bytes or float("inf"), each.bits_per_second or float("inf")
    return not is_sound(each), not each.playable, size, rate, each.format_id


def _why_none(formats: Formats, options: Options) -> str:
    for changed, advice in (
        (
            {"watermark": "allow"},
            "every fitting file is watermarked; watermark=allow would take one",
        ),
        ({"audio": "song"}, "none of its videos has sound; audio=song would take its song"),
        ({"audio": "video"}, "its song has no file; audio=video would take the sound of the video"),
    ):
        others = msgspec.structs.replace(options, **changed)
        if others != options and _fulfilling(formats, others):
            return advice
    return "none of its files has the sound asked for"
