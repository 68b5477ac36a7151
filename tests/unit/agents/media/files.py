"""Media files for the tests: valid ones of the stand-in, and others."""

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
    """Return the header of a PNG that declares this size; no data follows."""
    head = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", len(head), b"IHDR") + head + bytes(4)


def progressive_jpeg(scans: int, side: int = 64) -> bytes:
    """Return a grey JPEG with this many scans after the first one; they change nothing.

    ITU-T T.81, annex B and G: a table that codes the first coefficient of every block as 0, and one
    that ends the next 16,384 to 32,767 blocks at once.
    """
    blocks = -((-side // 8) ** 2)
    tables = _segment(0xDB, bytes([0, *[1] * 64]))
    tables += _segment(0xC4, bytes([0x00, 1, *[0] * 15, 0x00]))
    tables += _segment(0xC4, bytes([0x10, 1, *[0] * 15, 0xE0]))
    frame = _segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + bytes([1, 0x11, 0]))
    first = _segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + _bits("0" * blocks)
    more = _segment(0xDA, bytes([1, 1, 0, 1, 63, 0]))
    more += _bits(("0" + "1" * 14) * (blocks // 32_767 + 1))
    return b"\xff\xd8" + tables + frame + first + more * scans + b"\xff\xd9"


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _bits(bits: str) -> bytes:
    """Return whole bytes, padded with ones and stuffed so that none looks like a marker."""
    whole = bits + "1" * (-len(bits) % 8)
    octets = bytes(int(whole[at : at + 8], 2) for at in range(0, len(whole), 8))
    return octets.replace(b"\xff", b"\xff\x00")


def sound_in(form: str, codec: str) -> bytes:
    """Return a second of silence in the given container."""
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
    """Return a grey picture of 64 x 48 from the given encoder."""
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 64, 48, form
    encoder.time_base = Fraction(1)
    frame = av.VideoFrame(64, 48, form)
    for plane in frame.planes:
        plane.update(bytes([128]) * plane.buffer_size)
    return b"".join(bytes(each) for each in [*encoder.encode(frame), *encoder.encode(None)])


def video_in_matroska() -> bytes:
    """Return the stream of `VIDEO` in Matroska."""
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
    "progressive_jpeg",
    "sound_in",
    "video_in_matroska",
    "write",
]


def mp4_of_lengths(picture_seconds: float, sound_seconds: float) -> bytes:
    """Return a small mp4 whose audio and video tracks have these lengths."""
    out, rate = io.BytesIO(), 8_000
    with av.open(out, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        audio = container.add_stream("aac", rate=rate)
        audio.codec_context.layout = "mono"
        for number in range(round(picture_seconds * 10)):
            frame = av.VideoFrame(64, 64, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(video.encode(frame))
        for start in range(0, round(sound_seconds * rate), 1_024):
            samples = av.AudioFrame("fltp", "mono", 1_024)
            samples.sample_rate, samples.pts, samples.time_base = rate, start, Fraction(1, rate)
            samples.planes[0].update(bytes(samples.planes[0].buffer_size))
            container.mux(audio.encode(samples))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return out.getvalue()
