from typing import Any

import pytest

from agents.formats.selection import Choice, choose
from schemas.errors import ClipmillError, ErrorCode
from schemas.request import Options
from schemas.video import VideoFormat


def video(format_id: str, side: int = 720, **fields: Any) -> VideoFormat:
    values = {"container": "mp4", "video_codec": "h264", "audio_codec": "aac", **fields}
    return VideoFormat(format_id=format_id, width=side, height=side * 16 // 9, **values)


def picture(format_id: str, side: int = 720, **fields: Any) -> VideoFormat:
    return video(format_id, side, audio_codec=None, **fields)


def sound(format_id: str, **fields: Any) -> VideoFormat:
    return VideoFormat(format_id=format_id, **{"container": "m4a", "audio_codec": "aac", **fields})


WEBM: dict[str, Any] = {"container": "webm", "video_codec": "vp9"}
OPUS: dict[str, Any] = {"container": "webm", "audio_codec": "opus"}
AAC = sound("aac", audio_bits_per_second=128_000, bits_per_second=128_000, bytes=10)
OPUS_160 = sound("opus", bits_per_second=160_000, bytes=12, **OPUS)

CHOICES: dict[str, tuple[tuple[VideoFormat, ...], Options, str]] = {
    "the sound of the picture's container, although another is better": (
        (picture("v"), AAC, OPUS_160),
        Options(),
        "v+aac",
    ),
    "WebM sound for a WebM picture": (
        (picture("v", **WEBM), AAC, OPUS_160),
        Options(),
        "v+opus",
    ),
    "sound alone before that of a whole video": (
        (picture("v", 1080), video("whole", 360), sound("part", protocol="hls")),
        Options(),
        "v+part",
    ),
    "other sound when the container has none": ((picture("v", **WEBM), AAC), Options(), "v+aac"),
    "WebM on demand": (
        (picture("v", 1080), picture("w", **WEBM), AAC, OPUS_160),
        Options(container="webm"),
        "w+opus",
    ),
    "the limit holds for both: a smaller picture": (
        (picture("big", 1080, bytes=100), picture("small", 360, bytes=50), AAC),
        Options(max_bytes=105),
        "small+aac",
    ),
    "the limit holds for both: a smaller sound": (
        (picture("v", bytes=90), sound("fat", bits_per_second=9, bytes=20), sound("thin", bytes=8)),
        Options(max_bytes=100),
        "v+thin",
    ),
    "a whole file before segments of the same size": (
        (video("hls", protocol="hls", bits_per_second=9), video("file", bits_per_second=1)),
        Options(),
        "file",
    ),
    "segments of a larger size before a whole file": (
        (video("hls", 1080, protocol="hls"), video("file", 720)),
        Options(),
        "hls",
    ),
    "a whole file for worst, too": (
        (video("hls", protocol="hls", bits_per_second=1), video("file", bits_per_second=9)),
        Options(quality="worst"),
        "file",
    ),
    "sound of a whole file before that of segments": (
        (picture("v"), sound("hls", protocol="hls", bits_per_second=9), AAC),
        Options(),
        "v+aac",
    ),
    "the default sound, although a description is better": (
        (picture("v"), sound("other", bits_per_second=9, preference=-2), sound("own")),
        Options(),
        "v+own",
    ),
    "the preferred group of sounds without a bitrate": (
        (picture("v"), sound("a"), sound("b", preference=1)),
        Options(),
        "v+b",
    ),
    "the default sound alone": (
        (sound("other", bits_per_second=9, preference=-2), sound("own")),
        Options(audio_only=True),
        "own",
    ),
    "split DASH": (
        (picture("v1", 1080, protocol="dash"), picture("v2", protocol="dash"), AAC),
        Options(quality="720p"),
        "v2+aac",
    ),
}


@pytest.mark.parametrize(("formats", "options", "chosen"), CHOICES.values(), ids=CHOICES)
def test_pair_is_chosen_by_the_rules(
    formats: tuple[VideoFormat, ...], options: Options, chosen: str
) -> None:
    assert choose(formats, options).format_id == chosen
    assert choose(formats[::-1], options).format_id == chosen


REFUSALS: dict[str, tuple[tuple[VideoFormat, ...], Options, ErrorCode, str]] = {
    "no pair within the limit": (
        (picture("v", bytes=95), AAC),
        Options(max_bytes=100),
        ErrorCode.REQUEST_TOO_LARGE,
        "has 105 bytes",
    ),
    "a smaller picture only with degrade": (
        (picture("v", bytes=95), picture("w", 360, bytes=5), AAC),
        Options(max_bytes=100, degrade=False),
        ErrorCode.REQUEST_TOO_LARGE,
        "has 105 bytes",
    ),
    "no sound for the container": (
        (picture("v", **WEBM), AAC),
        Options(container="webm"),
        ErrorCode.CONTENT_NO_FORMATS,
        "joined in the container asked for",
    ),
}


@pytest.mark.parametrize(("formats", "options", "code", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_no_fitting_pair_is_an_error(
    formats: tuple[VideoFormat, ...], options: Options, code: ErrorCode, reason: str
) -> None:
    with pytest.raises(ClipmillError, match=reason) as caught:
        choose(formats, options)
    assert caught.value.code is code


def test_file_with_sound_is_chosen_when_joining_has_failed() -> None:
    formats = (picture("v", 1080), video("small", 360), AAC)
    assert choose(formats, Options()) == Choice(format=formats[0], sound_from=AAC)
    assert choose(formats, Options(), ["v+aac"]).format_id == "small"
