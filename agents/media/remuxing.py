"""Stream copy of media by FFmpeg's libraries (PyAV): sound out of a file, sound to a picture.

Only `agents.media.process` may run this: the libraries are C code, the files are of anyone's
making. Packets are copied as they are; nothing is decoded or encoded.
"""

import errno
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from heapq import merge
from typing import Any, NamedTuple

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import DecoderNotFoundError, FFmpegError, PatchWelcomeError
from av.packet import Packet
from av.stream import Discard, Stream
from av.video.stream import VideoStream

from agents.media.bounded_target import BoundedTarget, Source
from agents.media.facts import MUXERS, NotWritten, RemuxAnswer, Remuxed, Unknown, Unreadable
from agents.media.reading import INPUT_OPTIONS, length_of, pictures_of, reason_of

BUFFER_BYTES = 2**18
"""Of one read or write. With PyAV's default of 32 KiB a copy takes twice the processor time."""

TWIN_SECONDS = 0.5
"""Two encodings of one post differ by a frame or two in length; more is another cut, to which the
sound does not belong."""

CUT_SECONDS = 0.5
"""The index of an MP4 file may say a little more than its packets have."""

SLACK_BYTES = 2**20
"""The index of a copy may be larger than that of its input, which may have none (fragments)."""

_BITEXACT = {"fflags": "+bitexact"}
"""Leaves out FFmpeg's version: the same inputs give the same bytes."""

_INDEX_FIRST = {**_BITEXACT, "movflags": "+faststart"}
_OUTPUT_OPTIONS = {"ipod": _INDEX_FIRST, "mp4": _INDEX_FIRST}
_TAGS_KEPT = frozenset({"hvc1", "hev1"})
"""Players of Apple know the former only; the library writes the latter unless told."""

_CLOCKS_FROM_ZERO = ("mov", "matroska", "ogg")
"""Formats whose timestamps are moments of the presentation; others begin their clock anywhere."""

_MICROSECONDS = 1_000_000


class _MismatchError(ValueError):
    """The inputs are no such files as are to be remuxed."""


class _NoMuxerError(Exception):
    """No container takes the codec."""


def take_sound(source: Source, target: Source) -> RemuxAnswer:
    """Write the sound of a file into an empty one."""
    return _answered(_take_sound, (source,), target)


def join(picture: Source, sound: Source, target: Source) -> RemuxAnswer:
    """Write the picture of one file with the sound of another into an empty one, as MP4."""
    return _answered(_join, (picture, sound), target)


class _Track(NamedTuple):
    """A stream that is copied, and how many seconds later than its clock says it is shown."""

    container: InputContainer
    stream: AudioStream | VideoStream
    later: Fraction


def _answered(work: Callable[..., str], sources: tuple[Source, ...], target: Source) -> RemuxAnswer:
    bounded = BoundedTarget(target, _bytes_max(sources))
    try:
        with ExitStack() as stack:
            containers = [stack.enter_context(_opened(each)) for each in sources]
            return Remuxed(extension=work(*containers, bounded))
    except (PatchWelcomeError, DecoderNotFoundError, NotImplementedError, _NoMuxerError) as error:
        return Unknown(reason=reason_of(error))
    except (FFmpegError, ValueError, MemoryError, StopIteration) as error:
        if bounded.error is not None:
            return NotWritten(number=bounded.error.errno or errno.EIO)
        return Unreadable(reason=reason_of(error))
    except OSError as error:
        return NotWritten(number=error.errno or errno.EIO)


def _bytes_max(sources: tuple[Source, ...]) -> int:
    # Not by `os.fstat`: that makes a call that takes paths too, and is refused.
    sizes = [each.seek(0, io.SEEK_END) for each in sources]
    for each in sources:
        each.seek(0)
    return 2 * sum(sizes) + SLACK_BYTES


def _opened(source: Source) -> InputContainer:
    return av.open(
        source, "r", options=INPUT_OPTIONS, metadata_errors="replace", buffer_size=BUFFER_BYTES
    )


def _take_sound(container: InputContainer, target: BoundedTarget) -> str:
    sound = _sound_of(container)
    codec = sound.codec_context.codec.canonical_name
    if codec not in MUXERS:
        raise _NoMuxerError(f"no container for its sound ({codec})")
    _copy([_Track(container, sound, -_base(container))], MUXERS[codec].name, target)
    return MUXERS[codec].extension


def _join(picture_file: InputContainer, sound_file: InputContainer, target: BoundedTarget) -> str:
    picture, sound = _picture_of(picture_file), _sound_of(sound_file)
    base = _base(sound_file)
    twin = next(iter(pictures_of(sound_file)), None)
    if twin is None:
        lead = -_base(picture_file)
    else:
        # Both pictures begin at one moment, whatever the clocks of their files say: so the sound
        # keeps the distance that it has to the picture beside which it was made.
        _check_twin(length_of(picture), length_of(twin))
        lead = _start(twin) - _start(picture) - base
    tracks = [_Track(picture_file, picture, lead), _Track(sound_file, sound, -base)]
    _copy(tracks, "mp4", target)
    return "mp4"


def _check_twin(picture: float | None, twin: float | None) -> None:
    if picture is not None and twin is not None and abs(picture - twin) > TWIN_SECONDS:
        raise _MismatchError(
            f"its picture plays for {picture:.1f} s, that beside the sound for {twin:.1f} s"
        )


def _picture_of(container: InputContainer) -> VideoStream:
    found = pictures_of(container)
    if not found or found[0].codec_context is None:
        raise _MismatchError("there is no picture in it")
    return found[0]


def _sound_of(container: InputContainer) -> AudioStream:
    found = container.streams.audio
    if not found or found[0].codec_context is None:
        raise _MismatchError("there is no sound in it")
    return found[0]


def _base(container: InputContainer) -> Fraction:
    """Return the moment of the container's clock at which its presentation begins."""
    if _is_of(container, _CLOCKS_FROM_ZERO):
        return Fraction(0)
    return Fraction(container.start_time or 0, _MICROSECONDS)


def _is_of(container: InputContainer, names: Sequence[str]) -> bool:
    return any(name in names for name in container.format.name.split(","))


def _start(stream: Stream) -> Fraction:
    return (stream.start_time or 0) * (stream.time_base or Fraction(0))


def _copy(tracks: Sequence[_Track], muxer: str, target: BoundedTarget) -> None:
    """Write the packets of all tracks."""
    output = av.open(
        target,
        "w",
        format=muxer,
        options=_OUTPUT_OPTIONS.get(muxer, _BITEXACT),
        buffer_size=BUFFER_BYTES,
        io_open=lambda *_: target.again(),
    )
    try:
        _mux(tracks, output)
    except BaseException:
        # Closing the container would write its index, but not into a file that is closed.
        target.close()
        raise
    finally:
        output.close()


def _mux(tracks: Sequence[_Track], output: OutputContainer) -> None:
    copies = [_added(output, track.stream) for track in tracks]
    packets = [_packets(track, copy) for track, copy in zip(tracks, copies, strict=True)]
    seen: set[int] = set()
    for packet in merge(*packets, key=_moment):
        seen.add(packet.stream_index)
        output.mux(packet)
    if len(seen) < len(tracks):
        raise _MismatchError("there is nothing in one of its streams")


def _added(output: OutputContainer, stream: AudioStream | VideoStream) -> Stream:
    # Opaque: by the decoder's name. An encoder of that codec need not be there.
    copy = output.add_stream_from_template(stream, opaque=True)
    if isinstance(copy, VideoStream) and stream.codec_context.codec_tag in _TAGS_KEPT:
        copy.codec_context.codec_tag = stream.codec_context.codec_tag
    return copy


def _packets(track: _Track, copy: Stream) -> Iterator["Packet[Any]"]:
    for other in track.container.streams:
        if other.index != track.stream.index:
            other.discard = Discard.all
    ticks = round(track.later / track.stream.time_base) if track.stream.time_base else 0
    end = 0
    for packet in track.container.demux(track.stream):
        if packet.dts is None and packet.size == 0:
            continue  # the last one, which is none
        if packet.is_corrupt:
            raise _MismatchError("it is cut")
        end = max(end, (packet.pts or 0) + (packet.duration or 0))
        packet.dts = None if packet.dts is None else packet.dts + ticks
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.stream = copy
        yield packet
    _check_end(track, end)


def _check_end(track: _Track, end: int) -> None:
    """Raise when packets are missing: where a file ends too early, reading just ends."""
    length, unit = track.stream.duration, track.stream.time_base
    if _is_of(track.container, ("mov",)) and length is not None and unit is not None:
        missing = float(((track.stream.start_time or 0) + length - end) * unit)
        if missing > CUT_SECONDS:
            raise _MismatchError(f"it is cut: {missing:.1f} seconds are missing")


def _moment(packet: "Packet[Any]") -> Fraction:
    ticks = packet.pts if packet.dts is None else packet.dts
    return (ticks or 0) * packet.time_base
