"""Encodes minimal real media: black pictures, silence, one keyframe in five seconds.

The output is equal on every run of one machine, and is cached in the temporary directory, so that
the stand-in and the tests encode it once.
"""

import functools
import hashlib
import os
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from tests.standin.media_shapes import Shape

FRAME_SECONDS = 5
SAMPLES_PER_SECOND = 8_000
FRAME_SAMPLES = 1_024
_BLACK = (16, 128, 128)
_ENCODERS = {"h264": "libx264", "h265": "libx265"}
_OPTIONS = {
    "h264": {"preset": "ultrafast", "crf": "51"},
    "h265": {
        "preset": "ultrafast",
        "x265-params": "log-level=none:pools=none:frame-threads=1:bframes=0:rc-lookahead=0:crf=51",
    },
}
_PAGE = b"<!DOCTYPE html>\n<html><body>The file is not available.</body></html>\n"


@functools.lru_cache(maxsize=128)
def encoded(shape: Shape) -> bytes:
    """The smallest possible file of a shape."""
    if shape.kind == "page":
        return _PAGE
    cached = _directory() / hashlib.sha256(repr(shape).encode()).hexdigest()[:32]
    if not cached.is_file():
        _store(_picture(shape) if shape.kind == "picture" else _movie(shape), cached)
    return cached.read_bytes()


@functools.cache
def _directory() -> Path:
    # Other encoding code or another library version makes other bytes: it gets another directory.
    recipe = Path(__file__).read_bytes() + av.__version__.encode()
    name = f"clipmill-standin-{os.getuid()}-{hashlib.sha256(recipe).hexdigest()[:16]}"
    directory = Path(tempfile.gettempdir()) / name
    directory.mkdir(exist_ok=True)
    return directory


def _store(content: bytes, path: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)


def _picture(shape: Shape) -> bytes:
    encoder = av.VideoCodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = shape.width, shape.height, "yuvj420p"
    encoder.time_base = Fraction(1)
    frame = _frame(shape, "yuvj420p")
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def _movie(shape: Shape) -> bytes:
    # With faststart the index moves to the front at the end: FFmpeg reopens the file by its name.
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "movie.mp4")
        flags = {"movflags": "+faststart", "fflags": "+bitexact"}
        form = "ipod" if shape.kind == "sound" else "mp4"
        with av.open(str(path), "w", format=form, options=flags) as container:
            _fill(container, shape)
        return path.read_bytes()


def _fill(container: OutputContainer, shape: Shape) -> None:
    video = _video_stream(container, shape) if shape.kind == "video" else None
    sound = _sound_stream(container) if shape.kind == "sound" or shape.sound else None
    if video is not None:
        for frame in _frames(shape):
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    if sound is not None:
        for silence in _silence(shape.seconds):
            container.mux(sound.encode(silence))
        container.mux(sound.encode(None))


def _video_stream(container: OutputContainer, shape: Shape) -> VideoStream:
    stream = container.add_stream(_ENCODERS[shape.codec], rate=Fraction(1, FRAME_SECONDS))
    assert isinstance(stream, VideoStream)
    stream.width, stream.height, stream.pix_fmt = shape.width, shape.height, "yuv420p"
    # One thread: otherwise the bytes depend on the number of cores.
    stream.codec_context.thread_count = 1
    stream.codec_context.options = _OPTIONS[shape.codec]
    if shape.codec == "h265":
        stream.codec_context.codec_tag = "hvc1"
    return stream


def _sound_stream(container: OutputContainer) -> AudioStream:
    stream = container.add_stream("aac", rate=SAMPLES_PER_SECOND)
    assert isinstance(stream, AudioStream)
    stream.codec_context.layout = "mono"
    stream.codec_context.bit_rate = SAMPLES_PER_SECOND
    return stream


def _frames(shape: Shape) -> Iterator[av.VideoFrame]:
    for second in range(0, shape.seconds, FRAME_SECONDS):
        frame = _frame(shape, "yuv420p")
        frame.pts, frame.time_base = second, Fraction(1)
        yield frame


def _frame(shape: Shape, form: str) -> av.VideoFrame:
    frame = av.VideoFrame(shape.width, shape.height, form)
    for plane, value in zip(frame.planes, _BLACK, strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    return frame


def _silence(seconds: int) -> Iterator[av.AudioFrame]:
    total = seconds * SAMPLES_PER_SECOND
    for start in range(0, total, FRAME_SAMPLES):
        frame = av.AudioFrame("fltp", "mono", min(FRAME_SAMPLES, total - start))
        frame.sample_rate, frame.pts = SAMPLES_PER_SECOND, start
        frame.time_base = Fraction(1, SAMPLES_PER_SECOND)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        yield frame
