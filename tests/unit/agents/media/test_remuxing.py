"""Audio extraction and muxing: in sync, packets unchanged, complete."""

import asyncio
import io
import os
import struct
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

import av
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.media import reading
from agents.media.copying import SLACK_BYTES
from agents.media.file_objects import BoundedTarget, TooLargeError
from agents.media.prober import MEMORY_BYTES
from agents.media.protocol import (
    FILES_MAX,
    MUXERS,
    MediaFacts,
    NotWritten,
    Remuxed,
    Unreadable,
    Unsupported,
)
from agents.media.reading import read_facts
from agents.media.remuxer import MediaRemuxer, open_remuxer
from agents.media.remuxing import extract_audio, mux
from schemas.errors import ClipmillError, ErrorCode
from tests.standin.media_marks import Marked, beeps, flashes, marked
from tests.unit.agents.media.files import PAGE, PICTURE, SILENT, VIDEO, content, write

SYNC_SECONDS = 0.04
NO_EDIT_LIST = (("use_editlist", "0"),)
FRAGMENTS = (("movflags", "frag_keyframe+empty_moov+delay_moov"),)

body = cache(marked)

MOVIES = {
    "mp4": Marked(),
    "B-frames": Marked(late=2),
    "another rate": Marked(samples=44_100),
    "long frames": Marked(samples=8_000),
    "no edit list": Marked(late=2, flags=NO_EDIT_LIST),
    "fragments": Marked(late=2, flags=FRAGMENTS),
    "audio that starts later": Marked(sound_at=1.0),
    "mp3": Marked(audio="mp3"),
    "opus": Marked(audio="opus"),
    "opus in Matroska": Marked(audio="opus", form="matroska", late=2),
    "flac in Matroska": Marked(audio="flac", form="matroska"),
    "transport stream": Marked(form="mpegts", late=2),
}
PICTURES = {
    "h264": Marked(audio=""),
    "B-frames": Marked(audio="", late=2),
    "h265, 60 fps": Marked(video="h265", audio="", late=2, rate=60),
    "no edit list": Marked(audio="", late=2, flags=NO_EDIT_LIST),
    "fragments": Marked(audio="", late=2, flags=FRAGMENTS),
    "25 fps": Marked(audio="", rate=25),
    "one more frame": Marked(audio="", seconds=6.04),
    "with audio of its own": Marked(samples=8_000, marks=(0.4, 2.6, 5.6)),
}
SOUNDS = {
    **{name: MOVIES[name] for name in MOVIES if name != "flac in Matroska"},
    "audio only": Marked(video=""),
    "audio only that starts later": Marked(video="", sound_at=1.0),
    "a little longer": Marked(seconds=6.2),
}


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        stream = container.streams.get({kind: 0})[0]
        return [bytes(each) for each in container.demux(stream) if each.size]


def boxes(path: Path) -> list[bytes]:
    """Return the names of the boxes of an MP4 file, in order."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        found.append(name)
        at += size if size > 1 else struct.unpack_from(">Q", data, at + 8)[0]
    return found


def files(folder: Path, *bodies: bytes) -> list[Path]:
    return [write(folder, each, f"in-{index}") for index, each in enumerate(bodies)]


@pytest.fixture
async def remuxer() -> AsyncIterator[MediaRemuxer]:
    async with open_remuxer() as opened:
        yield opened


async def test_audio_of_all_kinds_is_extracted_unchanged(
    remuxer: MediaRemuxer, tmp_path: Path
) -> None:
    for name, movie in MOVIES.items():
        (source,), target = files(tmp_path, body(movie)), tmp_path / "out"
        extension = await remuxer.extract_audio(source, target)
        assert extension == MUXERS[movie.audio].extension, name
        # Timestamps of a transport stream start anywhere, those of the extracted audio at 0.
        wanted = movie.marks if movie.form == "mpegts" else beeps(source)
        assert beeps(target) == pytest.approx(wanted, abs=SYNC_SECONDS), name
        found = read_facts(io.BytesIO(target.read_bytes()))
        assert isinstance(found, MediaFacts), name
        assert (found.audio_codec, found.video_codec) == (movie.audio, None), name
        if movie.form == "mpegts":
            continue  # its packets carry a header that other containers do not have
        assert packets(target, "audio") == packets(source, "audio"), name
        if extension == "m4a":
            assert boxes(target).index(b"moov") < boxes(target).index(b"mdat"), name


async def mux_and_check(
    remuxer: MediaRemuxer, folder: Path, picture: Marked, sound: Marked, name: str
) -> None:
    """Mux, then check sync, packets, boxes and facts of the result."""
    video_path, audio_path = files(folder, body(picture), body(sound))
    target = folder / "out"
    assert await remuxer.mux(video_path, audio_path, target) == "mp4", name
    shown, heard = flashes(target), beeps(target)
    assert len(shown) == 3, name
    # Audio that starts after the first mark lacks its beep.
    assert heard == pytest.approx(shown[-len(heard) :], abs=SYNC_SECONDS), name
    assert len(heard) == sum(mark > sound.sound_at for mark in sound.marks), name
    if sound.form != "mpegts":
        assert packets(target, "audio") == packets(audio_path, "audio"), name
    assert packets(target, "video") == packets(video_path, "video"), name
    assert boxes(target).index(b"moov") < boxes(target).index(b"mdat"), name
    found = read_facts(io.BytesIO(target.read_bytes()))
    assert isinstance(found, MediaFacts), name
    assert (found.video_codec, found.audio_codec) == (picture.video, sound.audio), name
    assert found.picture_seconds == pytest.approx(picture.seconds, abs=SYNC_SECONDS), name


async def test_every_video_is_muxed_in_sync_with_its_audio(
    remuxer: MediaRemuxer, tmp_path: Path
) -> None:
    for name, picture in PICTURES.items():
        await mux_and_check(remuxer, tmp_path, picture, MOVIES["mp4"], name)


async def test_every_audio_is_muxed_in_sync_with_its_video(
    remuxer: MediaRemuxer, tmp_path: Path
) -> None:
    for name, sound in SOUNDS.items():
        await mux_and_check(remuxer, tmp_path, PICTURES["B-frames"], sound, name)


async def test_hvc1_tag_is_kept(remuxer: MediaRemuxer, tmp_path: Path) -> None:
    video_path, audio_path = files(tmp_path, body(PICTURES["h265, 60 fps"]), body(MOVIES["mp4"]))
    await remuxer.mux(video_path, audio_path, tmp_path / "out")
    with av.open(str(tmp_path / "out")) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


async def test_output_is_deterministic(remuxer: MediaRemuxer, tmp_path: Path) -> None:
    video_path, audio_path = files(tmp_path, body(PICTURES["h264"]), body(MOVIES["opus"]))
    first, second = tmp_path / "a", tmp_path / "b"
    for target in (first, second):
        await remuxer.mux(video_path, audio_path, target)
    assert first.read_bytes() == second.read_bytes()
    for target in (first, second):
        await remuxer.extract_audio(audio_path, target)
    assert first.read_bytes() == second.read_bytes()


def muxed(picture: Marked, sound: Marked) -> bytes:
    target = io.BytesIO()
    answer = mux(io.BytesIO(body(picture)), io.BytesIO(body(sound)), target)
    assert answer == Remuxed(extension="mp4")
    return target.getvalue()


@pytest.mark.parametrize(
    "picture",
    [
        *PICTURES.values(),
        Marked(form="mpegts", late=2),
        Marked(video="h265", form="mpegts", late=2),
        Marked(form="matroska", late=2),
    ],
    ids=str,
)
def test_output_is_the_same_as_after_decoding(
    monkeypatch: pytest.MonkeyPatch, picture: Marked
) -> None:
    undecoded = muxed(picture, MOVIES["transport stream"])
    monkeypatch.setattr(reading, "_other_decoders", lambda: ",".join(av.codecs_available))
    assert muxed(picture, MOVIES["transport stream"]) == undecoded


FLAWS = {
    "no audio in the movie": (content(VIDEO), content(SILENT), "no sound"),
    "no video in the movie": (body(Marked(video="")), content(VIDEO), "no picture"),
    "another length": (body(PICTURES["h264"]), content(VIDEO), "plays for 6.0 s, that beside"),
    "a page": (content(SILENT), PAGE, "Invalid data"),
    "a picture": (content(SILENT), content(PICTURE), "no sound"),
    "nothing": (content(SILENT), b"", "End of file|Invalid data"),
    "truncated": (content(SILENT), content(VIDEO)[:3000], "Invalid data|is truncated|End of file"),
}


@pytest.mark.parametrize(("picture", "sound", "reason"), FLAWS.values(), ids=FLAWS.keys())
async def test_mismatched_inputs_are_damaged(
    picture: bytes, sound: bytes, reason: str, remuxer: MediaRemuxer, tmp_path: Path
) -> None:
    video_path, audio_path = files(tmp_path, picture, sound)
    with pytest.raises(ClipmillError, match=reason) as caught:
        await remuxer.mux(video_path, audio_path, tmp_path / "out")
    assert caught.value.code is ErrorCode.CONTENT_DAMAGED


async def test_audio_without_a_muxer_is_unsupported(remuxer: MediaRemuxer, tmp_path: Path) -> None:
    (source,) = files(tmp_path, body(Marked(audio="pcm_s16le", form="mov")))
    with pytest.raises(ClipmillError, match="pcm_s16le") as caught:
        await remuxer.extract_audio(source, tmp_path / "out")
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED


async def test_full_disk_is_a_disk_error(remuxer: MediaRemuxer, tmp_path: Path) -> None:
    (source,) = files(tmp_path, body(MOVIES["mp4"]))
    with pytest.raises(ClipmillError) as caught:
        await remuxer.extract_audio(source, Path("/dev/full"))
    assert caught.value.code is ErrorCode.SYSTEM_DISK_FULL
    assert await remuxer.extract_audio(source, tmp_path / "out") == "m4a"


async def test_target_that_cannot_be_created_is_a_storage_error(
    remuxer: MediaRemuxer, tmp_path: Path
) -> None:
    (source,) = files(tmp_path, body(MOVIES["mp4"]))
    with pytest.raises(ClipmillError) as caught:
        await remuxer.extract_audio(source, tmp_path / "gone" / "out")
    assert caught.value.code is ErrorCode.SYSTEM_STORAGE


async def test_process_that_cannot_start_is_an_engine_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "gone"))
    (source,) = files(tmp_path, body(MOVIES["mp4"]))
    async with open_remuxer() as remuxer:
        with pytest.raises(ClipmillError) as caught:
            await remuxer.extract_audio(source, tmp_path / "out")
    assert caught.value.code is ErrorCode.SYSTEM_ENGINE_CRASH


async def test_crashed_process_is_replaced(remuxer: MediaRemuxer, tmp_path: Path) -> None:
    (source,) = files(tmp_path, body(MOVIES["mp4"]))
    await remuxer.extract_audio(source, tmp_path / "out")
    pid = remuxer.pid
    assert pid is not None
    os.kill(pid, 9)
    await remuxer.extract_audio(source, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "out").read_bytes()
    assert remuxer.pid != pid


async def test_process_can_open_only_the_files_of_its_task(
    remuxer: MediaRemuxer, tmp_path: Path
) -> None:
    (source,) = files(tmp_path, body(MOVIES["mp4"]))
    await remuxer.extract_audio(source, tmp_path / "out")
    assert remuxer.pid is not None
    process = psutil.Process(remuxer.pid)
    soft, hard = process.rlimit(psutil.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir(f"/proc/{remuxer.pid}/fd")}  # noqa: PTH208
    assert (soft, len(set(range(soft)) - used)) == (hard, FILES_MAX)
    assert process.rlimit(psutil.RLIMIT_DATA)[1] == MEMORY_BYTES
    status = await asyncio.to_thread(Path(f"/proc/{remuxer.pid}/status").read_text)
    assert "Seccomp:\t2" in status


MOVIE, PICTURE_ALONE = (
    body(Marked(late=2, seconds=1, marks=())),
    body(Marked(audio="", late=2, seconds=1, marks=())),
)
CHANGES = st.lists(
    st.tuples(st.integers(0, len(MOVIE) - 1), st.integers(0, 255)), min_size=1, max_size=8
)
SLOW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(CHANGES, st.integers(0, len(MOVIE)))
def test_corrupt_input_gives_bounded_output_or_a_failure(
    changes: list[tuple[int, int]], end: int
) -> None:
    changed = bytearray(MOVIE)
    for at, value in changes:
        changed[at] = value
    for source in (bytes(changed), MOVIE[:end]):
        for target, answer in (
            (single := io.BytesIO(), extract_audio(io.BytesIO(source), single)),
            (double := io.BytesIO(), mux(io.BytesIO(PICTURE_ALONE), io.BytesIO(source), double)),
        ):
            assert isinstance(answer, Remuxed | Unreadable | Unsupported)
            size = len(source) + len(PICTURE_ALONE)
            assert len(target.getvalue()) <= 2 * size + SLACK_BYTES


def test_write_beyond_the_limit_is_refused() -> None:
    file = io.BytesIO()
    target = BoundedTarget(file, 10)
    assert target.write(b"12345") == 5
    target.seek(8)
    with pytest.raises(TooLargeError, match="10 bytes"):
        target.write(b"123")
    assert len(file.getvalue()) == 5


def test_reopened_file_has_its_own_position() -> None:
    target = BoundedTarget(io.BytesIO(), 100)
    target.write(b"0123456789")
    again = target.reopened()
    assert again.read(4) == b"0123"
    target.write(b"ab")
    assert (again.read(4), again.tell(), target.tell()) == (b"4567", 8, 12)
    assert (again.seek(-2, io.SEEK_END), again.read()) == (10, b"ab")
    assert again.seek(-1, io.SEEK_CUR) == 11


def test_disk_error_is_reported_by_errno() -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

    answer = extract_audio(io.BytesIO(MOVIE), Full())
    assert answer == NotWritten(number=28)


# Tags

TAGS = {
    "title": "a clip \U0001f600",
    "artist": "User",
    "date": "2026-11-30",
    "comment": "https://www.tiktok.com/@user/video/7",
}
TAGGED_MOVIES = {
    "mp4": Marked(),
    "B-frames": Marked(late=2),
    "no edit list": Marked(late=2, flags=NO_EDIT_LIST),
    "fragments": Marked(late=2, flags=FRAGMENTS),
    "h265": Marked(video="h265", late=2, rate=60),
    "audio that starts later": Marked(sound_at=1.0),
    "without sound": Marked(audio=""),
}


def tags_in(path: Path) -> dict[str, str]:
    with av.open(str(path)) as container:
        return {name: text for name, text in container.metadata.items() if name in TAGS}


@pytest.mark.parametrize("name", TAGGED_MOVIES)
async def test_video_gets_its_tags_and_stays_unchanged(
    name: str, remuxer: MediaRemuxer, tmp_path: Path
) -> None:
    source, target = write(tmp_path, body(TAGGED_MOVIES[name])), tmp_path / "out"
    assert await remuxer.tag(source, target, TAGS) == "mp4"
    assert tags_in(target) == TAGS
    assert packets(target, "video") == packets(source, "video")
    assert flashes(target) == pytest.approx(flashes(source), abs=SYNC_SECONDS)
    if TAGGED_MOVIES[name].audio:
        assert packets(target, "audio") == packets(source, "audio")
        assert beeps(target) == pytest.approx(beeps(source), abs=SYNC_SECONDS)
    assert boxes(target).index(b"moov") < boxes(target).index(b"mdat")


async def test_longest_tags_fit_into_the_task(remuxer: MediaRemuxer, tmp_path: Path) -> None:
    source, target = write(tmp_path, body(Marked())), tmp_path / "out"
    longest = dict.fromkeys(TAGS, "\U0001f600" * 1_024)
    assert await remuxer.tag(source, target, longest) == "mp4"
    assert tags_in(target) == longest


async def test_file_that_is_no_media_is_refused(remuxer: MediaRemuxer, tmp_path: Path) -> None:
    with pytest.raises(ClipmillError) as caught:
        await remuxer.tag(write(tmp_path, b"no media" * 100), tmp_path / "out", TAGS)
    assert caught.value.code is ErrorCode.CONTENT_DAMAGED
