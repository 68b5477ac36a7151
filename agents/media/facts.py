"""What a look into a file tells, and how the process that looks says so."""

import msgspec

LOOK = b"look"
"""Asks the process to look into the open file that is sent along."""

ANSWER_BYTES_MAX = 16_384
"""Far more than any answer has."""


class MediaFacts(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What is in a media file.

    Attributes:
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


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The process takes files from now on."""


Answer = MediaFacts | Unreadable | Unknown
Message = Answer | Ready

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
