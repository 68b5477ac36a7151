"""Media facts of an untrusted file, read with FFmpeg's libraries (PyAV).

Only `agents.media.process` may run this: the libraries are C code, and the files are untrusted.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from io import FileIO, RawIOBase
from itertools import islice
from typing import BinaryIO

import av
import av.subtitles.stream
from av.codec.codec import Codec, UnknownCodecError
from av.container import InputContainer
from av.error import DecoderNotFoundError, FFmpegError, PatchWelcomeError
from av.video.stream import VideoStream

from agents.media.file_objects import Source
from agents.media.protocol import Answer, MediaFacts, Unreadable, Unsupported
from agents.media.structure import SCANS_MAX, has_too_many_scans, is_truncated

FORMATS = (
    "mov,mp4,matroska,webm,mp3,aac,flac,ogg,wav,mpegts,flv"
    ",jpeg_pipe,png_pipe,webp_pipe,gif,gif_pipe,bmp_pipe"
)
"""Allowed formats. None of them refers to other files, as HLS and concat do."""

PICTURE_SUFFIX = "_pipe"
"""Suffix of FFmpeg's formats of single pictures."""

LAST_PACKETS = 10_000
"""Limit of packets read to find the end: more than the longest GOP, with its audio."""

_OPTIONS = {
    "format_whitelist": FORMATS,
    "protocol_whitelist": "none",
    "max_pixels": "100000000",
}
_MATROSKA = b"\x1aE\xdf\xa3"

_PARSED_CODECS = frozenset({"h264", "hevc", "av1"})
"""Codecs whose size FFmpeg's parsers find."""

BUFFER_BYTES = 2**15
"""Bytes of one read: PyAV's default."""

_CODECS = {"hevc": "h265", "vvc": "h266", "mjpeg": "jpeg"}
_MICROSECONDS = 1_000_000


def open_input(file: Source | RawIOBase, *, buffer_size: int = BUFFER_BYTES) -> InputContainer:
    """Open an untrusted file for reading.

    `av.open` decodes the first picture of a video to learn its pixel format, which nothing needs
    here: 5 to 60 ms of CPU time for a key frame of 1080p. Without a decoder it takes 0.2 to 0.5 ms,
    and remuxed files are the same. In Matroska, which has no decoding times, the decoder finds the
    delay that they are computed from.

    Args:
        file: at any position.
        buffer_size: bytes of one read.

    Raises:
        av.error.FFmpegError: it is no media of `FORMATS`.
    """
    file.seek(0)
    is_matroska = file.read(len(_MATROSKA)) == _MATROSKA
    file.seek(0)
    decoders = {} if is_matroska else {"codec_whitelist": _other_decoders()}
    container: InputContainer = av.open(
        file,
        "r",
        options=_OPTIONS | decoders,
        metadata_errors="replace",
        buffer_size=buffer_size,
    )
    return container


@cache
def _other_decoders() -> str:
    """Return all decoders but those of `_PARSED_CODECS`."""
    found = []
    for name in sorted(av.codecs_available):
        with suppress(UnknownCodecError):
            codec = Codec(name, "r")
            if codec.canonical_name not in _PARSED_CODECS:
                found.append(codec.name)
    return ",".join(found)


def read_facts(file: FileIO | BinaryIO) -> Answer:
    """Return the facts of an open file, or why it cannot be read; never raises for a bad file."""
    # Before `av.open`, which already decodes a picture to determine its pixel format.
    if has_too_many_scans(file):
        return Unreadable(reason=f"a picture in more than {SCANS_MAX} scans")
    if is_truncated(file):
        return Unreadable(reason="it is truncated")
    try:
        with open_input(file) as container:
            is_picture = container.format.name.endswith(PICTURE_SUFFIX)
            return _picture_facts(container) if is_picture else _movie_facts(container)
    except (PatchWelcomeError, DecoderNotFoundError, NotImplementedError) as error:
        return Unsupported(reason=error_text(error))
    except (FFmpegError, ValueError, MemoryError, StopIteration) as error:
        return Unreadable(reason=error_text(error))


def _picture_facts(container: InputContainer) -> MediaFacts:
    # Decoded whole: nothing else proves that it can be shown.
    frame = next(container.decode(video=0))
    return MediaFacts(
        container=container.format.name.removesuffix(PICTURE_SUFFIX),
        video_codec=_codec(container.streams.video[0]),
        width=frame.width,
        height=frame.height,
    )


def _movie_facts(container: InputContainer) -> MediaFacts:
    video = next(iter(video_streams(container)), None)
    sound = container.streams.audio[0] if container.streams.audio else None
    # A stream with a codec unknown to FFmpeg has no context.
    picture = video.codec_context if video else None
    samples = sound.codec_context if sound else None
    length = container.duration / _MICROSECONDS if container.duration else None
    return MediaFacts(
        container=container.format.name.partition(",")[0],
        brand=container.metadata.get("major_brand"),
        duration_seconds=length,
        picture_seconds=stream_seconds(video),
        end_seconds=_last_packet_end(container, [each for each in (video, sound) if each], length),
        video_codec=_codec(video),
        audio_codec=_codec(sound),
        width=(picture.width or None) if picture else None,
        height=(picture.height or None) if picture else None,
        sample_rate=(samples.sample_rate or None) if samples else None,
    )


def video_streams(container: InputContainer) -> list[VideoStream]:
    """Return the video streams of a file, without cover pictures."""
    cover = av.stream.Disposition.attached_pic
    return [each for each in container.streams.video if not each.disposition & cover]


def _codec(stream: av.stream.Stream | None) -> str | None:
    if stream is None or stream.codec_context is None:
        return None
    name = stream.codec_context.codec.canonical_name
    return _CODECS.get(name, name)


def stream_seconds(stream: av.stream.Stream | None) -> float | None:
    """Return the duration of a stream in seconds, if the file declares it per stream."""
    if stream is None or stream.duration is None or stream.time_base is None:
        return None
    return float(stream.duration * stream.time_base)


def _last_packet_end(
    container: InputContainer, streams: Sequence[av.stream.Stream], length: float | None
) -> float | None:
    """Return the end of the last packet found, in seconds: less than `length` if truncated."""
    if not streams or length is None:
        return None
    container.seek(int(length * _MICROSECONDS), backward=True)
    ends = [
        float((packet.pts + (packet.duration or 0) - (packet.stream.start_time or 0)) * unit)
        for packet in islice(container.demux(*streams), LAST_PACKETS)
        if packet.pts is not None and (unit := packet.stream.time_base) is not None
    ]
    return max(ends, default=0.0)


def error_text(error: Exception) -> str:
    """Return a short text of an error of FFmpeg."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)[:200]
