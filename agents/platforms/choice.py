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
"""

from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from schemas.errors import ClipmillError, ErrorCode
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

MAX_OFFERED = 30

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
        raise _no_format(_why(formats, options), formats)
    usable = [each for each in fulfilling if each.format_id not in avoided]
    if not usable:
        raise _no_format("the download of every fitting file has failed", formats)
    pool = _affordable(usable, formats, options) if options.degrade else usable
    preferred = _preferred(pool)
    sized = _of_size(preferred, options)
    if not sized:
        raise _no_format(f"it has no {options.quality}, and degrade is off", formats)
    fitting = _affordable(sized, formats, options)
    return min(fitting, key=_smallest_first if options.quality == "worst" else _richest_first)


def choose_files(
    formats: Formats, options: Options, avoided: Collection[str] = ()
) -> tuple[VideoFormat, ...]:
    """Return every file to fetch: the one that `choose` finds or, of a photo post, all.

    That is its pictures in their order, then its music; with ``audio_only`` the music alone.

    Raises:
        ClipmillError: see `choose`; ``request.too_large``, they have too many bytes together.
    """
    pictures = [each for each in formats if each.picture]
    pictures.sort(key=lambda each: each.picture or 0)
    if not pictures or options.audio_only:
        return (choose(formats, options, avoided),)
    files = (*pictures, *[each for each in formats if _is_sound(each)][:1])
    size = sum(each.bytes or 0 for each in files)
    if options.max_bytes is not None and size > options.max_bytes:
        raise _too_large(options.max_bytes, size, formats)
    return files


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
        raise _too_large(limit or 0, min(each.bytes or 0 for each in wanted), formats)
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
        return "it has sound only, as photo posts do; audio_only would take that"
    allowed = msgspec.structs.replace(options, watermark="allow")
    if any(_is_usable(each, allowed) for each in formats):
        return "every fitting file is watermarked; watermark=allow would take one"
    return "none of its files is what the options ask for"


def _no_format(reason: str, formats: Formats) -> ClipmillError:
    message = f"No format of this video can be chosen: {reason}. Offered: {_list(formats)}."
    return ClipmillError(
        ErrorCode.CONTENT_NO_FORMATS, message, reason=reason, offered=_list(formats)
    )


def _too_large(limit: int, smallest: int, formats: Formats) -> ClipmillError:
    reason = f"the smallest file has {smallest} bytes, max_bytes is {limit}"
    message = f"No format of this video can be chosen: {reason}. Offered: {_list(formats)}."
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
    parts = size, each.video_codec or "", each.audio_codec or "silent", *marks
    return f"{each.format_id} ({' '.join(part for part in parts if part)} {each.container})"
