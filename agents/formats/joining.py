"""Selection of the sound that is joined with a silent picture, by explicit rules. Pure.

1. The sound that the post plays by default, before other languages and descriptions.
2. A file of both has one container: sound of the picture's kind of container comes first. For
   ``container=webm`` it is the only choice.
3. ``max_bytes`` limits picture and sound together.
4. Clean formats before watermarked ones, sound alone before that of a video, whole files before
   segments, then the best sound.
"""

from collections.abc import Sequence

from agents.formats.refusals import too_large
from agents.formats.sound_selection import CONTAINERS, best_first, is_sound
from schemas.request import Options
from schemas.video import VideoFormat

Formats = Sequence[VideoFormat]


def is_webm(each: VideoFormat) -> bool:
    return each.container in CONTAINERS["webm"]


def joinable(sounds: Formats, options: Options) -> list[VideoFormat]:
    """Return the sounds that the requested container holds; MP4 holds any."""
    return [each for each in sounds if options.container != "webm" or is_webm(each)]


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
            is_webm(each) != is_webm(picture),
            each.watermarked,
            # A video whose sound alone is used costs the transfer of its picture.
            not is_sound(each),
            each.protocol != "https",
            -each.preference,
            best_first(each),
        ),
    )
