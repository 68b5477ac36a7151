import io
import os
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.media import structure
from agents.media.protocol import MediaFacts, Unreadable
from agents.media.reading import read_facts
from agents.media.structure import SCANS_MAX, has_too_many_scans, is_truncated
from tests.unit.agents.media.files import (
    HEVC,
    PICTURE,
    SOUND,
    VIDEO,
    content,
    picture_in,
    progressive_jpeg,
    sound_in,
    video_in_matroska,
    write,
)

LONG_BOX = struct.pack(">I4sQ", 1, b"mdat", 116) + bytes(100)
OPEN_BOX = struct.pack(">I4s", 0, b"mdat") + bytes(100)
FTYP = struct.pack(">I4s8s", 16, b"ftyp", b"isom")
THUMBNAIL = b"\xff\xe1" + struct.pack(">H", 8) + b"\xff\xd8\xff\xd9xx"
JPEG = content(PICTURE)
WEBP = b"RIFF" + struct.pack("<I", 104) + b"WEBP" + bytes(100)
GIF = picture_in("gif", "rgb8").removesuffix(b";") + b";"

WHOLE: dict[str, bytes] = {
    "mp4": content(VIDEO),
    "mp4 of h265": content(HEVC),
    "m4a": content(SOUND),
    "long box": FTYP + LONG_BOX,
    "jpeg": JPEG,
    "progressive jpeg": progressive_jpeg(8),
    "jpeg with a thumbnail": JPEG[:2] + THUMBNAIL + JPEG[2:],
    "png": picture_in("png", "rgb24"),
    "gif": GIF,
    "wav": sound_in("wav", "pcm_s16le"),
    "webp": WEBP,
}


def truncated(folder: Path, body: bytes) -> bool:
    with write(folder, body).open("rb") as file:
        found = is_truncated(file)
        assert file.tell() == 0
    return found


@pytest.mark.parametrize("body", WHOLE.values(), ids=WHOLE.keys())
def test_complete_file_is_not_truncated(body: bytes, tmp_path: Path) -> None:
    assert not truncated(tmp_path, body)


@pytest.mark.parametrize("body", WHOLE.values(), ids=WHOLE.keys())
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.99])
def test_file_without_its_end_is_truncated(body: bytes, share: float, tmp_path: Path) -> None:
    assert truncated(tmp_path, body[: int(len(body) * share)])


@pytest.mark.parametrize("name", ["mp4", "m4a", "long box", "jpeg", "png", "webp", "wav"])
def test_file_without_its_last_byte_is_truncated(name: str, tmp_path: Path) -> None:
    assert truncated(tmp_path, WHOLE[name][:-1])


@pytest.mark.parametrize("name", ["jpeg", "png", "gif", "webp", "wav"])
def test_trailing_data_is_ignored(name: str, tmp_path: Path) -> None:
    assert not truncated(tmp_path, WHOLE[name] + b"appended by a camera" * 100)


OTHER: dict[str, bytes] = {
    "empty": b"",
    "matroska": video_in_matroska()[:5_000],
    "mp3": sound_in("mp3", "libmp3lame")[:5_000],
    "a page": b"<!DOCTYPE html>" * 10,
    "a box to the end": FTYP + OPEN_BOX,
    "padding behind a box": FTYP + bytes(5),
    "no box": FTYP + bytes(100),
    "a riff of unknown length": b"RIFF\xff\xff\xff\xffWAVE" + bytes(100),
    "a gif without its last byte": GIF[:-1],
}


@pytest.mark.parametrize("body", OTHER.values(), ids=OTHER.keys())
def test_format_without_a_declared_end_is_not_truncated(body: bytes, tmp_path: Path) -> None:
    assert not truncated(tmp_path, body)


def test_large_box_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, FTYP + struct.pack(">I4sQ", 1, b"mdat", 1 << 40))
    os.truncate(path, 1 << 34)
    with path.open("rb") as file:
        assert is_truncated(file)


@given(st.sampled_from([body[:9] for body in WHOLE.values()]), st.binary(max_size=200))
def test_any_file_is_judged_without_an_error(head: bytes, rest: bytes) -> None:
    with io.FileIO(os.memfd_create("file"), "w+") as file:
        file.write(head + rest)
        assert is_truncated(file) in {True, False}


BOMB_SIDE, BOMB_SCANS = 9_990, 3_000


@pytest.mark.parametrize(
    ("body", "too_many"),
    [
        (b"", False),
        (b"\xff", False),
        (content(PICTURE), False),
        (content(VIDEO), False),
        (progressive_jpeg(0), False),
        (progressive_jpeg(9), False),
        (progressive_jpeg(SCANS_MAX - 1), False),
        (progressive_jpeg(SCANS_MAX), True),
        (progressive_jpeg(3_000), True),
        (progressive_jpeg(9) + b"\xff\xda" * 1_000, False),
        (b"x" + progressive_jpeg(3_000), False),
    ],
    ids=[
        *("empty", "a byte", "a picture", "a video", "one scan", "ten", "the maximum"),
        *("one more", "thousands", "markers behind the end", "no JPEG"),
    ],
)
def test_picture_with_too_many_scans_is_detected(body: bytes, *, too_many: bool) -> None:
    file = io.BytesIO(body)
    assert has_too_many_scans(file) is too_many
    assert file.tell() == 0


@pytest.mark.parametrize("components", [1, 2, 3, 4])
def test_scans_of_any_number_of_components_are_counted(components: int) -> None:
    scan = bytes([0xFF, 0xDA, 0, 6 + 2 * components, components])
    assert has_too_many_scans(io.BytesIO(b"\xff\xd8" + scan * (SCANS_MAX + 1)))


@given(st.integers(1, 40))
@settings(deadline=None)
def test_scans_across_chunk_boundaries_are_counted(chunk_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(structure, "_CHUNK_BYTES", chunk_bytes)
        assert not has_too_many_scans(io.BytesIO(progressive_jpeg(SCANS_MAX - 1)))
        assert has_too_many_scans(io.BytesIO(progressive_jpeg(SCANS_MAX)))


def test_search_stops_at_the_byte_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    head = progressive_jpeg(0)
    monkeypatch.setattr(structure, "_CHUNK_BYTES", 1_000)
    monkeypatch.setattr(structure, "SEARCHED_BYTES_MAX", 10_000)
    assert not has_too_many_scans(io.BytesIO(head + bytes(20_000) + progressive_jpeg(SCANS_MAX)))


def test_picture_with_too_many_scans_is_not_decoded() -> None:
    started = time.process_time()
    found = read_facts(io.BytesIO(progressive_jpeg(BOMB_SCANS, BOMB_SIDE)))
    assert time.process_time() - started < 3
    assert found == Unreadable(reason="a picture in more than 100 scans")
    assert read_facts(io.BytesIO(progressive_jpeg(9))) == MediaFacts(
        container="jpeg", video_codec="jpeg", width=64, height=64
    )
