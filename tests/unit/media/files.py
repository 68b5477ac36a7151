"""Files to look into: sound ones of the stand-in, and others."""

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.video.codeccontext import VideoCodecContext

from tests.standin.media import Content
from tests.standin.media_shapes import SOUND, Shape

VIDEO = Shape("video", "h264", 720, 1280)
HEVC = Shape("video", "h265", 1080, 1920)
SILENT = Shape("video", "h264", 720, 1280, sound=False)
PICTURE = Shape("picture", width=1080, height=1440)
SIZE = 100_000


def content(shape: Shape, size: int = SIZE) -> bytes:
    return b"".join(Content("7", "play", size, shape).chunks(0, size))


def write(folder: Path, body: bytes, name: str = "media") -> Path:
    path = folder / name
    path.write_bytes(body)
    return path


def huge_picture(side: int) -> bytes:
    """A PNG whose head says that it is that large; there is nothing behind."""
    head = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", len(head), b"IHDR") + head + bytes(4)


def sound_in(form: str, codec: str) -> bytes:
    """A second of silence in another container."""
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        stream = container.add_stream(codec, rate=48_000)
        assert isinstance(stream, AudioStream)
        stream.codec_context.layout = "stereo"
        frame = av.AudioFrame("s16", "stereo", 48_000)
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def picture_in(codec: str, form: str) -> bytes:
    """A grey picture of 64 x 48 by another encoder."""
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 64, 48, form
    encoder.time_base = Fraction(1)
    frame = av.VideoFrame(64, 48, form)
    for plane in frame.planes:
        plane.update(bytes([128]) * plane.buffer_size)
    return b"".join(bytes(each) for each in [*encoder.encode(frame), *encoder.encode(None)])


def video_in_matroska() -> bytes:
    """The same video in another container."""
    out = io.BytesIO()
    with (
        av.open(io.BytesIO(content(VIDEO)), "r") as source,
        av.open(out, "w", format="matroska") as container,
    ):
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return out.getvalue()


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n"
CONCAT = b"ffconcat version 1.0\nfile '{url}'\n"
PAGE = b"<!DOCTYPE html>\n<html><body>Sign in</body></html>\n" * 100

__all__ = [
    "CONCAT",
    "HEVC",
    "PAGE",
    "PICTURE",
    "PLAYLIST",
    "SILENT",
    "SOUND",
    "VIDEO",
    "content",
    "huge_picture",
    "picture_in",
    "sound_in",
    "video_in_matroska",
    "write",
]
