"""Subtitles of the stand-in's videos: files in several formats, and a playlist of segments.

The names tell what an answer is: ``en.vtt`` is WebVTT, ``latin.srt`` SubRip in Windows-1252,
``styled.ttml`` TTML; ``huge.vtt``, ``bomb.vtt``, ``binary.vtt`` and ``gone.vtt`` cannot be used.
"""

import gzip
import re
from collections.abc import Callable, Iterator
from functools import cache

from tests.standin.wire import Body, Reply, Request, text_reply, whole

HUGE_BYTES = 2**30
SEGMENT_SECONDS = 5
CLOCK = 900_000
"""Of the transport stream at the start of the movie, in ticks of 1/90,000 s."""

PLAYLIST = f"""#EXTM3U
#EXT-X-VERSION:3
#EXT-X-TARGETDURATION:{SEGMENT_SECONDS}
#EXT-X-PLAYLIST-TYPE:VOD
#EXTINF:{SEGMENT_SECONDS}.0,
subtitles-0.vtt
#EXTINF:{SEGMENT_SECONDS}.0,
subtitles-1.vtt
#EXT-X-ENDLIST
"""
"""Its segments both have the cue that reaches from one to the other."""

STREAM_FILES = {
    "subtitles.m3u8": PLAYLIST.encode(),
    "subtitles-0.vtt": (
        f"WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:{CLOCK},LOCAL:00:00:00.000\n\n"
        "00:01.000 --> 00:03.000\num\n\n00:04.000 --> 00:06.000\ndois\n"
    ).encode(),
    "subtitles-1.vtt": (
        f"WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:{CLOCK + 90_000 * SEGMENT_SECONDS},LOCAL:00:00:00.000\n\n"
        "00:00.000 --> 00:01.000\ndois\n\n00:02.000 --> 00:03.000\ntrês\n"
    ).encode(),
}
"""Files beside the HLS of other sites."""

ROLLING = """WEBVTT
Kind: captions

00:00:00.500 --> 00:00:02.000 align:start position:0%
hello<00:00:01.000><c> world</c>

00:00:02.000 --> 00:00:02.010 align:start position:0%
hello world

00:00:02.010 --> 00:00:04.000 align:start position:0%
hello world
next<00:00:03.000><c> line</c>

00:00:04.000 --> 00:00:04.010 align:start position:0%
next line
"""
"""Captions of speech recognition: each line is shown a second time above the next one."""

VTT = b"""WEBVTT

STYLE
::cue { background: url(https://evil.example/) }

1
00:00:00.500 --> 00:00:02.000 align:start
<v Bob>Hello <script>alert(1)</script><i>there</i> &amp; here

00:00:03.000 --> 00:00:04.500
a line
and another
"""
SRT = "1\r\n00:00:00,500 --> 00:00:02,000\r\nGr\u00fc\u00dfe\r\n".encode("cp1252")
TTML = b"""<?xml version="1.0" encoding="utf-8"?>
<tt xmlns="http://www.w3.org/ns/ttml"><body><div>
<p begin="00:00:00.500" end="00:00:02.000">Salut<br/>\xc3\xa0 tous</p></div></body></tt>"""
_FILES = {"en.vtt": VTT, "latin.srt": SRT, "styled.ttml": TTML, "binary.vtt": bytes(range(256))}
_PATH = re.compile(r"/texttrack/(?P<name>[a-z]{1,20}\.[a-z]{1,4})")


def subtitle_path(name: str) -> str:
    return f"/texttrack/{name}?token=abc"


def answer_subtitles(request: Request) -> Reply | None:
    """The reply to a request for a file of subtitles, None for another one."""
    found = _PATH.fullmatch(request.path)
    if found is None:
        return None
    answer = _SPECIAL.get(found["name"])
    if answer is not None:
        return answer()
    body = _FILES.get(found["name"])
    if body is None:
        return text_reply(404, "no such subtitles")
    return Reply(200, whole(body), (("Content-Type", "text/vtt"),), kind="media")


def _huge() -> Reply:
    def chunks() -> Iterator[bytes]:
        for _ in range(HUGE_BYTES // 2**16):
            yield bytes(2**16)

    return Reply(200, Body(HUGE_BYTES, chunks), (("Content-Type", "text/vtt"),), kind="media")


def _bomb() -> Reply:
    headers = (("Content-Type", "text/vtt"), ("Content-Encoding", "gzip"))
    return Reply(200, whole(_zeros()), headers, kind="media")


@cache
def _zeros() -> bytes:
    return gzip.compress(bytes(64 * 2**20))


_SPECIAL: dict[str, Callable[[], Reply]] = {"huge.vtt": _huge, "bomb.vtt": _bomb}
