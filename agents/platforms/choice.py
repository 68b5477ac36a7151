"""Which format of a video is fetched: explicit rules over formats and options, nothing else.

1. Hard conditions: playable, the container and codec asked for, no watermark unless allowed.
   A video has a picture; with ``audio_only`` the file has sound and no picture, and its codec
   and size are not looked at.
2. Preferences: formats with sound before silent ones, clean ones before watermarked ones.
3. Size of the smaller side: the largest that is not above the tier asked for. When none is that
   small, the smallest above it; that, and a size below the tier, only with ``degrade``. Unknown
   sizes are taken only when no size is known.
4. Among formats of one size the one with the highest bitrate, then H.264 before others because
   more players know it, then the earlier name; ``worst`` takes the lowest bitrate.

With ``degrade`` a byte limit leaves out what is known to be larger, so that a smaller picture may
be chosen; without it, a file of the quality asked for that is too large is an error.

A post with pictures is given as what its author published: every picture, then the best of its
music, for which rule 4 holds. Where TikTok has also made a video of the pictures, that is taken
when a container or a codec is asked for, which only videos have; without one, both conditions have
nothing to speak of and the pictures are taken.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from agents.platforms.refusals import no_format, too_large
from schemas.request import Options
from schemas.video import VideoFormat

TIERS: Mapping[str, int] = {"1080p": 1080, "720p": 720, "480p": 480, "360p": 360}
"""Pixels of the smaller side that a quality allows."""

EXACT_SHARE = 0.95
"""A side this close under its tier is the tier: encoders cut pictures to whole blocks."""

CONTAINERS: Mapping[str, frozenset[str]] = {
    "mp4": frozenset({"mp4", "m4v", "m4a"}),
    "webm": frozenset({"webm", "weba"}),
}
"""File extensions of each container, those of files with sound only included."""

Formats = Sequence[VideoFormat]


def choose(formats: Formats, options: Options, avoided: Collection[str] = ()) -> VideoFormat:
    """Return the format to fetch; the order of `formats` does not matter.

    Args:
        formats: what the platform offers.
        options: what the request asks for.
        avoided: ids of formats that are left out, because their download failed.

    Raises:
        ClipmillError: ``content.no_formats``, none fulfils the options; ``request.too_large``,
            those that do are known to be larger than ``max_bytes``. ``details["offered"]`` lists
            what there was.
    """
    fulfilling = [each for each in formats if _is_usable(each, options)]
    if not fulfilling:
        raise no_format(_why(formats, options), formats)
    usable = [each for each in fulfilling if each.format_id not in avoided]
    if not usable:
        raise no_format("the download of every fitting file has failed", formats)
    pool = _affordable(usable, formats, options) if options.degrade else usable
    preferred = _preferred(pool)
    sized = _of_size(preferred, options)
    if not sized:
        raise no_format(f"it has no {options.quality}, and degrade is off", formats)
    fitting = _affordable(sized, formats, options)
    return min(fitting, key=_smallest_first if options.quality == "worst" else _richest_first)


def choose_files(
    formats: Formats, options: Options, avoided: Collection[str] = ()
) -> tuple[VideoFormat, ...]:
    """Return every file to fetch: the one that `choose` finds or, of a photo post, all.

    That is its pictures in their order, then its music; with ``audio_only`` the music alone. Of a
    picture at several hosts the first is taken; when a host has failed with one, the other is asked
    for all. Music that cannot be had is left out with ``degrade``.

    Raises:
        ClipmillError: see `choose`; ``request.too_large``, they have too many bytes together.
    """
    if options.audio_only or not any(each.picture for each in formats):
        return (choose(formats, options, avoided),)
    if _asks_for_video(options) and any(_is_usable(each, options) for each in formats):
        return (choose(formats, options, avoided),)
    files = (*_pictures(formats, avoided), *_music(formats, options, avoided))
    size = sum(each.bytes or 0 for each in files)
    if options.max_bytes is not None and size > options.max_bytes:
        raise too_large(options.max_bytes, size, formats)
    return files


def _asks_for_video(options: Options) -> bool:
    return (options.container, options.codec) != ("any", "any")


def _pictures(formats: Formats, avoided: Collection[str]) -> list[VideoFormat]:
    ways: dict[int, list[VideoFormat]] = defaultdict(list)
    for each in formats:
        if each.picture:
            ways[each.picture].append(each)
    ranked = [list(enumerate(ways[place])) for place in sorted(ways)]
    failed = Counter(rank for way in ranked for rank, each in way if each.format_id in avoided)
    usable = [[pair for pair in way if pair[1].format_id not in avoided] for way in ranked]
    if not all(usable):
        raise no_format("the download of one of its pictures has failed from every host", formats)
    return [min(way, key=lambda pair: (failed[pair[0]], pair[0]))[1] for way in usable]


def _music(formats: Formats, options: Options, avoided: Collection[str]) -> list[VideoFormat]:
    sounds = [each for each in formats if _is_sound(each) and each.playable]
    usable = [each for each in sounds if each.format_id not in avoided]
    if sounds and not usable and not options.degrade:
        raise no_format("the download of its music has failed, and degrade is off", formats)
    return sorted(usable, key=_richest_first)[:1]


def _is_usable(each: VideoFormat, options: Options) -> bool:
    return (
        each.playable
        and (options.watermark == "allow" or not each.watermarked)
        and (options.container == "any" or each.container in CONTAINERS[options.container])
        and (_is_sound(each) if options.audio_only else _is_picture(each, options))
    )


def _is_sound(each: VideoFormat) -> bool:
    return each.audio_codec is not None and each.video_codec is None


def _is_picture(each: VideoFormat, options: Options) -> bool:
    return each.video_codec is not None and options.codec in {"any", each.video_codec}


def _affordable(wanted: Formats, formats: Formats, options: Options) -> Formats:
    limit = options.max_bytes
    fitting = [each for each in wanted if limit is None or (each.bytes or 0) <= limit]
    if not fitting:
        raise too_large(limit or 0, min(each.bytes or 0 for each in wanted), formats)
    return fitting


def _preferred(formats: Formats) -> Formats:
    voiced = _if_any(formats, lambda each: each.audio_codec is not None)
    return _if_any(voiced, lambda each: not each.watermarked)


def _if_any(formats: Formats, wish: Callable[[VideoFormat], bool]) -> Formats:
    return [each for each in formats if wish(each)] or formats


def _of_size(formats: Formats, options: Options) -> Formats:
    if options.audio_only:
        return formats
    side = wanted_side({each.smaller_side for each in formats}, options)
    return [each for each in formats if each.smaller_side == side]


def wanted_side(sides: set[int], options: Options) -> int | None:
    """Return which of the offered sizes (smaller sides, 0 for unknown) the options mean.

    None: there is none, and `Options.degrade` forbids another.
    """
    known = sides - {0} or sides
    limit = TIERS.get(options.quality)
    if limit is None:
        return min(known) if options.quality == "worst" else max(known)
    least = 0 if options.degrade else limit * EXACT_SHARE
    below = {side for side in known if least <= side <= limit}
    if not below and not options.degrade:
        return None
    return max(below) if below else min(known)


def _richest_first(each: VideoFormat) -> tuple[int, bool, str]:
    return -(each.bits_per_second or 0), each.video_codec != "h264", each.format_id


def _smallest_first(each: VideoFormat) -> tuple[float, bool, str]:
    return each.bits_per_second or float("inf"), each.video_codec != "h264", each.format_id


def _why(formats: Formats, options: Options) -> str:
    """Say why nothing is usable."""
    if options.audio_only:
        return "none of its files is sound without a picture"
    if formats and all(each.video_codec is None for each in formats):
        return "it has sound only; audio_only would take that"
    allowed = msgspec.structs.replace(options, watermark="allow")
    if any(_is_usable(each, allowed) for each in formats):
        return "every fitting file is watermarked; watermark=allow would take one"
    return "none of its files is what the options ask for"
