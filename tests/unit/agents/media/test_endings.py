import io
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.media.endings import is_truncated
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
