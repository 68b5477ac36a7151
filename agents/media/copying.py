"""Stream copy with FFmpeg's libraries (PyAV): what all remuxing tasks share.

Only `agents.media.process` may run this: the libraries are C code, and the files are untrusted.
"""

import errno
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import DecoderNotFoundError, FFmpegError, PatchWelcomeError
from av.stream import Stream
from av.video.stream import VideoStream

from agents.media.file_objects import BoundedTarget, Source
from agents.media.protocol import NotWritten, RemuxAnswer, Remuxed, Unreadable, Unsupported
from agents.media.reading import error_text, open_input, video_streams

BUFFER_BYTES = 2**18
"""Buffer of one read or write; with PyAV's default of 32 KiB a copy takes twice the CPU time."""

SLACK_BYTES = 2**20
"""Allowance for the index, which may be larger than the input's; fragmented files have none."""

_BUFFERED = {"fflags": "+bitexact", "flush_packets": "0"}
"""Bit-exact output has no version of FFmpeg. A write per packet took a tenth of the CPU time."""

_INDEX_FIRST = {**_BUFFERED, "movflags": "+faststart"}
_OUTPUT_OPTIONS = {"ipod": _INDEX_FIRST, "mp4": _INDEX_FIRST}
_TAGS_KEPT = frozenset({"hvc1", "hev1"})
"""HEVC tags copied from the input: Apple's players need hvc1, FFmpeg writes hev1 by default."""

MediaStream = AudioStream | VideoStream


class MismatchError(ValueError):
    """The inputs are unsuitable for the task."""


class NoMuxerError(Exception):
    """No container supports the codec."""


def run_copy(
    work: Callable[[BoundedTarget], str], sources: Sequence[Source], target: Source
) -> RemuxAnswer:
    """Run a copy; return its answer, never raising for a bad file.

    Args:
        work: writes the target, and returns its file extension.
        sources: of the copy; they bound the size of the target.
        target: an empty file.
    """
    bounded = BoundedTarget(target, _bytes_max(sources))
    try:
        return Remuxed(extension=work(bounded))
    except (PatchWelcomeError, DecoderNotFoundError, NotImplementedError, NoMuxerError) as error:
        return Unsupported(reason=error_text(error))
    except (FFmpegError, ValueError, MemoryError, StopIteration) as error:
        if bounded.error is not None:
            return NotWritten(number=bounded.error.errno or errno.EIO)
        return Unreadable(reason=error_text(error))
    except OSError as error:
        return NotWritten(number=error.errno or errno.EIO)


def _bytes_max(sources: Sequence[Source]) -> int:
    # Not `os.fstat`: it uses a system call that also takes paths, which the sandbox rejects.
    sizes = [each.seek(0, io.SEEK_END) for each in sources]
    for each in sources:
        each.seek(0)
    return 2 * sum(sizes) + SLACK_BYTES


def open_source(source: Source | io.RawIOBase) -> InputContainer:
    return open_input(source, buffer_size=BUFFER_BYTES)


@contextmanager
def open_output(target: BoundedTarget, muxer: str) -> Iterator[OutputContainer]:
    """Open a container for the block; a failed one is left without its index."""
    output = av.open(
        target,
        "w",
        format=muxer,
        options=_OUTPUT_OPTIONS.get(muxer, _BUFFERED),
        buffer_size=BUFFER_BYTES,
        io_open=lambda *_: target.reopened(),
    )
    try:
        yield output
    except BaseException:
        # Closing the container would write its index; a closed target prevents that.
        target.close()
        raise
    finally:
        output.close()


def add_stream(output: OutputContainer, stream: MediaStream) -> Stream:
    # Opaque: looks up the decoder by name; an encoder of that codec may be missing.
    copy = output.add_stream_from_template(stream, opaque=True)
    if isinstance(copy, VideoStream) and stream.codec_context.codec_tag in _TAGS_KEPT:
        copy.codec_context.codec_tag = stream.codec_context.codec_tag
    return copy


def video_stream(container: InputContainer) -> VideoStream:
    found = video_streams(container)
    if not found or found[0].codec_context is None:
        raise MismatchError("there is no picture in it")
    return found[0]


def audio_stream(container: InputContainer) -> AudioStream:
    found = container.streams.audio
    if not found or found[0].codec_context is None:
        raise MismatchError("there is no sound in it")
    return found[0]


def has_format(container: InputContainer, names: Iterable[str]) -> bool:
    return any(name in names for name in container.format.name.split(","))


def start_of(stream: Stream) -> Fraction:
    """Return the first presentation time of a stream in seconds."""
    return (stream.start_time or 0) * (stream.time_base or Fraction(0))
