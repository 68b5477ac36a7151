"""What the media process is asked, what it answers, and how the answers are packed."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

LOOK = b"look"
"""Asks the process to look into the open file that is sent along."""

TAKE_SOUND = b"take_sound"
"""Asks it to write the sound of the first file that is sent along into the second one."""

JOIN = b"join"
"""Asks it to write the picture of the first file with the sound of the second into the third."""

TASK_BYTES_MAX = max(map(len, (LOOK, TAKE_SOUND, JOIN)))
FILES_MAX = 3
"""That any task has."""

ANSWER_BYTES_MAX = 16_384
"""Far more than any answer has."""


class Muxer(NamedTuple):
    """Writes sound: FFmpeg's name of it, and the extension of its files."""

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
"""By the codec of the sound."""


class MediaFacts(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What is in a media file.

    Attributes:
        container: FFmpeg's name of it, the first of several: ``mov``, ``mp3``, ``jpeg``, …
        brand: of a file of ISO media what it calls itself: ``isom``, ``qt  ``, ``heic``, …
        duration_seconds: as its index says; None for a picture, and when the index says nothing.
        picture_seconds: how long the moving picture is, when the file says that by itself: sound
            may last longer.
        end_seconds: the last moment that there are bytes for; None when it was not looked for.
        video_codec: ``h264``, ``h265``, ``jpeg``, …; None without a picture.
        audio_codec: ``aac``, …; None without sound.
        width: pixels.
        height: pixels.
        sample_rate: of the sound, in samples per second.
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


class Unknown(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The library knows the kind of file but cannot read it; that is no fault of the file."""

    reason: str


class Remuxed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The file is written.

    Attributes:
        extension: of its container.
    """

    extension: str


class NotWritten(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The disk did not take the file, or give one; that is no fault of the files.

    Attributes:
        number: of the error (errno).
    """

    number: int


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The process takes files from now on."""


Answer = MediaFacts | Unreadable | Unknown
RemuxAnswer = Remuxed | NotWritten | Unreadable | Unknown
Message = Answer | RemuxAnswer | Ready

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def pack(message: Message) -> bytes:
    """Return the message as one packet."""
    return _encoder.encode(message)


def unpack(packet: bytes) -> Message:
    """Return what a packet says.

    Raises:
        msgspec.DecodeError: it is none of ours.
    """
    return _decoder.decode(packet)
