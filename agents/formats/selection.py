"""Format selection: picks the files to fetch by explicit rules over formats and options. Pure.

1. Filters: playable, the requested container and codec, no watermark unless allowed. A video has a
   picture.
2. Preferences: formats with sound before silent ones, clean ones before watermarked ones.
   A format is silent when the page says so, or when its file was found to be.
3. Size of the smaller side: the largest within the requested tier. When there is none, the smallest
   above it; that, and a size below the tier, only with ``degrade``. Unknown sizes are used only
   when no size is known.
4. Within one size whole files before segments of a manifest, then the highest bitrate, then H.264
   before others because more players support it, then the name; ``worst`` uses the lowest bitrate.

With ``degrade`` a byte limit excludes files known to be larger, so that a smaller picture may be
chosen; without it, a file of the requested quality that is too large is an error.

When another format of the post has sound, no silent file is chosen: the picture is joined with the
sound of the other one. That happens when no file with sound fulfils the options, and for ``best``
when the silent picture is larger than those with sound; see `agents.formats.sound_selection`.

Formats whose download has failed are excluded, so the next one by these rules is chosen: the other
host of the same file, another codec of the same size, a lower size. Without ``degrade``, ``best``
and ``worst`` keep the size that they have with the failed formats.

``audio_only`` has other rules; see `agents.formats.sound_selection`.

A post of pictures is delivered as its author published it: every picture, that of a live photo with
its motion file, then the best of its music by rule 4. Where TikTok has also made a video of the
pictures, that is chosen when a container or a codec is requested, which only videos have. Without
such a video, a container is an error, and a codec is ignored: the pictures are chosen. Pictures
without a URL are skipped with ``degrade``.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from agents.formats.selection_errors import PICTURES_ONLY, no_format, too_large
from agents.formats.sound_selection import (
    CONTAINERS,
    Formats,
    choose_joined_sound,
    choose_sound,
    is_sound,
    joinable,
    within_limit_joined,
)
from schemas.request import Options
from schemas.video import JOIN, VideoFormat, joined_id

TIERS: Mapping[str, int] = {"1080p": 1080, "720p": 720, "480p": 480, "360p": 360}
"""Maximum pixels of the smaller side per quality."""

TIER_SHARE_MIN = 0.95
"""Share of the tier from which a side counts as the tier: encoders crop to whole blocks."""

_HOST_NUMBER = re.compile(r"-[0-9]+$")


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One file to fetch.

    Attributes:
        format: of the file; without ``audio_codec`` when it was found to be silent.
        sound_from: another format of the post, whose sound is joined with this picture.
    """

    format: VideoFormat
    sound_from: VideoFormat | None = None

    @property
    def format_id(self) -> str:
        """Format id in results, see `schemas.video.SelectedSource.format_id`."""
        return joined_id(self.format, self.sound_from)


def choose(
    formats: Formats,
    options: Options,
    avoided: Collection[str] = (),
    silent: Collection[str] = (),
) -> Choice:
    """Choose the file to fetch; the order of ``formats`` has no influence.

    Args:
        formats: offered by the platform.
        options: of the request.
        avoided: ids of formats to exclude, because their download failed.
        silent: ids of formats whose files were found to have no sound.

    Raises:
        ClipmillError: ``content.no_formats``, none fulfils the options; ``request.too_large``,
            the ones that do are known to be larger than ``max_bytes``. ``details["offered"]`` lists
            the formats.
    """
    corrected = formats
    if silent:
        corrected = [
            replace(it, audio_codec=None) if it.format_id in silent else it for it in formats
        ]
    if options.audio_only:
        return Choice(format=choose_sound(corrected, options, avoided))
    fulfilling = [each for each in corrected if _is_usable(each, options)]
    if not fulfilling:
        raise no_format(_reason(corrected, options), formats)
    usable = [each for each in fulfilling if each.format_id not in avoided]
    if not usable:
        raise no_format("the download of every matching format has failed", formats)
    if options.degrade:
        pool = _within_limit(usable, formats, options)
    else:
        pool = _of_requested_size(usable, fulfilling, options)
    return _with_sound(pool, corrected, options, avoided)


def _of_requested_size(usable: Formats, fulfilling: Formats, options: Options) -> Formats:
    """Filter by the requested size; failed formats count when that size is determined."""
    limit = TIERS.get(options.quality)
    if limit is None:
        clean = _prefer(fulfilling, lambda each: not each.watermarked)
        side = target_side({each.smaller_side for each in clean}, options) or 0
        low, high = float(side), side
    else:
        low, high = limit * TIER_SHARE_MIN, limit
    matching = [each for each in fulfilling if low <= each.smaller_side <= high]
    if not matching:
        raise no_format(f"it has no {options.quality}, and degrade is off", fulfilling)
    remaining = [each for each in matching if each in usable]
    if not remaining:
        reason = f"the download of every {options.quality} format has failed, and degrade is off"
        raise no_format(reason, fulfilling)
    return remaining


def _with_sound(
    pool: Formats, formats: Formats, options: Options, avoided: Collection[str]
) -> Choice:
    """Choose the best file with sound, or a better picture joined with another file's sound."""
    pictures = [each for each in pool if each.audio_codec is None]
    if not pictures or not any(map(_is_audible, formats)):
        return Choice(format=_best(pool, formats, options))
    with_sound = [each for each in pool if each.audio_codec is not None]
    audible = [each for each in formats if _is_audible(each) and each.format_id not in avoided]
    sounds = joinable(audible, options)
    # A failed join means that the files are different cuts of the video: no other join can work.
    if not sounds or any(JOIN in each for each in avoided):
        if not with_sound:
            raise no_format(_reason_no_sound(audible), formats)
        return Choice(format=_best(with_sound, formats, options))
    if options.degrade and not with_sound:
        pictures = within_limit_joined(pictures, sounds, formats, options)
    picture = _best(pictures, formats, options)
    if with_sound and not _is_better(picture, _best(with_sound, formats, options), options):
        return Choice(format=_best(with_sound, formats, options))
    return Choice(format=picture, sound_from=choose_joined_sound(picture, sounds, formats, options))


def _is_audible(each: VideoFormat) -> bool:
    """Return whether a file has the video's own sound."""
    return each.audio_codec is not None and not each.song and each.picture is None


def _is_better(picture: VideoFormat, with_sound: VideoFormat, options: Options) -> bool:
    return (
        options.quality == "best"
        and picture.smaller_side > with_sound.smaller_side
        and picture.watermarked <= with_sound.watermarked
    )


def _best(pool: Formats, formats: Formats, options: Options) -> VideoFormat:
    sized = _of_size(_prefer(pool, lambda each: not each.watermarked), options)
    fitting = _within_limit(sized, formats, options)
    return min(
        fitting, key=_lowest_bitrate_first if options.quality == "worst" else _highest_bitrate_first
    )


def choose_files(
    formats: Formats,
    options: Options,
    avoided: Collection[str] = (),
    missing: Sequence[int] = (),
    silent: Collection[str] = (),
) -> tuple[Choice, ...]:
    """Choose every file to fetch: the one of `choose`, or all files of a photo post.

    These are the pictures in order, then the music; with ``audio_only`` the music alone. A picture
    at several hosts is fetched from the first; when a host has failed for one picture, all come
    from the next. Music whose download has failed is skipped with ``degrade``. ``missing`` are the
    positions of pictures without a URL.

    Raises:
        ClipmillError: see `choose`; ``request.too_large``, the total size exceeds the limit.
    """
    has_pictures = any(each.picture for each in formats)
    if options.audio_only or not (has_pictures or missing):
        return (choose(formats, options, avoided, silent),)
    requests_video = (options.container, options.codec) != ("any", "any")
    if requests_video and any(_is_usable(each, options) for each in formats):
        return (choose(formats, options, avoided, silent),)
    if options.container != "any":
        raise no_format(_reason_no_video(formats, options), formats, failure=PICTURES_ONLY)
    if missing and not (has_pictures and options.degrade):
        raise no_format(_reason_missing(missing, has_pictures=has_pictures), formats)
    files = (*_pictures(formats, avoided), *_music(formats, options, avoided))
    size = sum(each.bytes or 0 for each in files)
    if options.max_bytes is not None and size > options.max_bytes:
        raise too_large(options.max_bytes, size, formats)
    return tuple(Choice(format=each) for each in files)


def is_mirror(each: VideoFormat, other: VideoFormat) -> bool:
    """Return whether two formats are one file on two hosts: ``…-0`` and ``…-1``."""
    names = _HOST_NUMBER.sub("", each.format_id), _HOST_NUMBER.sub("", other.format_id)
    return names[0] == names[1] and replace(each, format_id="") == (replace(other, format_id=""))


def _pictures(formats: Formats, avoided: Collection[str]) -> list[VideoFormat]:
    hosts: dict[tuple[int, bool], list[VideoFormat]] = defaultdict(list)
    for each in formats:
        if each.picture:
            hosts[each.picture, each.motion].append(each)
    ranked = [list(enumerate(hosts[position])) for position in sorted(hosts)]
    failed = Counter(rank for each in ranked for rank, host in each if host.format_id in avoided)
    usable = [[pair for pair in each if pair[1].format_id not in avoided] for each in ranked]
    if not all(usable):
        raise no_format("the download of one of its pictures has failed from every host", formats)
    # The rank with the fewest failures first: all pictures move to the next host together.
    return [min(each, key=lambda pair: (failed[pair[0]], pair[0]))[1] for each in usable]


def _music(formats: Formats, options: Options, avoided: Collection[str]) -> list[VideoFormat]:
    sounds = [each for each in formats if is_sound(each) and each.playable]
    usable = [each for each in sounds if each.format_id not in avoided]
    if sounds and not usable and not options.degrade:
        raise no_format("the download of its music has failed, and degrade is off", formats)
    return sorted(usable, key=_highest_bitrate_first)[:1]


def _is_usable(each: VideoFormat, options: Options) -> bool:
    return (
        each.playable
        and (options.watermark == "allow" or not each.watermarked)
        and (options.container == "any" or each.container in CONTAINERS[options.container])
        and _is_video(each, options)
    )


def _is_video(each: VideoFormat, options: Options) -> bool:
    """Return whether it is a video in the codec; the motion file of a live photo is not one."""
    fits = options.codec in {"any", each.video_codec}
    return each.video_codec is not None and each.picture is None and fits


def _within_limit(candidates: Formats, formats: Formats, options: Options) -> Formats:
    limit = options.max_bytes
    if limit is None:
        return candidates
    fitting = [each for each in candidates if (each.bytes or 0) <= limit]
    if not fitting:
        raise too_large(limit, min(each.bytes or 0 for each in candidates), formats)
    return fitting


def _prefer(formats: Formats, is_preferred: Callable[[VideoFormat], bool]) -> Formats:
    return [each for each in formats if is_preferred(each)] or formats


def _of_size(formats: Formats, options: Options) -> Formats:
    sides = [each.smaller_side for each in formats]
    wanted = target_side(set(sides), options)
    return [each for each, side in zip(formats, sides, strict=True) if side == wanted]


def target_side(sides: set[int], options: Options) -> int | None:
    """Return the offered size (smaller side, 0 for unknown) that the options request.

    None when there is none and `Options.degrade` is off.
    """
    known = sides - {0} or sides
    limit = TIERS.get(options.quality)
    if limit is None:
        return min(known) if options.quality == "worst" else max(known)
    low = 0 if options.degrade else limit * TIER_SHARE_MIN
    below = {side for side in known if low <= side <= limit}
    if not below and not options.degrade:
        return None
    return max(below) if below else min(known)


def _highest_bitrate_first(each: VideoFormat) -> tuple[bool, int, bool, str]:
    return _is_segmented(each), -(each.bits_per_second or 0), *_codec_and_name(each)


def _lowest_bitrate_first(each: VideoFormat) -> tuple[bool, float, bool, str]:
    return _is_segmented(each), each.bits_per_second or float("inf"), *_codec_and_name(each)


def _is_segmented(each: VideoFormat) -> bool:
    """Return whether a manifest lists it. Its bitrate is a peak, so no whole file's is compared."""
    return each.protocol != "https"


def _codec_and_name(each: VideoFormat) -> tuple[bool, str]:
    return each.video_codec != "h264", each.format_id


def _reason_no_sound(audible: Formats) -> str:
    if audible:
        return "the sound of none of its files can be joined in the container asked for"
    return "the download of every file with sound has failed"


def _reason_no_video(formats: Formats, options: Options) -> str:
    if any(_is_video(each, Options()) for each in formats):
        return f"no video of its pictures matches: {_reason(formats, options)}"
    return "it is a photo post without a video; container=any selects its pictures"


def _reason_missing(missing: Sequence[int], *, has_pictures: bool) -> str:
    if not has_pictures:
        return "the page has no address for any of its pictures"
    positions = ", ".join(map(str, missing))
    return f"the page has no address for picture {positions}, and degrade is off"


def _reason(formats: Formats, options: Options) -> str:
    if formats and all(each.video_codec is None for each in formats):
        return "it has sound only; audio_only selects it"
    allowed = replace(options, watermark="allow")
    if any(_is_usable(each, allowed) for each in formats):
        return "every matching format is watermarked; watermark=allow selects one"
    return "none of its formats matches the options"
