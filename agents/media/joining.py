"""Joins the segments of one or two tracks into one file with FFmpeg's libraries (PyAV).

Only `agents.media.process` may run this: the libraries are C code, and the files are untrusted.
Packets are copied unchanged; nothing is decoded or encoded.

The segments of a track are appended to one file. It has a part per run of continuous timestamps;
each part is demuxed by itself. A part starts where the manifest places it, or where the one before
it ended; sound that overlaps is dropped. Timestamps of picture and sound have a common origin, so
they stay in sync.
"""

import io
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from heapq import merge
from operator import itemgetter
from typing import Any

from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Stream
from av.video.codeccontext import VideoCodecContext
from msgspec.structs import replace

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
from agents.media.file_objects import BoundedTarget, Section, Source
from agents.media.protocol import MUXERS, FilePart, JoinPlan, RemuxAnswer, TrackFile
from agents.media.reading import video_streams

DRIFT_SECONDS = Fraction(1, 4)
"""Tolerance between the durations of a playlist and those of its segments. Within it the playlist
is right, since it is the same for picture and sound; beyond it, its durations are rounded."""

BACKSTEP_SECONDS = Fraction(1)
"""Tolerance of times that step back where two parts meet: by the delay of B-frames, or by sound
that is longer than the picture."""

HOLE_SECONDS = Fraction(1)
"""Gap in the sound of a part from which segments are missing. Pictures may stand still."""

_WEBM_CODECS = frozenset({"vp8", "vp9", "av1", "opus", "vorbis"})
_UNTIMED_FORMATS = ("aac", "mp3", "ac3", "eac3")
"""Formats without timestamps: packed audio (RFC 8216, section 3.4)."""

TimedPacket = tuple[float, "Packet[Any]"]
"""A packet and its decoding time in seconds."""

_TIMESTAMP_TAG = b"com.apple.streaming.transportStreamTimestamp\0"
_TAG_BYTES_MAX = 4_096
_CLOCK = 90_000
_TIMESTAMP_MAX = 2**33


def join(plan: JoinPlan, *files: Source) -> RemuxAnswer:
    """Write the tracks of the files, but the last, to the last one, which is empty."""
    *sources, target = files
    return run_copy(lambda bounded: _join(plan, sources, bounded), sources, target)


def _join(plan: JoinPlan, sources: Sequence[Source], target: BoundedTarget) -> str:
    with ExitStack() as stack:
        files = _with_positions(plan.files)
        tracks = [_JoinedTrack(file, source) for file, source in zip(files, sources, strict=True)]
        firsts = [stack.enter_context(track.opened(0)) for track in tracks]
        origin = min(part.start for part in firsts)
        streams = [stream for part in firsts for stream in part.streams]
        muxer, extension = _muxer_of(firsts, streams)
        with open_output(target, muxer) as output:
            copies = {id(stream): add_stream(output, stream) for stream in streams}
            packets = [
                track.packets(origin, [copies[id(stream)] for stream in part.streams])
                for track, part in zip(tracks, firsts, strict=True)
            ]
            seen: set[int] = set()
            for _, packet in merge(*packets, key=itemgetter(0)):
                seen.add(packet.stream_index)
                output.mux(packet)
            if len(seen) < len(streams):
                raise MismatchError("one of its streams is empty")
    return extension


def _with_positions(files: Sequence[TrackFile]) -> list[TrackFile]:
    """Return the files with the positions of the first one's parts, where they correspond.

    Sound is cut at its own frames: each of its parts may differ from that of the picture by one.
    """
    positions = [part.position_seconds for part in files[0].parts]
    return [
        replace(
            file,
            parts=tuple(
                replace(part, position_seconds=position)
                for part, position in zip(file.parts, positions, strict=True)
            ),
        )
        if len(file.parts) == len(positions)
        else file
        for file in files
    ]


def _muxer_of(parts: Sequence["_Part"], streams: Sequence[MediaStream]) -> tuple[str, str]:
    codecs = [stream.codec_context.codec.canonical_name for stream in streams]
    if all(stream.type == "audio" for stream in streams):
        if codecs[0] not in MUXERS:
            raise NoMuxerError(f"no container for its sound ({codecs[0]})")
        return MUXERS[codecs[0]]
    is_webm = all(has_format(part.container, ("webm",)) for part in parts)
    return ("webm", "webm") if is_webm and _WEBM_CODECS.issuperset(codecs) else ("mp4", "mp4")


@dataclass(frozen=True, slots=True)
class _Part:
    """An open part.

    Attributes:
        container: of the part.
        streams: to copy; the first is the picture, if there is one.
        base: added to all timestamps, in seconds.
    """

    container: InputContainer
    streams: tuple[MediaStream, ...]
    base: Fraction

    @property
    def start(self) -> Fraction:
        """First presentation time."""
        return min(map(start_of, self.streams)) + self.base

    @property
    def first_start(self) -> Fraction:
        """First presentation time of the first stream."""
        return start_of(self.streams[0]) + self.base


class _JoinedTrack:
    """The parts of one file.

    Args:
        file: its parts, and the streams to copy.
        source: open file.
    """

    def __init__(self, file: TrackFile, source: Source) -> None:
        self._file = file
        self._source = source
        self._size = source.seek(0, io.SEEK_END)

    @contextmanager
    def opened(self, index: int) -> Iterator[_Part]:
        parts = self._file.parts
        end = parts[index + 1].offset if index + 1 < len(parts) else self._size
        section = Section(self._source, parts[index].offset, end)
        head = section.read(_TAG_BYTES_MAX)
        section.seek(0)
        with open_source(section) as container:
            streams = _select(container, self._file)
            base = Fraction(parts[index].shift_seconds or 0).limit_denominator(_CLOCK)
            if has_format(container, _UNTIMED_FORMATS):
                base += _packed_start(head)
            yield _Part(container, streams, base)

    def packets(self, origin: Fraction, copies: Sequence[Stream]) -> Iterator[TimedPacket]:
        """Yield the packets of all parts, with timestamps from the origin on."""
        clocks = [_Clock(is_sound=copy.type == "audio") for copy in copies]
        anchor = Fraction(0)
        expected: list[tuple[object, ...]] | None = None
        for index, part in enumerate(self._file.parts):
            with self.opened(index) as opened:
                found = [_describe(stream, opened.container) for stream in opened.streams]
                if expected not in (None, found):
                    raise MismatchError("its encoding changes within the stream")
                expected = found
                start = opened.first_start - origin
                if index == 0:
                    anchor = start
                elif part.shift_seconds is None:
                    start = _start_after(clocks[0].end, anchor, part)
                shift = start - opened.first_start + opened.base
                yield from _packets_of(opened, shift, copies, clocks)


def _start_after(end: Fraction, anchor: Fraction, part: FilePart) -> Fraction:
    """Return where a part starts, after one that ends there."""
    placed = anchor + Fraction(part.position_seconds).limit_denominator(_CLOCK)
    return placed if abs(placed - end) <= DRIFT_SECONDS else end


class _Clock:
    """Timestamps of one stream of the output, in units of the input's time base.

    Integers: with fractions of seconds the arithmetic of packets took half of the processor time.

    Args:
        is_sound: packets that overlap the ones before them are dropped, and gaps are errors.
    """

    def __init__(self, *, is_sound: bool) -> None:
        self._is_sound = is_sound
        self._is_continued = False
        self._unit = Fraction(1)
        self._end = 0
        self._last: int | None = None
        self._duration = 0
        self._hole = self._backstep = 0

    @property
    def end(self) -> Fraction:
        """End of the last packet, in seconds."""
        return self._end * self._unit

    def begin_part(self, unit: Fraction) -> None:
        """Continue with the time base of another part."""
        scale = self._unit / unit
        self._end = round(self._end * scale)
        self._duration = round(self._duration * scale)
        self._last = None if self._last is None else round(self._last * scale)
        self._unit = unit
        self._hole, self._backstep = int(HOLE_SECONDS / unit), int(BACKSTEP_SECONDS / unit)
        self._is_continued = False

    def shift(self, packet: "Packet[Any]", ticks: int) -> int | None:
        """Shift a packet; return its decoding time, which increases strictly. None: drop it.

        Raises:
            MismatchError: it has no time, steps back too far, or comes after a hole.
        """
        dts, pts, length = packet.dts, packet.pts, packet.duration or self._duration
        dts = pts if dts is None else dts
        if dts is None:
            raise MismatchError("a packet has no time")
        pts = (dts if pts is None else pts) + ticks
        dts += ticks
        if self._last is not None and dts <= self._last:
            if self._last - dts > self._backstep:
                raise MismatchError("its times step back within the stream")
            if self._is_sound:
                return None
            dts = self._last + 1
        elif self._is_sound and pts < self._end - length // 2:
            return None
        elif self._is_sound and self._is_continued and dts > self._end + self._hole:
            raise MismatchError("segments are missing from it")
        self._is_continued = True
        packet.dts, packet.pts = dts, max(pts, dts)
        if self._last is not None:
            self._duration = dts - self._last
        self._last = dts
        self._end = max(self._end, pts + length)
        return dts


def _packets_of(
    part: _Part, shift: Fraction, copies: Sequence[Stream], clocks: Sequence[_Clock]
) -> Iterator[TimedPacket]:
    by_index: dict[int, tuple[Stream, _Clock, int, float]] = {}
    for stream, copy, clock in zip(part.streams, copies, clocks, strict=True):
        unit = stream.time_base
        if not unit:
            raise MismatchError("one of its streams has no time base")
        clock.begin_part(unit)
        by_index[stream.index] = copy, clock, round(shift / unit), float(unit)
    for other in part.container.streams:
        if other.index not in by_index:
            other.discard = Discard.all
    for packet in part.container.demux(*part.streams):
        if packet.size == 0 and packet.dts is None:
            continue  # the flush packet at the end
        copy, clock, ticks, seconds = by_index[packet.stream_index]
        dts = clock.shift(packet, ticks)
        if dts is not None:
            packet.stream = copy
            yield dts * seconds, packet


def _select(container: InputContainer, file: TrackFile) -> tuple[MediaStream, ...]:
    """Return the streams to copy.

    Raises:
        MismatchError: a required one is missing.
    """
    match file.streams:
        case "picture":
            return (video_stream(container),)
        case "sound":
            return (audio_stream(container),)
        case _:
            kinds: tuple[tuple[bool, Callable[[InputContainer], MediaStream]], ...] = (
                (bool(video_streams(container)), video_stream),
                (bool(container.streams.audio), audio_stream),
            )
            found = tuple(select(container) for exists, select in kinds if exists)
            if not found:
                raise MismatchError("there is neither picture nor sound in it")
            return found


def _describe(stream: MediaStream, container: InputContainer) -> tuple[object, ...]:
    """Return what a file declares once for all packets of a stream."""
    context = stream.codec_context
    # The parameter sets of transport streams are among their packets as well.
    parameters = None if has_format(container, ("mpegts",)) else context.extradata
    common = container.format.name, context.codec.canonical_name, parameters
    if isinstance(context, VideoCodecContext):
        return *common, context.width, context.height
    return *common, context.rate, context.layout.name


def _packed_start(head: bytes) -> Fraction:
    """Return the time that an ID3 tag in front of packed audio declares, else 0."""
    at = head.find(_TIMESTAMP_TAG)
    value = head[at + len(_TIMESTAMP_TAG) :][:8]
    if at < 0 or len(value) < 8:  # noqa: PLR2004 - a 64-bit number
        return Fraction(0)
    return Fraction(struct.unpack(">Q", value)[0] % _TIMESTAMP_MAX, _CLOCK)
