"""Protocol of the media process: tasks, answers, and their encoding."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

PROBE = b"probe"
"""Task: return the facts of the open file sent along."""

EXTRACT_AUDIO = b"extract_audio"
"""Task: write the audio of the first file sent along to the second."""

MUX = b"mux"
"""Task: write the video of the first file with the audio of the second to the third."""

JOIN = b"join"
"""Task, followed by a space and a `JoinPlan`: write the tracks of the files sent along to the last
of them."""

TAG = b"tag"
"""Task, followed by a space and a `TagPlan`: write the streams of the first file to the second."""

TASK_BYTES_MAX = 65_536
"""Limit above the plan of two tracks with a thousand parts."""

FILES_MAX = 3
"""Maximum of files per task."""

ANSWER_BYTES_MAX = 16_384
"""Limit far above any answer."""


class Muxer(NamedTuple):
    """An audio muxer: FFmpeg's name, and the extension of its files."""

    name: str
    extension: str


MUXERS: Mapping[str, Muxer] = {
    "aac": Muxer("ipod", "m4a"),
    "alac": Muxer("ipod", "m4a"),
    "ac3": Muxer("mp4", "m4a"),
    "eac3": Muxer("mp4", "m4a"),
    "mp3": Muxer("mp3", "mp3"),
    "opus": Muxer("opus", "opus"),
    "vorbis": Muxer("ogg", "ogg"),
    "flac": Muxer("flac", "flac"),
}
"""Muxer by audio codec."""


Streams = Literal["all", "picture", "sound"]
"""Streams of a file to copy: picture and sound as far as it has them, or one that it must have."""


class FilePart(msgspec.Struct, frozen=True):
    """A part of a joined track: a run of segments with continuous timestamps.

    Attributes:
        offset: of its first byte in the file.
        shift_seconds: presentation time minus the file's time, where it is declared. Otherwise the
            part continues the one before it.
        position_seconds: duration of all parts before it, according to the manifest.
    """

    offset: int
    shift_seconds: float | None = None
    position_seconds: float = 0.0


class TrackFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of joined segments.

    Attributes:
        parts: by offset; a whole file has one.
        streams: the streams of it to copy.
    """

    parts: tuple[FilePart, ...]
    streams: Streams = "all"


class JoinPlan(msgspec.Struct, frozen=True, tag=True):
    """The tracks of one file."""

    files: tuple[TrackFile, ...]


class TagPlan(msgspec.Struct, frozen=True, tag=True):
    """The tags of one file, under FFmpeg's names."""

    tags: dict[str, str]


class MediaFacts(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Container, codecs and duration of a media file.

    Attributes:
        container: FFmpeg's name, the first of several: ``mov``, ``mp3``, ``jpeg``, …
        brand: major brand of an ISO media file: ``isom``, ``qt  ``, ``heic``, …
        duration_seconds: of the index; None for a picture, and when the index has none.
        picture_seconds: duration of the video stream, if declared: audio may be longer.
        end_seconds: end of the last packet in the file; None when it was not searched.
        video_codec: ``h264``, ``h265``, ``jpeg``, …; None without a picture.
        audio_codec: ``aac``, …; None without audio.
        width: pixels.
        height: pixels.
        sample_rate: of the audio, in Hz.
    """

    container: str | None = None
    brand: str | None = None
    duration_seconds: float | None = None
    picture_seconds: float | None = None
    end_seconds: float | None = None
    video_codec: str | None = None
    audio_codec: str | None = None
    width: int | None = None
    height: int | None = None
    sample_rate: int | None = None


class Unreadable(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The file is no media, or damaged."""

    reason: str


class Unsupported(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """FFmpeg recognizes the format but cannot read it; the file itself may be intact."""

    reason: str


class Remuxed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The target is complete.

    Attributes:
        extension: of its container.
    """

    extension: str


class NotWritten(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Reading or writing failed on the disk; this is no property of the files.

    Attributes:
        number: errno.
    """

    number: int


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The process accepts tasks."""


Answer = MediaFacts | Unreadable | Unsupported
RemuxAnswer = Remuxed | NotWritten | Unreadable | Unsupported
MediaMessage = Answer | RemuxAnswer | Ready

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[MediaMessage] = msgspec.msgpack.Decoder(MediaMessage)


_plan_decoder: msgspec.msgpack.Decoder[JoinPlan | TagPlan] = msgspec.msgpack.Decoder(
    JoinPlan | TagPlan
)


def join_task(plan: JoinPlan) -> bytes:
    """Return the task that joins tracks."""
    return JOIN + b" " + msgspec.msgpack.encode(plan)


def tag_task(plan: TagPlan) -> bytes:
    """Return the task that tags a file."""
    return TAG + b" " + msgspec.msgpack.encode(plan)


def unpack_plan(encoded: bytes) -> JoinPlan | TagPlan:
    return _plan_decoder.decode(encoded)


def pack(message: MediaMessage) -> bytes:
    return _encoder.encode(message)


def unpack(packet: bytes) -> MediaMessage:
    """Decode a packet.

    Raises:
        msgspec.DecodeError: the packet is no valid message.
    """
    return _decoder.decode(packet)
