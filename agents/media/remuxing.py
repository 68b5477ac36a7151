"""Stream copy of media with FFmpeg's libraries (PyAV): audio extraction and muxing.

Only `agents.media.process` may run this: the libraries are C code, and the files are untrusted.
Packets are copied unchanged; nothing is decoded or encoded.
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
from agents.media.facts import MUXERS, NotWritten, RemuxAnswer, Remuxed, Unreadable, Unsupported
from agents.media.reading import INPUT_OPTIONS, error_text, stream_seconds, video_streams

BUFFER_BYTES = 2**18
"""Buffer of one read or write; with PyAV's default of 32 KiB a copy takes twice the CPU time."""

SAME_VIDEO_SECONDS = 0.5
"""Tolerance between two encodings of one post, which differ by a frame or two; a larger difference
means another edit of the video, to which the audio does not belong."""

TRUNCATION_SECONDS = 0.5
"""Tolerance of truncation: the index of an MP4 file may declare a little more than its packets."""

SLACK_BYTES = 2**20
"""Allowance for the index, which may be larger than the input's; fragmented files have none."""

_BITEXACT = {"fflags": "+bitexact"}
"""Omits FFmpeg's version, for deterministic output."""

_INDEX_FIRST = {**_BITEXACT, "movflags": "+faststart"}
_OUTPUT_OPTIONS = {"ipod": _INDEX_FIRST, "mp4": _INDEX_FIRST}
_TAGS_KEPT = frozenset({"hvc1", "hev1"})
"""HEVC tags copied from the input: Apple's players need hvc1, FFmpeg writes hev1 by default."""

_ZERO_BASED_FORMATS = ("mov", "matroska", "ogg")
"""Formats whose timestamps are presentation times; in others they start at any value."""

_MICROSECONDS = 1_000_000


class _MismatchError(ValueError):
    """The inputs are unsuitable for the task."""


class _NoMuxerError(Exception):
    """No container supports the codec."""


def extract_audio(source: Source, target: Source) -> RemuxAnswer:
    """Write the audio of a file to an empty one."""
    return _run(_extract_audio, (source,), target)


def mux(picture: Source, sound: Source, target: Source) -> RemuxAnswer:
    """Write the video of one file with the audio of another to an empty one, as MP4."""
    return _run(_mux_files, (picture, sound), target)


class _Track(NamedTuple):
    """A stream to copy, and the shift of its timestamps in seconds."""

    container: InputContainer
    stream: AudioStream | VideoStream
    shift: Fraction


def _run(work: Callable[..., str], sources: tuple[Source, ...], target: Source) -> RemuxAnswer:
    bounded = BoundedTarget(target, _bytes_max(sources))
    try:
        with ExitStack() as stack:
            containers = [stack.enter_context(_open(each)) for each in sources]
            return Remuxed(extension=work(*containers, bounded))
    except (PatchWelcomeError, DecoderNotFoundError, NotImplementedError, _NoMuxerError) as error:
        return Unsupported(reason=error_text(error))
    except (FFmpegError, ValueError, MemoryError, StopIteration) as error:
        if bounded.error is not None:
            return NotWritten(number=bounded.error.errno or errno.EIO)
        return Unreadable(reason=error_text(error))
    except OSError as error:
        return NotWritten(number=error.errno or errno.EIO)


def _bytes_max(sources: tuple[Source, ...]) -> int:
    # Not `os.fstat`: it uses a system call that also takes paths, which the sandbox rejects.
    sizes = [each.seek(0, io.SEEK_END) for each in sources]
    for each in sources:
        each.seek(0)
    return 2 * sum(sizes) + SLACK_BYTES


def _open(source: Source) -> InputContainer:
    return av.open(
        source, "r", options=INPUT_OPTIONS, metadata_errors="replace", buffer_size=BUFFER_BYTES
    )


def _extract_audio(container: InputContainer, target: BoundedTarget) -> str:
    sound = _audio_stream(container)
    codec = sound.codec_context.codec.canonical_name
    if codec not in MUXERS:
        raise _NoMuxerError(f"no container for its sound ({codec})")
    _copy([_Track(container, sound, -_origin(container))], MUXERS[codec].name, target)
    return MUXERS[codec].extension


def _mux_files(
    picture_file: InputContainer, sound_file: InputContainer, target: BoundedTarget
) -> str:
    picture, sound = _video_stream(picture_file), _audio_stream(sound_file)
    origin = _origin(sound_file)
    reference = next(iter(video_streams(sound_file)), None)
    if reference is None:
        shift = -_origin(picture_file)
    else:
        # Both videos start simultaneously, whatever their timestamps are: aligning them keeps the
        # audio in sync as it is in its own file.
        _check_same_video(stream_seconds(picture), stream_seconds(reference))
        shift = _start(reference) - _start(picture) - origin
    tracks = [_Track(picture_file, picture, shift), _Track(sound_file, sound, -origin)]
    _copy(tracks, "mp4", target)
    return "mp4"


def _check_same_video(picture: float | None, other: float | None) -> None:
    if picture is not None and other is not None and abs(picture - other) > SAME_VIDEO_SECONDS:
        raise _MismatchError(
            f"its picture plays for {picture:.1f} s, that beside the sound for {other:.1f} s"
        )


def _video_stream(container: InputContainer) -> VideoStream:
    found = video_streams(container)
    if not found or found[0].codec_context is None:
        raise _MismatchError("there is no picture in it")
    return found[0]


def _audio_stream(container: InputContainer) -> AudioStream:
    found = container.streams.audio
    if not found or found[0].codec_context is None:
        raise _MismatchError("there is no sound in it")
    return found[0]


def _origin(container: InputContainer) -> Fraction:
    """Return the timestamp at which the container's presentation starts."""
    if _has_format(container, _ZERO_BASED_FORMATS):
        return Fraction(0)
    return Fraction(container.start_time or 0, _MICROSECONDS)


def _has_format(container: InputContainer, names: Sequence[str]) -> bool:
    return any(name in names for name in container.format.name.split(","))


def _start(stream: Stream) -> Fraction:
    return (stream.start_time or 0) * (stream.time_base or Fraction(0))


def _copy(tracks: Sequence[_Track], muxer: str, target: BoundedTarget) -> None:
    output = av.open(
        target,
        "w",
        format=muxer,
        options=_OUTPUT_OPTIONS.get(muxer, _BITEXACT),
        buffer_size=BUFFER_BYTES,
        io_open=lambda *_: target.reopened(),
    )
    try:
        _copy_packets(tracks, output)
    except BaseException:
        # Closing the container would write its index; a closed target prevents that.
        target.close()
        raise
    finally:
        output.close()


def _copy_packets(tracks: Sequence[_Track], output: OutputContainer) -> None:
    copies = [_add_stream(output, track.stream) for track in tracks]
    packets = [_packets(track, copy) for track, copy in zip(tracks, copies, strict=True)]
    seen: set[int] = set()
    for packet in merge(*packets, key=_timestamp):
        seen.add(packet.stream_index)
        output.mux(packet)
    if len(seen) < len(tracks):
        raise _MismatchError("there is nothing in one of its streams")


def _add_stream(output: OutputContainer, stream: AudioStream | VideoStream) -> Stream:
    # Opaque: looks up the decoder by name; an encoder of that codec may be missing.
    copy = output.add_stream_from_template(stream, opaque=True)
    if isinstance(copy, VideoStream) and stream.codec_context.codec_tag in _TAGS_KEPT:
        copy.codec_context.codec_tag = stream.codec_context.codec_tag
    return copy


def _packets(track: _Track, copy: Stream) -> Iterator["Packet[Any]"]:
    for other in track.container.streams:
        if other.index != track.stream.index:
            other.discard = Discard.all
    ticks = round(track.shift / track.stream.time_base) if track.stream.time_base else 0
    end = 0
    for packet in track.container.demux(track.stream):
        if packet.dts is None and packet.size == 0:
            continue  # the flush packet at the end
        if packet.is_corrupt:
            raise _MismatchError("it is cut")
        end = max(end, (packet.pts or 0) + (packet.duration or 0))
        packet.dts = None if packet.dts is None else packet.dts + ticks
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.stream = copy
        yield packet
    _check_end(track, end)


def _check_end(track: _Track, end: int) -> None:
    """Raise when packets are missing: demuxing of a truncated file ends without an error."""
    length, unit = track.stream.duration, track.stream.time_base
    if _has_format(track.container, ("mov",)) and length is not None and unit is not None:
        missing = float(((track.stream.start_time or 0) + length - end) * unit)
        if missing > TRUNCATION_SECONDS:
            raise _MismatchError(f"it is cut: {missing:.1f} seconds are missing")


def _timestamp(packet: "Packet[Any]") -> Fraction:
    ticks = packet.pts if packet.dts is None else packet.dts
    return (ticks or 0) * packet.time_base
