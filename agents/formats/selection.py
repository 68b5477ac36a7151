"""Which format of a video is fetched: explicit rules over formats and options, nothing else.

1. Hard conditions: playable, the container and codec asked for, no watermark unless allowed.
   A video has a picture.
2. Preferences: formats with sound before silent ones, clean ones before watermarked ones.
   A format is silent when the page says so, or when its file was found to be.
3. Size of the smaller side: the largest that is not above the tier asked for. When none is that
   small, the smallest above it; that, and a size below the tier, only with ``degrade``. Unknown
   sizes are taken only when no size is known.
4. Among formats of one size the one with the highest bitrate, then H.264 before others because
   more players know it, then the earlier name; ``worst`` takes the lowest bitrate.

With ``degrade`` a byte limit leaves out what is known to be larger, so that a smaller picture may
be chosen; without it, a file of the quality asked for that is too large is an error.

Where another format of the post has sound, no silent file is chosen: the sound of the other one is
joined to its picture. That is done when no file with sound fulfils the options, and for ``best``
when the silent picture is larger than those with sound.

Formats whose download has failed are left out, and so the next one of these rules is taken: the
other host of the same file, another codec of the same size, a lower size. Without ``degrade``
``best`` and ``worst`` mean the size that they would have meant with the failed formats.

With ``audio_only`` other rules hold; see `agents.formats.sound_selection`.

A post with pictures is given as what its author published: every picture, that of a live photo
with its motion file, then the best of its music, for which rule 4 holds. Where TikTok has also made
a video of the pictures, that is taken when a container or a codec is asked for, which only videos
have. Without one, a container cannot be had, and says so; a codec has nothing to speak of, and the
pictures are taken. Pictures without an address are left out with ``degrade``.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from agents.formats.refusals import PICTURES_ONLY, no_format, too_large
from agents.formats.sound_selection import CONTAINERS, best_first, choose_sound, is_sound
from schemas.request import Options
from schemas.video import JOIN, VideoFormat, joined_id

TIERS: Mapping[str, int] = {"1080p": 1080, "720p": 720, "480p": 480, "360p": 360}
"""Pixels of the smaller side that a quality allows."""

EXACT_SHARE = 0.95
"""A side this close under its tier is the tier: encoders cut pictures to whole blocks."""

_HOST_NUMBER = re.compile(r"-[0-9]+$")

Formats = Sequence[VideoFormat]


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One file to fetch.

    Attributes:
        format: what it is; without ``audio_codec`` when it was found to be silent.
        sound_from: another format of the post, whose sound is joined to the picture of this one.
    """

    format: VideoFormat
    sound_from: VideoFormat | None = None

    @property
    def format_id(self) -> str:
        """Its name in results, see `schemas.video.SelectedSource.format_id`."""
        return joined_id(self.format, self.sound_from)


def choose(
    formats: Formats,
    options: Options,
    avoided: Collection[str] = (),
    silent: Collection[str] = (),
) -> Choice:
    """Return the file to fetch; the order of `formats` does not matter.

    Args:
        formats: what the platform offers.
        options: what the request asks for.
        avoided: ids of formats that are left out, because their download failed.
        silent: ids of formats that have no sound, whatever the page says.

    Raises:
        ClipmillError: ``content.no_formats``, none fulfils the options; ``request.too_large``,
            those that do are known to be larger than ``max_bytes``. ``details["offered"]`` lists
            what there was.
    """
    corrected = [_without_missing_sound(each, silent) for each in formats]
    if options.audio_only:
        return Choice(format=choose_sound(corrected, options, avoided))
    fulfilling = [each for each in corrected if _is_usable(each, options)]
    if not fulfilling:
        raise no_format(_why(corrected, options), formats)
    usable = [each for each in fulfilling if each.format_id not in avoided]
    if not usable:
        raise no_format("the download of every fitting file has failed", formats)
    if options.degrade:
        pool = _affordable(usable, formats, options)
    else:
        pool = _of_size_meant(usable, fulfilling, options)
    return _with_sound(pool, corrected, options, avoided)


def _without_missing_sound(each: VideoFormat, silent: Collection[str]) -> VideoFormat:
    if each.format_id not in silent:
        return each
    return msgspec.structs.replace(each, audio_codec=None)


def _of_size_meant(usable: Formats, fulfilling: Formats, options: Options) -> Formats:
    """Return the usable files of the only size that is wanted, also when some of it have failed."""
    limit = TIERS.get(options.quality)
    if limit is None:
        clean = _if_any(fulfilling, lambda each: not each.watermarked)
        side = wanted_side({each.smaller_side for each in clean}, options) or 0
        least, most = float(side), side
    else:
        least, most = limit * EXACT_SHARE, limit
    meant = [each for each in fulfilling if least <= each.smaller_side <= most]
    if not meant:
        raise no_format(f"it has no {options.quality}, and degrade is off", fulfilling)
    left = [each for each in meant if each in usable]
    if not left:
        reason = f"the download of every {options.quality} file has failed, and degrade is off"
        raise no_format(reason, fulfilling)
    return left


def _with_sound(
    pool: Formats, formats: Formats, options: Options, avoided: Collection[str]
) -> Choice:
    """Return the best file with sound, or a better picture with the sound of another file."""
    audible = [each for each in formats if _is_audible(each)]
    if not audible:
        return Choice(format=_best(pool, formats, options))
    with_sound = [each for each in pool if each.audio_codec is not None]
    pictures = [each for each in pool if each.audio_codec is None]
    usable = [each for each in audible if each.format_id not in avoided]
    # Files that could not be joined are different cuts: so are the others then.
    joinable = pictures and usable and not any(JOIN in each for each in avoided)
    if not with_sound and not joinable:
        raise no_format("the download of every file with sound has failed", formats)
    if not joinable:
        return Choice(format=_best(with_sound, formats, options))
    picture = _best(pictures, formats, options)
    if with_sound and not _is_better(picture, _best(with_sound, formats, options), options):
        return Choice(format=_best(with_sound, formats, options))
    clean = _if_any(usable, lambda each: not each.watermarked)
    return Choice(format=picture, sound_from=min(clean, key=best_first))


def _is_audible(each: VideoFormat) -> bool:
    """Return whether a file has the sound of the video."""
    return each.audio_codec is not None and not each.song and each.picture is None


def _is_better(picture: VideoFormat, with_sound: VideoFormat, options: Options) -> bool:
    return (
        options.quality == "best"
        and picture.smaller_side > with_sound.smaller_side
        and picture.watermarked <= with_sound.watermarked
    )


def _best(pool: Formats, formats: Formats, options: Options) -> VideoFormat:
    sized = _of_size(_if_any(pool, lambda each: not each.watermarked), options)
    fitting = _affordable(sized, formats, options)
    return min(fitting, key=_smallest_first if options.quality == "worst" else _richest_first)


def choose_files(
    formats: Formats,
    options: Options,
    avoided: Collection[str] = (),
    missing: Sequence[int] = (),
    silent: Collection[str] = (),
) -> tuple[Choice, ...]:
    """Return every file to fetch: the one that `choose` finds or, of a photo post, all.

    That is its pictures in their order, ``missing`` the places of those without an address, then
    its music; with ``audio_only`` the music alone. Of a
    picture at several hosts the first is taken; when a host has failed with one, the other is asked
    for all. Music that cannot be had is left out with ``degrade``.

    Raises:
        ClipmillError: see `choose`; ``request.too_large``, they have too many bytes together.
    """
    pictured = any(each.picture for each in formats)
    if options.audio_only or not (pictured or missing):
        return (choose(formats, options, avoided, silent),)
    if _asks_for_video(options) and any(_is_usable(each, options) for each in formats):
        return (choose(formats, options, avoided, silent),)
    if options.container != "any":
        raise no_format(_why_no_video(formats, options), formats, failure=PICTURES_ONLY)
    if missing and not (pictured and options.degrade):
        raise no_format(_why_not_all(missing, pictured=pictured), formats)
    files = (*_pictures(formats, avoided), *_music(formats, options, avoided))
    size = sum(each.bytes or 0 for each in files)
    if options.max_bytes is not None and size > options.max_bytes:
        raise too_large(options.max_bytes, size, formats)
    return tuple(Choice(format=each) for each in files)


def is_copy(each: VideoFormat, other: VideoFormat) -> bool:
    """Return whether two formats are one file at two hosts: ``…-0`` and ``…-1``."""
    names = _HOST_NUMBER.sub("", each.format_id), _HOST_NUMBER.sub("", other.format_id)
    return names[0] == names[1] and msgspec.structs.replace(each, format_id="") == (
        msgspec.structs.replace(other, format_id="")
    )


def _asks_for_video(options: Options) -> bool:
    return (options.container, options.codec) != ("any", "any")


def _pictures(formats: Formats, avoided: Collection[str]) -> list[VideoFormat]:
    ways: dict[tuple[int, bool], list[VideoFormat]] = defaultdict(list)
    for each in formats:
        if each.picture:
            ways[each.picture, each.motion].append(each)
    ranked = [list(enumerate(ways[place])) for place in sorted(ways)]
    failed = Counter(rank for way in ranked for rank, each in way if each.format_id in avoided)
    usable = [[pair for pair in way if pair[1].format_id not in avoided] for way in ranked]
    if not all(usable):
        raise no_format("the download of one of its pictures has failed from every host", formats)
    return [min(way, key=lambda pair: (failed[pair[0]], pair[0]))[1] for way in usable]


def _music(formats: Formats, options: Options, avoided: Collection[str]) -> list[VideoFormat]:
    sounds = [each for each in formats if is_sound(each) and each.playable]
    usable = [each for each in sounds if each.format_id not in avoided]
    if sounds and not usable and not options.degrade:
        raise no_format("the download of its music has failed, and degrade is off", formats)
    return sorted(usable, key=_richest_first)[:1]


def _is_usable(each: VideoFormat, options: Options) -> bool:
    return (
        each.playable
        and (options.watermark == "allow" or not each.watermarked)
        and (options.container == "any" or each.container in CONTAINERS[options.container])
        and _is_picture(each, options)
    )


def _is_picture(each: VideoFormat, options: Options) -> bool:
    """Return whether it is a video of the codec; a live photo's motion file is none of a post."""
    fits = options.codec in {"any", each.video_codec}
    return each.video_codec is not None and each.picture is None and fits


def _affordable(wanted: Formats, formats: Formats, options: Options) -> Formats:
    limit = options.max_bytes
    fitting = [each for each in wanted if limit is None or (each.bytes or 0) <= limit]
    if not fitting:
        raise too_large(limit or 0, min(each.bytes or 0 for each in wanted), formats)
    return fitting


def _if_any(formats: Formats, wish: Callable[[VideoFormat], bool]) -> Formats:
    return [each for each in formats if wish(each)] or formats


def _of_size(formats: Formats, options: Options) -> Formats:
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


def _why_no_video(formats: Formats, options: Options) -> str:
    if any(_is_picture(each, Options()) for each in formats):
        return f"no video of its pictures fits: {_why(formats, options)}"
    return "it is a post of pictures of which there is no video; container=any would take those"


def _why_not_all(missing: Sequence[int], *, pictured: bool) -> str:
    if not pictured:
        return "the page has no address for any of its pictures"
    places = ", ".join(map(str, missing))
    return f"the page has no address for picture {places}, and degrade is off"


def _why(formats: Formats, options: Options) -> str:
    """Say why nothing is usable."""
    if formats and all(each.video_codec is None for each in formats):
        return "it has sound only; audio_only would take that"
    allowed = msgspec.structs.replace(options, watermark="allow")
    if any(_is_usable(each, allowed) for each in formats):
        return "every fitting file is watermarked; watermark=allow would take one"
    return "none of its files is what the options ask for"
