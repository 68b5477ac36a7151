"""Selection of sound: delivered alone, or joined with a silent picture, by explicit rules. Pure.

Delivered alone (``audio_only``): the requested sound (`Options.audio`) is the video's own, in an
audio file or beside a picture, or the song. A post of pictures has its song; without one, the sound
of the video that TikTok has made of it.

Sound in another language, commentaries and descriptions come last. Container and watermark count;
size, picture codec and playability of the picture do not. Of several files the highest stated sound
bitrate wins (``worst``: the lowest), then the fewest bytes: a file is fetched whole, and only its
sound is kept.

Joined with a silent picture:

1. The sound that the post plays by default, before other languages and descriptions.
2. A file of both has one container: sound of the picture's kind of container comes first. For
   ``container=webm`` it is the only choice.
3. ``max_bytes`` limits picture and sound together.
4. Clean formats before watermarked ones, sound alone before that of a video, whole files before
   segments, then the best sound.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from agents.formats.selection_errors import no_format, too_large
from schemas.request import Options
from schemas.video import VideoFormat

CONTAINERS: Mapping[str, frozenset[str]] = {
    "mp4": frozenset({"mp4", "m4v", "m4a"}),
    "webm": frozenset({"webm", "weba"}),
}
"""File extensions per container, audio-only ones included."""

Formats = Sequence[VideoFormat]
FetchCost = tuple[bool, bool, bool, float, float, str]


def is_sound(each: VideoFormat) -> bool:
    """Return whether a file is audio only."""
    return each.audio_codec is not None and each.video_codec is None


def choose_sound(formats: Formats, options: Options, avoided: Collection[str]) -> VideoFormat:
    """Choose the file with the requested sound, audio only or with a picture.

    Raises:
        ClipmillError: see `agents.formats.selection.choose`.
    """
    fulfilling = _fulfilling(formats, options)
    if not fulfilling:
        raise no_format(_reason(formats, options), formats)
    usable = [each for each in fulfilling if each.format_id not in avoided]
    if not usable:
        raise no_format("the download of every matching format has failed", formats)
    limit = options.max_bytes
    # The size of the sound inside a video is not known before its download.
    fitting = [
        each for each in usable if limit is None or not is_sound(each) or (each.bytes or 0) <= limit
    ]
    if not fitting:
        raise too_large(limit or 0, min(each.bytes or 0 for each in usable), formats)
    fitting = [each for each in fitting if not each.watermarked] or fitting
    fitting = [each for each in fitting if each.preference >= 0] or fitting
    if _has_pictures(formats):
        fitting = [each for each in fitting if is_sound(each)] or fitting
    return min(fitting, key=_worst_first if options.quality == "worst" else _best_first)


def _has_pictures(formats: Formats) -> bool:
    return any(each.picture for each in formats)


def _fulfilling(formats: Formats, options: Options) -> list[VideoFormat]:
    photos = _has_pictures(formats)
    return [
        each
        for each in formats
        if each.audio_codec is not None
        and (_fits_photos(each, options) if photos else each.song == (options.audio == "song"))
        and (each.playable or not is_sound(each))
        and (options.watermark == "allow" or not each.watermarked)
        and (options.container == "any" or each.container in CONTAINERS[options.container])
    ]


def _fits_photos(each: VideoFormat, options: Options) -> bool:
    return options.audio == "video" or is_sound(each)


def _bitrate(each: VideoFormat) -> int | None:
    return each.bits_per_second if is_sound(each) else each.audio_bits_per_second


def _best_first(each: VideoFormat) -> tuple[int, FetchCost]:
    """Return the sort key of the best source of sound."""
    return -(_bitrate(each) or 0), _fetch_cost(each)


def _worst_first(each: VideoFormat) -> tuple[float, FetchCost]:
    return _bitrate(each) or float("inf"), _fetch_cost(each)


def _fetch_cost(each: VideoFormat) -> FetchCost:
    """Return the cost of fetching a file for its sound, audio-only files first."""
    size, rate = each.bytes or float("inf"), each.bits_per_second or float("inf")
    segmented = each.protocol != "https"
    return not is_sound(each), not each.playable, segmented, size, rate, each.format_id


def _reason(formats: Formats, options: Options) -> str:
    for changed, advice in (
        (
            {"watermark": "allow"},
            "every matching format is watermarked; watermark=allow selects one",
        ),
        ({"audio": "song"}, "none of its videos has sound; audio=song selects its song"),
        ({"audio": "video"}, "its song has no file; audio=video selects the sound of the video"),
    ):
        others = msgspec.structs.replace(options, **changed)
        if others != options and _fulfilling(formats, others):
            return advice
    return "none of its formats has the requested sound"


def _is_webm(each: VideoFormat) -> bool:
    return each.container in CONTAINERS["webm"]


def joinable(sounds: Formats, options: Options) -> list[VideoFormat]:
    """Return the sounds that the requested container holds; MP4 holds any."""
    return [each for each in sounds if options.container != "webm" or _is_webm(each)]


def within_limit_joined(
    pictures: list[VideoFormat], sounds: Formats, formats: Formats, options: Options
) -> list[VideoFormat]:
    """Return the pictures that fit ``max_bytes`` together with the smallest sound.

    Raises:
        ClipmillError: ``request.too_large``, none does.
    """
    limit = options.max_bytes
    if limit is None:
        return pictures
    smallest = min(each.bytes or 0 for each in sounds)
    fitting = [each for each in pictures if (each.bytes or 0) + smallest <= limit]
    if not fitting:
        size = min(each.bytes or 0 for each in pictures) + smallest
        raise too_large(limit, size, formats)
    return fitting


def choose_joined_sound(
    picture: VideoFormat, sounds: Formats, formats: Formats, options: Options
) -> VideoFormat:
    """Choose the sound for a picture.

    Raises:
        ClipmillError: ``request.too_large``, no pair fits ``max_bytes``.
    """
    limit, size = options.max_bytes, picture.bytes or 0
    fitting = [each for each in sounds if limit is None or size + (each.bytes or 0) <= limit]
    if not fitting:
        raise too_large(limit or 0, size + min(each.bytes or 0 for each in sounds), formats)
    return min(
        fitting,
        key=lambda each: (
            each.preference < 0,
            _is_webm(each) != _is_webm(picture),
            each.watermarked,
            # A video whose sound alone is used costs the transfer of its picture.
            not is_sound(each),
            each.protocol != "https",
            -each.preference,
            _best_first(each),
        ),
    )
