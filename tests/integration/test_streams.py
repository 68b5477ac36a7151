"""Streams through the download stage: complete, in sync, and of the right duration."""

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import pytest

from schemas.files import StoredFile
from schemas.video import MediaSource
from tests.integration.stream_site import (
    HOST,
    Answer,
    StreamSite,
    file_of,
    path_of,
    stream_harness,
    track,
)
from tests.standin.media_marks import Marked, beeps, flashes
from tests.standin.media_streams import (
    FMP4,
    SINGLE_FILE,
    TS,
    Files,
    dash,
    encrypted,
    followed_by,
    hls,
    playlist_of,
    renamed,
    segments_of,
    with_playlist,
)
from tests.standin.wire import Cut, Delivery, Reply, Request, text_reply, whole

SYNC_SECONDS = 0.04
DURATION_SECONDS = 0.2

MOVIE = Marked(group=30)
LATE = Marked(group=30, late=2)
H265 = Marked(group=30, video="h265", late=2)
PICTURE = Marked(group=30, audio="")
SOUND = Marked(video="")
VP9 = Marked(group=30, video="vp9", audio="opus")
TWICE = (0.4, 2.6, 5.6, 6.4, 8.6, 11.6)
TEN_SECONDS = ("output_ts_offset", "10")
WRAP = ("output_ts_offset", "95440")
"""So that the 33-bit timestamps of a transport stream wrap three seconds after the start."""


@dataclass(frozen=True)
class Case:
    """A stream that completes.

    Attributes:
        files: of the site.
        source: the picture, or all.
        sound: a source of its own.
        marks: the expected flashes and beeps.
        seconds: the expected duration.
        kinds: expected codecs.
        extension: of the stored file.
        answer: is asked before the files.
    """

    files: Files
    source: MediaSource
    sound: MediaSource | None = None
    marks: tuple[float, ...] = MOVIE.marks
    seconds: float = 6.0
    kinds: tuple[str | None, str | None] = ("h264", "aac")
    extension: str = "mp4"
    sound_only: bool = False
    answer: Answer = lambda _: None


def one(files: Files, **fields: Any) -> Case:
    return Case(files, track(), **fields)


def split(picture: Files, sound: Files, **fields: Any) -> Case:
    """Picture and sound of two playlists."""
    named = renamed(sound, "sound-")
    files = {**picture, **named, "media.m3u8": picture["media.m3u8"]}
    files["sound.m3u8"] = named["media.m3u8"]
    return Case(
        files,
        track(format_id="v", audio=None),
        track("sound.m3u8", format_id="a", video=None),
        **fields,
    )


def of_dash(files: Files, *, picture: str = "0", sound: str | None = "1", **fields: Any) -> Case:
    video, audio = fields.get("kinds", ("h264", "aac"))
    return Case(
        files,
        track("media.mpd", format_id="v", video=video, audio=None, representation=picture),
        None
        if sound is None
        else track("media.mpd", format_id="a", video=None, audio=audio, representation=sound),
        **fields,
    )


def edited(files: Files, *changes: tuple[str, str], name: str = "media.m3u8") -> dict[str, bytes]:
    text = files[name].decode()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return {**files, name: text.encode()}


def packed(files: Files, start: int) -> Files:
    """Return the audio of a stream as packed AAC with timestamps (RFC 8216, section 3.4)."""
    made: dict[str, bytes] = {}
    for name in segments_of(files):
        out = io.BytesIO()
        with (
            av.open(io.BytesIO(files[name]), "r") as source,
            av.open(out, "w", format="adts") as target,
        ):
            stream = source.streams.audio[0]
            copy = target.add_stream_from_template(stream)
            first = None
            for packet in source.demux(stream):
                if packet.dts is None:
                    continue
                first = packet.pts if first is None else first
                packet.stream = copy
                target.mux(packet)
        owner = b"com.apple.streaming.transportStreamTimestamp\0"
        frame = owner + struct.pack(">Q", ((first or 0) + start) % 2**33)
        tag = b"PRIV" + struct.pack(">I", len(frame)) + b"\0\0" + frame
        made[name] = b"ID3\4\0\0" + bytes([0, 0, 0, len(tag)]) + tag + out.getvalue()
    return with_playlist(made, playlist_of(files))


def fails_once(*names: str) -> Answer:
    """Break the first request of each name."""
    failed: set[str] = set()

    def answer(request: Request) -> Reply | None:
        name = request.path.removeprefix("/post/")
        if name not in names or name in failed:
            return None
        failed.add(name)
        if len(failed) % 2:
            return text_reply(503, "overloaded")
        return Reply(200, whole(bytes(9_000)), delivery=Delivery(cut=Cut(4_000, "reset")))

    return answer


def moved(request: Request) -> Reply | None:
    """Serve the playlist below another path, to which its own redirects."""
    if request.path == "/post/media.m3u8":
        return Reply(302, whole(b""), (("Location", f"https://{HOST}/other/media.m3u8"),))
    if request.path.startswith("/other/"):
        return StreamSite(dict(hls(MOVIE, TS)))(
            Request("GET", HOST, request.target.replace("/other/", "/post/"))
        )
    return text_reply(404, "moved")


AUDIO = ((1, 0), (2, 93_184), (3, 189_440), (4, 285_696))
"""Numbers and start times of the segments of sound."""


CASES: dict[str, Case] = {
    "TS": one(hls(MOVIE, TS)),
    "TS, B-frames": one(hls(LATE, TS)),
    "TS, H.265": one(hls(H265, TS), kinds=("h265", "aac")),
    "TS, byte ranges": one(hls(LATE, TS, SINGLE_FILE)),
    "TS, timestamps that wrap": one(hls(LATE, TS, WRAP)),
    "TS, AES-128 with vectors": one(encrypted(hls(LATE, TS), explicit=True, rotate=False)),
    "TS, AES-128 with sequence numbers": one(
        encrypted(hls(LATE, TS), explicit=False, rotate=False, first=7)
    ),
    "TS, AES-128 with rotating keys": one(encrypted(hls(LATE, TS), explicit=True, rotate=True)),
    "TS, rotating keys and sequence numbers": one(
        encrypted(hls(LATE, TS), explicit=False, rotate=True, first=2**40)
    ),
    "TS, discontinuity": one(followed_by(hls(LATE, TS), hls(LATE, TS)), marks=TWICE, seconds=12.0),
    "TS, discontinuity to later timestamps": one(
        followed_by(hls(LATE, TS), hls(LATE, TS, ("output_ts_offset", "5000"))),
        marks=TWICE,
        seconds=12.0,
    ),
    "TS, discontinuity, encrypted": one(
        encrypted(followed_by(hls(LATE, TS), hls(LATE, TS)), explicit=False, rotate=True),
        marks=TWICE,
        seconds=12.0,
    ),
    "TS, MP3": one(hls(Marked(group=30, audio="mp3"), TS), kinds=("h264", "mp3")),
    "fMP4": one(hls(MOVIE, FMP4)),
    "fMP4, B-frames": one(hls(LATE, FMP4)),
    "fMP4, H.265": one(hls(H265, FMP4), kinds=("h265", "aac")),
    "fMP4, byte ranges": one(hls(LATE, FMP4, SINGLE_FILE)),
    "fMP4, AES-128": one(encrypted(hls(LATE, FMP4), explicit=True, rotate=True)),
    "fMP4, discontinuity": one(
        followed_by(hls(LATE, FMP4), hls(LATE, FMP4)), marks=TWICE, seconds=12.0
    ),
    "silent TS": Case(hls(PICTURE, TS), track(audio=None), kinds=("h264", None)),
    "sound of a TS alone": Case(
        hls(LATE, TS), track(), kinds=(None, "aac"), extension="m4a", sound_only=True
    ),
    "sound in TS": Case(hls(SOUND, TS), track(video=None), kinds=(None, "aac"), extension="m4a"),
    "packed audio": Case(
        packed(hls(SOUND, TS), 0), track(video=None), kinds=(None, "aac"), extension="m4a"
    ),
    "split TS": split(hls(PICTURE, TS), hls(SOUND, TS)),
    "split fMP4": split(hls(PICTURE, FMP4), hls(SOUND, FMP4)),
    "split, TS and fMP4 from ten seconds on": split(
        hls(PICTURE, TS, TEN_SECONDS), hls(SOUND, FMP4, TEN_SECONDS)
    ),
    "split, TS and packed audio": split(hls(PICTURE, TS), packed(hls(SOUND, TS), 0)),
    "split, the sound starts later": split(
        hls(PICTURE, TS), hls(Marked(video="", sound_at=1.0), TS), marks=MOVIE.marks
    ),
    "split, encrypted": split(
        encrypted(hls(PICTURE, TS), explicit=False, rotate=True),
        hls(SOUND, TS),
    ),
    "split, discontinuities": split(
        followed_by(hls(PICTURE, TS), hls(PICTURE, TS)),
        followed_by(hls(SOUND, TS), hls(SOUND, TS)),
        marks=TWICE,
        seconds=12.0,
    ),
    "Windows lines, a byte order mark and comments": one(
        with_playlist(
            hls(MOVIE, TS),
            "\ufeff" + playlist_of(hls(MOVIE, TS)).replace("\n", "\r\n# note\r\n\r\n"),
        )
    ),
    "addresses with parameters": one(
        edited(hls(MOVIE, TS), ("media1.ts", f"https://{HOST}:443/post/media1.ts?sig=a%2Fb&x=1"))
    ),
    "a playlist that moved": one({}, answer=moved),
    "segments that fail once": one(
        hls(LATE, TS), answer=fails_once("media.m3u8", "media0.ts", "media2.ts")
    ),
    "a key and an initialization that fail once": one(
        encrypted(hls(LATE, FMP4), explicit=True, rotate=True),
        answer=fails_once("0.key", "init.mp4"),
    ),
    "DASH, timeline": of_dash(dash(LATE)),
    "DASH, numbers": of_dash(dash(LATE, ("use_timeline", "0"))),
    "DASH, times": of_dash(
        edited(
            dash(LATE),
            ("chunk-stream$RepresentationID$-$Number%05d$.m4s", "$RepresentationID$-$Time$.m4s"),
            name="media.mpd",
        )
        | {f"0-{30_720 * at}.m4s": dash(LATE)[f"chunk-stream0-0000{at + 1}.m4s"] for at in range(3)}
        | {f"1-{at}.m4s": dash(LATE)[f"chunk-stream1-0000{number}.m4s"] for number, at in AUDIO}
    ),
    "DASH, list": of_dash(dash(LATE, ("use_template", "0"))),
    "DASH, byte ranges": of_dash(dash(LATE, ("single_file", "1"))),
    "DASH, WebM": of_dash(
        dash(VP9, ("dash_segment_type", "webm")), kinds=("vp9", "opus"), extension="webm"
    ),
    "DASH, silent": of_dash(dash(PICTURE), sound=None, kinds=("h264", None)),
    "DASH, base address": of_dash(
        edited(
            {f"a/{name}": body for name, body in dash(LATE).items()}
            | {"media.mpd": dash(LATE)["media.mpd"]},
            ("<Period ", f"<BaseURL>https://{HOST}/</BaseURL><BaseURL>x</BaseURL><Period "),
            ("<AdaptationSet ", "<BaseURL>post/</BaseURL><AdaptationSet "),
            ("<SegmentTemplate ", "<BaseURL>./a/b/../</BaseURL><SegmentTemplate "),
            name="media.mpd",
        )
    ),
    "DASH and HLS sound": Case(
        {**dash(PICTURE), **hls(SOUND, TS)},
        track("media.mpd", format_id="v", audio=None, representation="dash-0"),
        track(format_id="a", video=None),
    ),
}


@pytest.fixture
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_stream_becomes_a_file_that_plays(
    case: Case, state_dir: Path, tmp_path: Path
) -> None:
    async with stream_harness(tmp_path, state_dir, case.files, case.answer) as harness:
        harness.seconds = case.seconds
        source = file_of(case.source, case.sound, sound_only=case.sound_only)
        file = await harness.run(source)
        assert isinstance(file, StoredFile), file
        assert harness.unfinished() == []
    check(path_of(file), file, case)


def check(path: Path, file: StoredFile, case: Case) -> None:
    """Decode the file to its end: duration, sync and codecs."""
    video, audio = case.kinds
    assert path.suffix == f".{case.extension}"
    assert file.duration_seconds == pytest.approx(case.seconds, abs=DURATION_SECONDS)
    assert (file.codec, file.audio_codec) == (video or audio, audio)
    heard = beeps(path) if audio else []
    if video:
        shown = flashes(path)
        assert shown == pytest.approx(case.marks, abs=SYNC_SECONDS)
        assert not audio or heard == pytest.approx(shown[-len(heard) :], abs=SYNC_SECONDS)
    else:
        assert heard == pytest.approx(case.marks, abs=SYNC_SECONDS)
