"""Reads what is in a media file, by FFmpeg's libraries (PyAV). For files of anyone's making.

Only `agents.media.process` may run this: the libraries are C code.
"""

from collections.abc import Sequence
from io import FileIO
from itertools import islice
from typing import BinaryIO

import av
import av.subtitles.stream
from av.container import InputContainer
from av.error import DecoderNotFoundError, FFmpegError, PatchWelcomeError
from av.video.stream import VideoStream

from agents.media.endings import is_cut
from agents.media.facts import Answer, MediaFacts, Unknown, Unreadable
from agents.media.jpeg_scans import SCANS_MAX, has_too_many_scans

FORMATS = (
    "mov,mp4,matroska,webm,mp3,aac,flac,ogg,wav,mpegts,flv"
    ",jpeg_pipe,png_pipe,webp_pipe,gif,gif_pipe,bmp_pipe"
)
"""Formats that are read. None of them is a list of other files, as HLS and concat are."""

PICTURES = "_pipe"
"""How FFmpeg calls the formats of single pictures."""

LAST_PACKETS = 10_000
"""Read at most to find the end: more than the longest group of pictures, with its sound."""

INPUT_OPTIONS = {
    "format_whitelist": FORMATS,
    "protocol_whitelist": "none",
    "max_pixels": "100000000",
}
_CODECS = {"hevc": "h265", "vvc": "h266", "mjpeg": "jpeg"}
_MICROSECONDS = 1_000_000


def read_facts(file: FileIO | BinaryIO) -> Answer:
    """Return what is in an open file, whatever it is."""
    # Before it is opened: the library decodes a picture then already, to learn its kind of pixels.
    if has_too_many_scans(file):
        return Unreadable(reason=f"a picture in more than {SCANS_MAX} scans")
    if is_cut(file):
        return Unreadable(reason="it is cut short")
    try:
        with av.open(file, "r", options=INPUT_OPTIONS, metadata_errors="replace") as container:
            return _picture(container) if _is_picture(container) else _movie(container)
    except (PatchWelcomeError, DecoderNotFoundError, NotImplementedError) as error:
        return Unknown(reason=reason_of(error))
    except (FFmpegError, ValueError, MemoryError, StopIteration) as error:
        return Unreadable(reason=reason_of(error))


def _is_picture(container: InputContainer) -> bool:
    return container.format.name.endswith(PICTURES)


def _picture(container: InputContainer) -> MediaFacts:
    """Decode it whole: there is nothing else that tells whether it can be shown."""
    frame = next(container.decode(video=0))
    return MediaFacts(
        container=container.format.name.removesuffix(PICTURES),
        video_codec=_codec(container.streams.video[0]),
        width=frame.width,
        height=frame.height,
    )


def _movie(container: InputContainer) -> MediaFacts:
    video = next(iter(pictures_of(container)), None)
    sound = container.streams.audio[0] if container.streams.audio else None
    # A stream of a codec that the library does not know has no context.
    picture = video.codec_context if video else None
    samples = sound.codec_context if sound else None
    length = container.duration / _MICROSECONDS if container.duration else None
    return MediaFacts(
        container=container.format.name.partition(",")[0],
        brand=container.metadata.get("major_brand"),
        duration_seconds=length,
        picture_seconds=length_of(video),
        end_seconds=_end(container, [each for each in (video, sound) if each], length),
        video_codec=_codec(video),
        audio_codec=_codec(sound),
        width=(picture.width or None) if picture else None,
        height=(picture.height or None) if picture else None,
        sample_rate=(samples.sample_rate or None) if samples else None,
    )


def pictures_of(container: InputContainer) -> list[VideoStream]:
    """Return the moving pictures of a file, covers left out."""
    return [each for each in container.streams.video if not _is_cover(each)]


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _codec(stream: av.stream.Stream | None) -> str | None:
    if stream is None or stream.codec_context is None:
        return None
    name = stream.codec_context.codec.canonical_name
    return _CODECS.get(name, name)


def length_of(stream: av.stream.Stream | None) -> float | None:
    """Return how many seconds a stream plays, when the file says that of it by itself."""
    if stream is None or stream.duration is None or stream.time_base is None:
        return None
    return float(stream.duration * stream.time_base)


def _end(
    container: InputContainer, streams: Sequence[av.stream.Stream], length: float | None
) -> float | None:
    """Return the last moment for which there is a packet, as far as the file can be searched."""
    if not streams or length is None:
        return None
    container.seek(int(length * _MICROSECONDS), backward=True)
    ends = [
        float((packet.pts + (packet.duration or 0) - (packet.stream.start_time or 0)) * unit)
        for packet in islice(container.demux(*streams), LAST_PACKETS)
        if packet.pts is not None and (unit := packet.stream.time_base) is not None
    ]
    return max(ends, default=0.0)


def reason_of(error: Exception) -> str:
    """Return what went wrong, in few words."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)[:200]
