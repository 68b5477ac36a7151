"""Remuxing of whole files with FFmpeg's libraries (PyAV): audio extraction, muxing and tags.

Only `agents.media.process` may run this: the libraries are C code, and the files are untrusted.
Packets are copied unchanged; nothing is decoded or encoded.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from heapq import merge
from typing import Any, NamedTuple

from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Stream

from agents.media.copying import (
    MediaStream,
    MismatchError,
    NoMuxerError,
    add_stream,
    audio_stream,
    has_format,
    open_output,
    open_source,
    run_copy,
    start_of,
    video_stream,
)
from agents.media.file_objects import BoundedTarget, Source
from agents.media.protocol import MUXERS, RemuxAnswer, TagPlan
from agents.media.reading import stream_seconds, video_streams

SAME_VIDEO_SECONDS = 0.5
"""Tolerance between two encodings of one post, which differ by a frame or two; a larger difference
means another edit of the video, to which the audio does not belong."""

TRUNCATION_SECONDS = 0.5
"""Tolerance of truncation: the index of an MP4 file may declare a little more than its packets."""

_ZERO_BASED_FORMATS = ("mov", "matroska", "ogg")
"""Formats whose timestamps are presentation times; in others they start at any value."""

_MICROSECONDS = 1_000_000


def extract_audio(source: Source, target: Source) -> RemuxAnswer:
    """Write the audio of a file to an empty one."""

    def work(bounded: BoundedTarget) -> str:
        with open_source(source) as container:
            return _extract_audio(container, bounded)

    return run_copy(work, (source,), target)


def mux(picture: Source, sound: Source, target: Source) -> RemuxAnswer:
    """Write the video of one file with the audio of another to an empty one, as MP4."""

    def work(bounded: BoundedTarget) -> str:
        with open_source(picture) as picture_file, open_source(sound) as sound_file:
            return _mux_files(picture_file, sound_file, bounded)

    return run_copy(work, (picture, sound), target)


def tag(plan: TagPlan, source: Source, target: Source) -> RemuxAnswer:
    """Write the picture and sound of an MP4 file with tags to an empty file."""

    def work(bounded: BoundedTarget) -> str:
        with open_source(source) as container:
            return _tag(container, plan.tags, bounded)

    return run_copy(work, (source,), target)


class _Track(NamedTuple):
    """A stream to copy, and the shift of its timestamps in seconds."""

    container: InputContainer
    stream: MediaStream
    shift: Fraction


def _extract_audio(container: InputContainer, target: BoundedTarget) -> str:
    sound = audio_stream(container)
    codec = sound.codec_context.codec.canonical_name
    if codec not in MUXERS:
        raise NoMuxerError(f"no container for its sound ({codec})")
    _copy([_Track(container, sound, -_origin(container))], MUXERS[codec].name, target)
    return MUXERS[codec].extension


def _mux_files(
    picture_file: InputContainer, sound_file: InputContainer, target: BoundedTarget
) -> str:
    picture, sound = video_stream(picture_file), audio_stream(sound_file)
    origin = _origin(sound_file)
    reference = next(iter(video_streams(sound_file)), None)
    if reference is None:
        shift = -_origin(picture_file)
    else:
        # Both videos start simultaneously, whatever their timestamps are: aligning them keeps the
        # audio in sync as it is in its own file.
        _check_same_video(stream_seconds(picture), stream_seconds(reference))
        shift = start_of(reference) - start_of(picture) - origin
    tracks = [_Track(picture_file, picture, shift), _Track(sound_file, sound, -origin)]
    _copy(tracks, "mp4", target)
    return "mp4"


def _tag(container: InputContainer, tags: Mapping[str, str], target: BoundedTarget) -> str:
    if not has_format(container, ("mov",)):
        raise NoMuxerError(f"only MP4 files get tags, this is {container.format.name}")
    streams: list[MediaStream] = [*video_streams(container), *container.streams.audio]
    if any(stream.codec_context is None for stream in streams):
        raise NoMuxerError("no decoder for one of its streams")
    with open_output(target, "mp4") as output:
        output.metadata.update(tags)
        copies = {stream.index: add_stream(output, stream) for stream in streams}
        for packet in container.demux(streams):
            if packet.dts is None and packet.size == 0:
                continue  # the flush packet at the end
            if packet.is_corrupt:
                raise MismatchError("it is truncated")
            packet.stream = copies[packet.stream_index]
            output.mux(packet)
    return "mp4"


def _check_same_video(picture: float | None, other: float | None) -> None:
    if picture is not None and other is not None and abs(picture - other) > SAME_VIDEO_SECONDS:
        raise MismatchError(
            f"its picture plays for {picture:.1f} s, that beside the sound for {other:.1f} s"
        )


def _origin(container: InputContainer) -> Fraction:
    """Return the timestamp at which the container's presentation starts."""
    if has_format(container, _ZERO_BASED_FORMATS):
        return Fraction(0)
    return Fraction(container.start_time or 0, _MICROSECONDS)


def _copy(tracks: Sequence[_Track], muxer: str, target: BoundedTarget) -> None:
    with open_output(target, muxer) as output:
        copies = [add_stream(output, track.stream) for track in tracks]
        packets = [_packets(track, copy) for track, copy in zip(tracks, copies, strict=True)]
        seen: set[int] = set()
        for packet in merge(*packets, key=_timestamp):
            seen.add(packet.stream_index)
            output.mux(packet)
        if len(seen) < len(tracks):
            raise MismatchError("one of its streams is empty")


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
            raise MismatchError("it is truncated")
        end = max(end, (packet.pts or 0) + (packet.duration or 0))
        packet.dts = None if packet.dts is None else packet.dts + ticks
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.stream = copy
        yield packet
    _check_end(track, end)


def _check_end(track: _Track, end: int) -> None:
    """Raise when packets are missing: demuxing of a truncated file ends without an error."""
    length, unit = track.stream.duration, track.stream.time_base
    if has_format(track.container, ("mov",)) and length is not None and unit is not None:
        missing = float(((track.stream.start_time or 0) + length - end) * unit)
        if missing > TRUNCATION_SECONDS:
            raise MismatchError(f"it is truncated: {missing:.1f} seconds are missing")


def _timestamp(packet: "Packet[Any]") -> Fraction:
    ticks = packet.pts if packet.dts is None else packet.dts
    return (ticks or 0) * packet.time_base
