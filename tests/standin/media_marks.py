"""Movies with known content: at marked times the picture flashes and the audio beeps.

This makes audio-video synchronisation measurable in any file derived from them.
"""

import io
import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

SIDE = 64
BEEP_SECONDS = 0.1
_CHUNK = 480
_STEP = 2
"""Step between analysed samples; every one would take too long."""

_BRIGHT, _DARK, _LOUD = 200, 20, 0.2
_CODECS = {
    "vp9": "libvpx-vp9",
    "h264": "libx264",
    "h265": "libx265",
    "opus": "libopus",
    "mp3": "libmp3lame",
}
_QUIET = {"preset": "ultrafast", "crf": "35", "x265-params": "log-level=none:pools=none"}


@dataclass(frozen=True, slots=True)
class Marked:
    """Parameters of a movie.

    Attributes:
        video: Its codec; empty for audio only.
        audio: Its codec; empty for video only.
        seconds: Duration.
        marks: Times of flashes and beeps in seconds.
        rate: Frames per second.
        late: Number of B-frames.
        samples: Per second.
        sound_at: Start of the audio in seconds.
        form: FFmpeg's name of the container.
        flags: Options of the container.
        group: Frames from one key frame to the next.
    """

    video: str = "h264"
    audio: str = "aac"
    seconds: float = 6.0
    marks: tuple[float, ...] = (0.4, 2.6, 5.6)
    rate: int = 30
    late: int = 0
    samples: int = 48_000
    sound_at: float = 0.0
    form: str = "mp4"
    flags: tuple[tuple[str, str], ...] = ()
    group: int = 250


def marked(movie: Marked) -> bytes:
    """The encoded file."""
    out = io.BytesIO()
    with av.open(out, "w", format=movie.form, options=dict(movie.flags)) as container:
        encode_marked(movie, container)
    return out.getvalue()


def encode_marked(movie: Marked, container: OutputContainer) -> None:
    """Encode the movie into an open container."""
    video = _video_stream(container, movie) if movie.video else None
    audio = _audio_stream(container, movie) if movie.audio else None
    if video is not None:
        for frame in _frames(movie):
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    if audio is not None:
        for piece in _pieces(movie):
            container.mux(audio.encode(piece))
        container.mux(audio.encode(None))


def flashes(path: Path) -> list[float]:
    """The presentation times in seconds at which the picture becomes bright."""
    with av.open(str(path)) as container:
        frames = ((frame.time, bytes(frame.planes[0])[0]) for frame in container.decode(video=0))
        return _rises((at, value > (_BRIGHT + _DARK) / 2) for at, value in frames if at is not None)


def beeps(path: Path) -> list[float]:
    """The presentation times in seconds at which the audio becomes loud."""
    with av.open(str(path)) as container:
        return _rises(_loudness(container.decode(audio=0)))


def _rises(moments: Iterable[tuple[float, bool]]) -> list[float]:
    found, before = [], False
    quiet_from = -math.inf
    for at, on in moments:
        if on and not before and at > quiet_from + BEEP_SECONDS / 2:
            found.append(at)
        quiet_from = at if on else quiet_from
        before = on
    return found


def _loudness(frames: Iterable[av.AudioFrame]) -> Iterator[tuple[float, bool]]:
    resampler = av.AudioResampler("flt", "mono")
    for frame in frames:
        assert frame.time is not None
        for each in resampler.resample(frame):
            values = array("f", bytes(each.planes[0])[: each.samples * 4])
            for number, value in enumerate(values[::_STEP]):
                yield frame.time + _STEP * number / each.sample_rate, abs(value) > _LOUD


def _is_marked(movie: Marked, at: float) -> bool:
    return any(mark <= at < mark + BEEP_SECONDS for mark in movie.marks)


def _video_stream(container: OutputContainer, movie: Marked) -> VideoStream:
    stream = container.add_stream(_CODECS[movie.video], rate=movie.rate)
    assert isinstance(stream, VideoStream)
    stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
    stream.codec_context.thread_count = 1
    options = {**_QUIET, "bf": str(movie.late), "g": str(movie.group)}
    stream.codec_context.options = options
    if movie.video == "vp9":
        stream.codec_context.options = {"deadline": "realtime", "cpu-used": "8"} | options
    if movie.video == "h265":
        stream.codec_context.codec_tag = "hvc1"
    return stream


def _audio_stream(container: OutputContainer, movie: Marked) -> AudioStream:
    stream = container.add_stream(_CODECS.get(movie.audio, movie.audio), rate=movie.samples)
    assert isinstance(stream, AudioStream)
    stream.codec_context.layout = "mono"
    return stream


def _frames(movie: Marked) -> Iterator[av.VideoFrame]:
    for number in range(round(movie.seconds * movie.rate)):
        frame = av.VideoFrame(SIDE, SIDE, "yuv420p")
        light = _BRIGHT if _is_marked(movie, number / movie.rate + 1e-6) else _DARK
        for plane, value in zip(frame.planes, (light, 128, 128), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.pts, frame.time_base = number, Fraction(1, movie.rate)
        yield frame


def _pieces(movie: Marked) -> Iterator[av.AudioFrame]:
    first, last = round(movie.sound_at * movie.samples), round(movie.seconds * movie.samples)
    for start in range(first, last, _CHUNK):
        count = min(_CHUNK, last - start)
        piece = av.AudioFrame("fltp", "mono", count)
        piece.sample_rate, piece.pts = movie.samples, start
        piece.time_base = Fraction(1, movie.samples)
        wave = array("f", (_wave(movie, (start + each) / movie.samples) for each in range(count)))
        plane = piece.planes[0]
        plane.update(wave.tobytes() + bytes(plane.buffer_size - 4 * count))
        yield piece


def _wave(movie: Marked, at: float) -> float:
    return 0.8 * math.sin(2 * math.pi * 1_000 * at) if _is_marked(movie, at) else 0.0
