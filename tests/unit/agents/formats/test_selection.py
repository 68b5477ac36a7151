import itertools
from collections.abc import Sequence
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.formats.selection import TIER_SHARE_MIN, TIERS, choose, is_mirror, target_side
from agents.formats.sound_selection import CONTAINERS
from agents.platforms.tiktok.formats import read_sources
from schemas.errors import ClipmillError, ErrorCode
from schemas.request import Options, Quality
from schemas.video import VideoFormat
from tests.unit.agents.platforms.tiktok.extractions import raw_of


def video(format_id: str, side: int | None = 720, **fields: Any) -> VideoFormat:
    values = {"container": "mp4", "video_codec": "h264", "audio_codec": "aac", **fields}
    width, height = side, side * 16 // 9 if side else None
    return VideoFormat(format_id=format_id, width=width, height=height, **values)


def sound(format_id: str, **fields: Any) -> VideoFormat:
    return VideoFormat(format_id=format_id, **{"container": "m4a", "audio_codec": "aac", **fields})


def song(format_id: str, **fields: Any) -> VideoFormat:
    return sound(format_id, song=True, **fields)


LADDER = tuple(video(f"{side}", side, bytes=side * 1_000) for side in (360, 576, 720, 1080))


def tiktok(scenario: str = "ok") -> tuple[VideoFormat, ...]:
    return tuple(source.format for source in read_sources(raw_of(scenario)))


TIKTOK = tiktok()

CHOICES: dict[str, tuple[Sequence[VideoFormat], Options, str]] = {
    "best": (LADDER, Options(), "1080"),
    "1080p": (LADDER, Options(quality="1080p"), "1080"),
    "720p": (LADDER, Options(quality="720p"), "720"),
    "480p takes what is below, not 576": (LADDER, Options(quality="480p"), "360"),
    "360p": (LADDER, Options(quality="360p"), "360"),
    "worst": (LADDER, Options(quality="worst"), "360"),
    "576 is below 720": (LADDER[:2], Options(quality="720p"), "576"),
    "the smallest above when none is below": (LADDER[1:], Options(quality="360p"), "576"),
    "landscape is measured by its height": (
        (VideoFormat(format_id="x", container="mp4", video_codec="h264", width=1280, height=720),),
        Options(quality="720p", degrade=False),
        "x",
    ),
    "exact": (LADDER, Options(quality="720p", degrade=False), "720"),
    "exact but cropped to macroblocks": (
        (video("704", 704), *LADDER[3:]),
        Options(quality="720p", degrade=False),
        "704",
    ),
    "best ignores degrade": (LADDER, Options(degrade=False), "1080"),
    "higher bitrate": (
        (video("a", bits_per_second=1), video("b", bits_per_second=2), video("c")),
        Options(),
        "b",
    ),
    "lower bitrate for worst": (
        (video("a", bits_per_second=1), video("b", bits_per_second=2), video("c")),
        Options(quality="worst"),
        "a",
    ),
    "h264 at the same bitrate": (
        (video("a", video_codec="h265"), video("b", video_codec="h264")),
        Options(),
        "b",
    ),
    "the lower id as tie-breaker": ((video("x-1"), video("x-0")), Options(), "x-0"),
    "h265 on demand": (
        (video("a"), video("b", 360, video_codec="h265")),
        Options(codec="h265"),
        "b",
    ),
    "webm on demand": (
        (video("a"), video("b", 360, container="webm", video_codec="vp9")),
        Options(container="webm"),
        "b",
    ),
    "audio is muxed to a larger video": (
        (video("a", 360), video("b", 1080, audio_codec=None)),
        Options(),
        "b+a",
    ),
    "the audio of an audio-only file": (
        (video("a", 360), video("b", 1080, audio_codec=None), sound("c")),
        Options(),
        "b+c",
    ),
    "never the song": (
        (video("a", 360), video("b", 1080, audio_codec=None), song("c")),
        Options(),
        "b+a",
    ),
    "a song is no audio of a silent post": (
        (video("b", 1080, audio_codec=None), song("c")),
        Options(),
        "b",
    ),
    "audio before size when a smaller side is accepted": (
        (video("a", 360), video("b", 1080, audio_codec=None)),
        Options(quality="1080p"),
        "a",
    ),
    "audio is muxed when the side is required": (
        (video("a", 360), video("b", 1080, audio_codec=None)),
        Options(quality="1080p", degrade=False),
        "b+a",
    ),
    "nothing is muxed when the same size has audio": (
        (video("a", bits_per_second=1), video("b", audio_codec=None, bits_per_second=9)),
        Options(),
        "a",
    ),
    "audio is muxed to the requested codec": (
        (video("a"), video("b", 360, audio_codec=None, video_codec="h265")),
        Options(codec="h265", quality="720p"),
        "b+a",
    ),
    "audio is muxed to the smallest video without degrade": (
        (video("a"), video("b", 360, audio_codec=None)),
        Options(quality="worst", degrade=False),
        "b+a",
    ),
    "the smallest with audio with degrade": (
        (video("a"), video("b", 360, audio_codec=None)),
        Options(quality="worst"),
        "a",
    ),
    "a clean video with audio": (
        (video("a", watermarked=True, bytes=1), video("b", 480, bytes=2)),
        Options(watermark="allow"),
        "b",
    ),
    "the audio of a watermarked video": (
        (video("a", watermarked=True), video("b", 1080, audio_codec=None)),
        Options(),
        "b+a",
    ),
    "a video that is too large is not muxed": (
        (video("a", 360, bytes=4), video("b", 1080, audio_codec=None, bytes=9)),
        Options(max_bytes=5),
        "a",
    ),
    "silent when nothing has audio": ((video("a", audio_codec=None),), Options(), "a"),
    "clean before size": (
        (video("a", 360), video("b", 1080, watermarked=True)),
        Options(watermark="allow"),
        "a",
    ),
    "watermarked rather than nothing": (
        (video("a", watermarked=True),),
        Options(watermark="allow"),
        "a",
    ),
    "audio before clean": (
        (video("a", audio_codec=None), video("b", watermarked=True)),
        Options(watermark="allow"),
        "b",
    ),
    "worst is not the watermarked one": (
        (video("a", 720), video("b", 100, watermarked=True)),
        Options(quality="worst", watermark="allow"),
        "a",
    ),
    "a known size before an unknown one": ((video("a", 360), video("b", None)), Options(), "a"),
    "a known size above the tier too": (
        (video("a", 1080), video("b", None)),
        Options(quality="360p"),
        "a",
    ),
    "a known size for worst": (
        (video("a", 1080), video("b", None)),
        Options(quality="worst"),
        "a",
    ),
    "an unknown size rather than nothing": ((video("b", None),), Options(quality="360p"), "b"),
    "unplayable is no choice": (
        (video("a", 360), video("b", 1080, playable=False)),
        Options(),
        "a",
    ),
    "too large formats are left out": (LADDER, Options(max_bytes=720_000), "720"),
    "an unknown file size is within the limit": (
        (video("a", 1080), video("b", 360, bytes=1)),
        Options(max_bytes=10),
        "a",
    ),
    "the smaller file of the same size": (
        (video("a", bytes=9, bits_per_second=9), video("b", bytes=5, bits_per_second=5)),
        Options(max_bytes=5, degrade=False),
        "b",
    ),
    "audio only": ((video("a"), sound("b")), Options(audio_only=True), "b"),
    "the best audio": (
        (sound("a", bits_per_second=64), sound("b", bits_per_second=128)),
        Options(audio_only=True),
        "b",
    ),
    "the worst audio": (
        (sound("a", bits_per_second=64), sound("b", bits_per_second=128)),
        Options(audio_only=True, quality="worst"),
        "a",
    ),
    "audio has no size and no video codec": (
        (sound("a"),),
        Options(audio_only=True, quality="480p", degrade=False, codec="h265", container="mp4"),
        "a",
    ),
    "TikTok, best": (TIKTOK, Options(), "h264_1080p_1600000-0"),
    "TikTok, 720p": (TIKTOK, Options(quality="720p"), "h264_720p_800000-0"),
    "TikTok, 480p": (TIKTOK, Options(quality="480p"), "h264_540p_480000-0"),
    "TikTok, worst": (TIKTOK, Options(quality="worst"), "h264_540p_480000-0"),
    "TikTok, h265": (TIKTOK, Options(codec="h265"), "bytevc1_1080p_900000-0"),
    "the audio of the smallest video": (LADDER, Options(audio_only=True), "360"),
    "the audio of the smallest video at any quality": (
        LADDER,
        Options(audio_only=True, quality="1080p", degrade=False),
        "360",
    ),
    "the audio of the smallest video with the best audio": (
        (
            video("a", 360, bytes=1, audio_bits_per_second=32_000),
            video("b", 720, bytes=3, audio_bits_per_second=64_000),
            video("c", 576, bytes=2, audio_bits_per_second=64_000),
        ),
        Options(audio_only=True),
        "c",
    ),
    "the audio of the video with the worst audio": (
        (
            video("a", bytes=2, audio_bits_per_second=32_000),
            video("b", bytes=1, audio_bits_per_second=64_000),
        ),
        Options(audio_only=True, quality="worst"),
        "a",
    ),
    "the audio of the lowest bitrate when sizes are unknown": (
        (video("a", bits_per_second=9), video("b", bits_per_second=5)),
        Options(audio_only=True),
        "b",
    ),
    "the audio of the video, not the song": (
        (video("a"), song("b", bits_per_second=9)),
        Options(audio_only=True),
        "a",
    ),
    "the song on demand": ((video("a"), song("b")), Options(audio_only=True, audio="song"), "b"),
    "a requested song without audio_only is ignored": (
        (video("a"), song("b")),
        Options(audio="song"),
        "a",
    ),
    "a silent video has no audio": (
        (video("a", 360, audio_codec=None), video("b", 720)),
        Options(audio_only=True),
        "b",
    ),
    "the audio of an unplayable video": (
        (video("a", playable=False), video("b", audio_codec=None)),
        Options(audio_only=True),
        "a",
    ),
    "the audio of a playable video first": (
        (video("a", bytes=1, playable=False), video("b", bytes=2)),
        Options(audio_only=True),
        "b",
    ),
    "max_bytes applies to the audio, not to the video": (
        LADDER,
        Options(audio_only=True, max_bytes=10),
        "360",
    ),
    "the audio of a video when the audio file is too large": (
        (sound("a", bytes=11), video("b", bytes=99)),
        Options(audio_only=True, max_bytes=10),
        "b",
    ),
    "the audio of a clean video before a watermarked one": (
        (video("a", bytes=1, watermarked=True), video("b", bytes=2)),
        Options(audio_only=True, watermark="allow"),
        "b",
    ),
    "TikTok, audio": (TIKTOK, Options(audio_only=True), "bytevc1_720p_400000-0"),
    "TikTok, audio of a post with a long song": (
        tiktok("song.long"),
        Options(audio_only=True),
        "bytevc1_720p_400000-0",
    ),
    "TikTok, audio of a post without a song": (
        tiktok("song.none"),
        Options(audio_only=True),
        "bytevc1_720p_400000-0",
    ),
    "TikTok, song": (TIKTOK, Options(audio_only=True, audio="song"), "audio"),
    "TikTok, landscape is measured by its height": (
        tiktok("landscape"),
        Options(quality="720p", degrade=False),
        "h264_720p_800000-0",
    ),
    "TikTok, the watermarked file only when it is allowed": (
        tiktok("watermarked"),
        Options(watermark="allow"),
        "download",
    ),
    "TikTok, an allowed watermark is not preferred": (
        TIKTOK,
        Options(watermark="allow"),
        "h264_1080p_1600000-0",
    ),
    "TikTok, worst is not the watermarked file": (
        TIKTOK,
        Options(quality="worst", watermark="allow"),
        "h264_540p_480000-0",
    ),
    "TikTok, silent rather than nothing": (
        tiktok("silent"),
        Options(),
        "bytevc1_1080p_900000-0",
    ),
}


@pytest.mark.parametrize(("formats", "options", "chosen"), CHOICES.values(), ids=CHOICES.keys())
def test_best_format_is_chosen(
    formats: Sequence[VideoFormat], options: Options, chosen: str
) -> None:
    assert choose(formats, options).format_id == chosen


ALL = frozenset(each.format_id for each in LADDER)
MIXED = (*LADDER, video("dumb", 1440, audio_codec=None))
AVOIDED: dict[str, tuple[Sequence[VideoFormat], Options, set[str], set[str], str]] = {
    "the next size": (LADDER, Options(), {"1080"}, set(), "720"),
    "the smallest above at last": (LADDER, Options(quality="360p"), {"360"}, set(), "576"),
    "found silent": (LADDER, Options(quality="1080p"), set(), {"1080"}, "720"),
    "found silent, best": (LADDER, Options(), set(), {"1080"}, "1080+360"),
    "the audio file failed": (LADDER, Options(), {"360"}, {"1080"}, "1080+576"),
    "muxing failed": (LADDER, Options(), {"1080+360"}, {"1080"}, "720"),
    "muxing failed, silent by the page": (MIXED, Options(), {"dumb+360"}, set(), "1080"),
    "all found silent": (LADDER, Options(), set(), {"360", "576", "720", "1080"}, "1080"),
    "silent files have no audio": (
        LADDER,
        Options(audio_only=True),
        set(),
        {"360", "576"},
        "720",
    ),
}


@pytest.mark.parametrize(
    ("formats", "options", "avoided", "silent", "chosen"), AVOIDED.values(), ids=AVOIDED.keys()
)
def test_next_format_is_chosen_after_a_failure(
    formats: Sequence[VideoFormat],
    options: Options,
    avoided: set[str],
    silent: set[str],
    chosen: str,
) -> None:
    assert choose(formats, options, avoided, silent).format_id == chosen


NOTHING_LEFT: dict[str, tuple[Sequence[VideoFormat], Options, set[str], set[str]]] = {
    "all failed": (LADDER, Options(), {"360", "576", "720", "1080"}, set()),
    "the best failed, without degrade": (LADDER, Options(degrade=False), {"1080"}, set()),
    "the worst failed, without degrade": (
        LADDER,
        Options(quality="worst", degrade=False),
        {"360"},
        set(),
    ),
    "the tier failed": (LADDER, Options(quality="720p", degrade=False), {"720"}, set()),
    "a silent one is left": (MIXED, Options(), {"360", "576", "720", "1080"}, set()),
    "one that was found silent is left": (LADDER[:2], Options(), {"360"}, {"576"}),
    "all silent, audio only": (LADDER, Options(audio_only=True), set(), {*ALL}),
}


@pytest.mark.parametrize(
    ("formats", "options", "avoided", "silent"), NOTHING_LEFT.values(), ids=NOTHING_LEFT.keys()
)
def test_no_remaining_format_is_an_error(
    formats: Sequence[VideoFormat], options: Options, avoided: set[str], silent: set[str]
) -> None:
    with pytest.raises(ClipmillError) as caught:
        choose(formats, options, avoided, silent)
    assert caught.value.code is ErrorCode.CONTENT_NO_FORMATS


def test_mirrors_are_recognized() -> None:
    one = video("h264_720p-0", bytes=5)
    assert is_mirror(one, video("h264_720p-1", bytes=5))
    assert not is_mirror(one, video("h264_720p-1", bytes=6))
    assert not is_mirror(one, video("h265_720p-1", bytes=5))
    assert not is_mirror(video("a", 1080), video("a", 720))


REFUSALS: dict[str, tuple[Sequence[VideoFormat], Options, ErrorCode, str]] = {
    "TikTok, 576 is not 480p": (
        TIKTOK,
        Options(quality="480p", degrade=False),
        ErrorCode.CONTENT_NO_FORMATS,
        "it has no 480p, and degrade is off",
    ),
    "TikTok, H.266 is not playable": (
        tiktok("unplayable"),
        Options(),
        ErrorCode.CONTENT_NO_FORMATS,
        "bytevc2_720p_260000-0 (720x1280 bytevc2 aac unplayable mp4)",
    ),
    "TikTok, watermarked only": (
        tiktok("watermarked"),
        Options(),
        ErrorCode.CONTENT_NO_FORMATS,
        "watermark=allow selects one",
    ),
    "nothing": ((), Options(), ErrorCode.CONTENT_NO_FORMATS, "Available: nothing"),
    "audio formats only": (
        (sound("a"),),
        Options(),
        ErrorCode.CONTENT_NO_FORMATS,
        "it has sound only; audio_only selects it",
    ),
    "no song": (
        LADDER,
        Options(audio_only=True, audio="song"),
        ErrorCode.CONTENT_NO_FORMATS,
        "audio=video selects the sound of the video",
    ),
    "no audio but the song": (
        (video("a", audio_codec=None), song("b")),
        Options(audio_only=True),
        ErrorCode.CONTENT_NO_FORMATS,
        "audio=song selects its song",
    ),
    "no audio at all": (
        (video("a", audio_codec=None),),
        Options(audio_only=True),
        ErrorCode.CONTENT_NO_FORMATS,
        "none of its formats has the requested sound",
    ),
    "audio of watermarked videos only": (
        (video("a", watermarked=True),),
        Options(audio_only=True),
        ErrorCode.CONTENT_NO_FORMATS,
        "watermark=allow selects one",
    ),
    "audio in another container": (
        LADDER,
        Options(audio_only=True, container="webm"),
        ErrorCode.CONTENT_NO_FORMATS,
        "none of its formats has the requested sound",
    ),
    "audio only that is too large": (
        (sound("a", bytes=11), sound("b", bytes=12)),
        Options(audio_only=True, max_bytes=10),
        ErrorCode.REQUEST_TOO_LARGE,
        "the smallest file has 11 bytes",
    ),
    "watermarked": (
        (video("a", watermarked=True),),
        Options(),
        ErrorCode.CONTENT_NO_FORMATS,
        "watermark=allow",
    ),
    "unplayable": (
        (video("a", playable=False),),
        Options(),
        ErrorCode.CONTENT_NO_FORMATS,
        r"a (720x1280 h264 aac unplayable mp4)",
    ),
    "no such codec": (
        LADDER,
        Options(codec="h265"),
        ErrorCode.CONTENT_NO_FORMATS,
        "matches the options",
    ),
    "no such container": (
        LADDER,
        Options(container="webm"),
        ErrorCode.CONTENT_NO_FORMATS,
        "matches the options",
    ),
    "not that tier": (
        LADDER,
        Options(quality="480p", degrade=False),
        ErrorCode.CONTENT_NO_FORMATS,
        "no 480p, and degrade is off",
    ),
    "unknown size is not that tier": (
        (video("a", None),),
        Options(quality="480p", degrade=False),
        ErrorCode.CONTENT_NO_FORMATS,
        "no 480p",
    ),
    "all too large": (
        LADDER,
        Options(max_bytes=100),
        ErrorCode.REQUEST_TOO_LARGE,
        "smallest file has 360000 bytes, but max_bytes is 100",
    ),
    "the tier is too large": (
        LADDER,
        Options(quality="1080p", max_bytes=720_000, degrade=False),
        ErrorCode.REQUEST_TOO_LARGE,
        "smallest file has 1080000 bytes",
    ),
    "the best is too large": (
        LADDER,
        Options(max_bytes=720_000, degrade=False),
        ErrorCode.REQUEST_TOO_LARGE,
        "smallest file has 1080000 bytes",
    ),
}


@pytest.mark.parametrize(
    ("formats", "options", "code", "text"), REFUSALS.values(), ids=REFUSALS.keys()
)
def test_refusal_has_code_and_reason(
    formats: Sequence[VideoFormat], options: Options, code: ErrorCode, text: str
) -> None:
    with pytest.raises(ClipmillError) as caught:
        choose(formats, options)
    assert caught.value.code is code
    assert text in caught.value.message
    assert caught.value.details["offered"] in caught.value.message
    assert caught.value.details["reason"] in caught.value.message


def test_list_of_offered_formats_is_bounded() -> None:
    with pytest.raises(ClipmillError, match="970 more"):
        choose([video(f"f{number}") for number in range(1_000)], Options(codec="h265"))


@pytest.mark.parametrize(
    ("sides", "quality", "degrade", "side"),
    [
        ({360, 720}, "best", True, 720),
        ({360, 720}, "worst", False, 360),
        ({0, 720}, "worst", True, 720),
        ({0}, "best", True, 0),
        ({684}, "720p", False, 684),
        ({683}, "720p", False, None),
        ({721}, "720p", False, None),
        ({721}, "720p", True, 721),
    ],
)
def test_target_side_is_chosen(
    sides: set[int], quality: Quality, degrade: bool, side: int | None
) -> None:
    assert target_side(sides, Options(quality=quality, degrade=degrade)) == side


def _as_song_without_a_picture(each: VideoFormat) -> VideoFormat:
    return msgspec.structs.replace(each, video_codec=None) if each.song else each


SIDES = st.none() | st.sampled_from([240, 360, 480, 576, 704, 720, 1080, 1440])
FORMATS = st.lists(
    st.builds(
        VideoFormat,
        format_id=st.text("abc-01", min_size=1, max_size=4),
        container=st.sampled_from(["mp4", "webm", "m4a", "flv"]),
        video_codec=st.sampled_from([None, "h264", "h265", "bytevc2"]),
        audio_codec=st.sampled_from([None, "aac"]),
        width=SIDES,
        height=SIDES,
        bits_per_second=st.none() | st.integers(1, 5),
        bytes=st.none() | st.integers(1, 5),
        audio_bits_per_second=st.none() | st.integers(1, 5),
        watermarked=st.booleans(),
        playable=st.booleans(),
        song=st.booleans(),
    ).map(_as_song_without_a_picture),
    max_size=7,
    unique_by=lambda each: each.format_id,
)
OPTIONS = st.builds(
    Options,
    quality=st.sampled_from(get_args(Quality)),
    container=st.sampled_from(["any", "mp4", "webm"]),
    codec=st.sampled_from(["any", "h264", "h265"]),
    audio_only=st.booleans(),
    audio=st.sampled_from(["video", "song"]),
    watermark=st.sampled_from(["avoid", "allow"]),
    max_bytes=st.none() | st.integers(1, 5),
    degrade=st.booleans(),
)


def outcome(formats: Sequence[VideoFormat], options: Options) -> VideoFormat | ErrorCode:
    try:
        return choose(formats, options).format
    except ClipmillError as error:
        return error.code


def has_requested_audio(each: VideoFormat, options: Options) -> bool:
    fits = options.max_bytes is None or each.bytes is None or each.bytes <= options.max_bytes
    return all(
        (
            each.audio_codec is not None,
            each.song == (options.audio == "song"),
            (each.playable and fits) or each.video_codec is not None,
            options.watermark == "allow" or not each.watermarked,
            options.container == "any" or each.container in CONTAINERS[options.container],
        )
    )


def matches(each: VideoFormat, options: Options) -> bool:
    if options.audio_only:
        return has_requested_audio(each, options)
    return all(
        (
            each.playable,
            options.watermark == "allow" or not each.watermarked,
            options.container == "any" or each.container in CONTAINERS[options.container],
            options.max_bytes is None or each.bytes is None or each.bytes <= options.max_bytes,
            each.video_codec is not None,
            options.codec in {"any", each.video_codec},
        )
    )


@given(FORMATS, OPTIONS)
def test_choice_matches_the_options(formats: list[VideoFormat], options: Options) -> None:
    chosen = outcome(formats, options)
    if isinstance(chosen, VideoFormat):
        assert chosen in formats
        assert matches(chosen, options)
    else:
        assert chosen in {ErrorCode.CONTENT_NO_FORMATS, ErrorCode.REQUEST_TOO_LARGE}


@given(FORMATS, OPTIONS)
def test_with_degrade_any_matching_format_is_chosen(
    formats: list[VideoFormat], options: Options
) -> None:
    lenient = msgspec.structs.replace(options, degrade=True)
    fitting = [each for each in formats if matches(each, options)]
    assert isinstance(outcome(formats, lenient), VideoFormat) == bool(fitting)


@given(FORMATS, OPTIONS)
def test_silent_or_watermarked_only_without_a_better_format(
    formats: list[VideoFormat], options: Options
) -> None:
    chosen = outcome(formats, msgspec.structs.replace(options, degrade=True))
    fitting = [each for each in formats if matches(each, options)]
    if isinstance(chosen, VideoFormat):
        assert chosen.audio_codec or not any(each.audio_codec for each in fitting)
        rivals = [each for each in fitting if bool(each.audio_codec) == bool(chosen.audio_codec)]
        assert not chosen.watermarked or all(each.watermarked for each in rivals)


@given(FORMATS, OPTIONS)
def test_higher_quality_is_never_smaller(formats: list[VideoFormat], options: Options) -> None:
    lenient = msgspec.structs.replace(options, degrade=True, audio_only=False)
    rising: tuple[Quality, ...] = ("worst", "360p", "480p", "720p", "1080p", "best")
    found = [
        outcome(formats, msgspec.structs.replace(lenient, quality=quality)) for quality in rising
    ]
    sides = [each.smaller_side for each in found if isinstance(each, VideoFormat)]
    assert sides == sorted(sides)
    assert len(sides) in {0, len(rising)}


@given(FORMATS, OPTIONS)
def test_side_above_the_tier_only_without_an_alternative(
    formats: list[VideoFormat], options: Options
) -> None:
    chosen = outcome(formats, options)
    limit = TIERS.get(options.quality)
    if not isinstance(chosen, VideoFormat) or limit is None or options.audio_only:
        return
    if not options.degrade:
        assert limit * TIER_SHARE_MIN <= chosen.smaller_side <= limit
    if chosen.smaller_side > limit:
        traits = (chosen.watermarked, chosen.audio_codec)
        rivals = [
            each
            for each in formats
            if matches(each, options) and (each.watermarked, each.audio_codec) == traits
        ]
        assert not any(0 < each.smaller_side < chosen.smaller_side for each in rivals)


@given(FORMATS.filter(lambda formats: len(formats) <= 4), OPTIONS)
def test_choice_is_independent_of_the_order(formats: list[VideoFormat], options: Options) -> None:
    outcomes = [outcome(each, options) for each in itertools.permutations(formats)]
    assert all(each == outcomes[0] for each in outcomes)
