"""Streams of any length for measurements: one segment, repeated with later timestamps.

A playlist is ``long-KIND-SEGMENTS-KIB.m3u8``, where KIND is ``ts`` or ``fmp4``.
"""

import io
import os
import re
import struct
from fractions import Fraction
from functools import cache, lru_cache
from itertools import cycle

import av
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

SECONDS = Fraction(48, 25)
"""48 frames of 25 a second, and 90 frames of AAC."""

_RATE, _SAMPLES, _AAC_FRAME = 25, 48_000, 1_024
_WIDTH, _HEIGHT = 640, 360
_NAME = re.compile(r"long-(ts|fmp4)-([0-9]{1,5})-([0-9]{1,5})(?:\.m3u8|-(init|[0-9]{1,5}))")
_TIMESCALES = (12_800, _SAMPLES)
"""Of the tracks that FFmpeg writes: picture and sound."""

_FRAGMENTS = {"movflags": "+empty_moov+frag_keyframe+default_base_moof"}


def long_stream(name: str) -> bytes | None:
    """A playlist or segment; None for another name."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    kind, count, kibibytes, part = found[1], int(found[2]), int(found[3]), found[4]
    if part is None:
        return _playlist(kind, count, kibibytes).encode()
    if part == "init":
        return _split(_segment("fmp4", kibibytes, 0))[0]
    if kind == "ts":
        return _segment(kind, kibibytes, int(part))
    return _moved(_split(_segment(kind, kibibytes, 0))[1], int(part))


def _playlist(kind: str, count: int, kibibytes: int) -> str:
    stem = f"long-{kind}-{count}-{kibibytes}"
    init = [f'#EXT-X-MAP:URI="{stem}-init"'] if kind == "fmp4" else []
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-TARGETDURATION:2", *init]
    for number in range(count):
        lines += [f"#EXTINF:{float(SECONDS)},", f"{stem}-{number}"]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


@lru_cache(maxsize=1_200)
def _segment(kind: str, kibibytes: int, number: int) -> bytes:
    """The template with timestamps of that segment."""
    out = io.BytesIO()
    options = {"mpegts_copyts": "1"} if kind == "ts" else _FRAGMENTS
    with (
        av.open(io.BytesIO(_template(kibibytes)), "r") as source,
        av.open(out, "w", format="mpegts" if kind == "ts" else "mp4", options=options) as target,
    ):
        copies = {each.index: target.add_stream_from_template(each) for each in source.streams}
        for packet in source.demux():
            if packet.dts is None or packet.pts is None or packet.pts < 0:
                continue
            ticks = int(number * SECONDS / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            packet.stream = copies[packet.stream_index]
            target.mux(packet)
    return out.getvalue()


def _split(body: bytes) -> tuple[bytes, bytes]:
    """Return initialization and fragments of a fragmented file."""
    at = body.index(b"moof") - 4
    return body[:at], body[at:]


def _moved(fragments: bytes, number: int) -> bytes:
    """Set the decode times of fragments: the muxer begins each file at 0."""
    made, at = bytearray(fragments), 0
    scales = cycle(_TIMESCALES)
    while (at := fragments.find(b"tfdt", at)) >= 0:
        ticks = int(number * SECONDS * next(scales))
        struct.pack_into(">Q", made, at + 8, ticks)
        at += 4
    return bytes(made)


@cache
def _template(kibibytes: int) -> bytes:
    """Noise of about that size, with silence."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=_RATE)
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        video.bit_rate = int(kibibytes * 8192 / SECONDS)
        video.codec_context.thread_count = 1
        video.codec_context.options = {"preset": "ultrafast", "g": "1000"}
        audio = container.add_stream("aac", rate=_SAMPLES)
        assert isinstance(audio, AudioStream)
        audio.codec_context.layout = "mono"
        for number in range(int(SECONDS * _RATE)):
            frame = av.VideoFrame(_WIDTH, _HEIGHT, "yuv420p")
            for plane in frame.planes:
                plane.update(os.urandom(plane.buffer_size))
            frame.pts, frame.time_base = number, Fraction(1, _RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for number in range(int(SECONDS * _SAMPLES) // _AAC_FRAME):
            piece = av.AudioFrame("fltp", "mono", _AAC_FRAME)
            piece.sample_rate, piece.pts = _SAMPLES, number * _AAC_FRAME
            piece.time_base = Fraction(1, _SAMPLES)
            piece.planes[0].update(bytes(piece.planes[0].buffer_size))
            container.mux(audio.encode(piece))
        container.mux(audio.encode(None))
    return out.getvalue()
