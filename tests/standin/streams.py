"""The streams of other sites: a movie with known content as HLS, as DASH and as one file.

The HLS has a small rendition with sound in encrypted transport streams, and a large one with a
group of sound in fragmented MP4. Its subtitles are a playlist of WebVTT.
"""

import re
from functools import cache

from tests.standin.long_streams import long_stream
from tests.standin.media_marks import Marked, marked
from tests.standin.media_streams import FMP4, TS, Files, dash, encrypted, hls, renamed
from tests.standin.subtitles import STREAM_FILES
from tests.standin.wire import Reply, Request, text_reply, whole

MOVIE = Marked(seconds=10.0, marks=(0.4, 5.6, 9.6), group=30, late=2)
SILENT = Marked(seconds=10.0, marks=MOVIE.marks, group=30, audio="")
SOUND = Marked(seconds=10.0, marks=MOVIE.marks, video="")
_MOVIES = {"file": MOVIE, "silent": SILENT, "sound": SOUND}
MASTER = """#EXTM3U
#EXT-X-VERSION:7
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="sound",DEFAULT=YES,URI="sound.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="comments",DEFAULT=NO,URI="comments.m3u8"
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="words",LANGUAGE="pt-BR",URI="subtitles.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=300000,RESOLUTION=360x640,CODECS="avc1.4d400a,mp4a.40.2"
small.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=720x1280,CODECS="avc1.4d400a,mp4a.40.2",AUDIO="a"
large.m3u8
"""
_PATH = re.compile(r"/streams/(?P<kind>hls|dash|file|silent|sound)/(?P<name>[a-z0-9.-]{1,60})")
_NAMES = {
    "hls": "master.m3u8",
    "dash": "media.mpd",
    "file": "movie.mp4",
    "silent": "silent.mp4",
    "sound": "sound.mp4",
}
_TYPES = {
    "m3u8": "application/vnd.apple.mpegurl",
    "mpd": "application/dash+xml",
    "mp4": "video/mp4",
    "vtt": "text/vtt",
}


def stream_address(kind: str, host: str) -> str:
    """The URL of the manifest, or of the movie as one ``file``, ``silent`` or ``sound`` alone."""
    return f"https://{host}/streams/{kind}/{_NAMES[kind]}"


def answer_stream(request: Request) -> Reply | None:
    """The reply to a request for a manifest or segment, None for another one."""
    found = _PATH.fullmatch(request.path)
    if found is None:
        return None
    body = long_stream(found["name"]) or _files(found["kind"]).get(found["name"])
    if body is None:
        return text_reply(404, "no such segment")
    media_type = _TYPES.get(found["name"].rpartition(".")[2], "video/mp2t")
    return Reply(200, whole(body), (("Content-Type", media_type),), kind="media")


def dash_manifest() -> str:
    """The manifest of the DASH stream, as pages embed it."""
    return _files("dash")[_NAMES["dash"]].decode()


@cache
def _files(kind: str) -> Files:
    if kind == "dash":
        return dash(MOVIE)
    if kind in _MOVIES:
        return {_NAMES[kind]: marked(_MOVIES[kind])}
    parts = {
        "small": encrypted(hls(MOVIE, TS), explicit=False, rotate=True),
        "large": hls(SILENT, FMP4),
        "sound": hls(SOUND, FMP4),
    }
    made = {"master.m3u8": MASTER.encode(), **STREAM_FILES}
    for name, files in parts.items():
        named = dict(renamed(files, f"{name}-"))
        made[f"{name}.m3u8"] = named.pop("media.m3u8")
        made |= named
    return made
