import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.standin import expected_images, expected_media, video_id
from tests.standin.media import CHUNK_BYTES, Content

SIZES = st.integers(0, 3 * CHUNK_BYTES)


def joined(content: Content, start: int, length: int) -> bytes:
    return b"".join(content.chunks(start, length))


@given(size=SIZES, data=st.data())
def test_any_range_is_a_slice_of_the_whole(size: int, data: st.DataObject) -> None:
    content = Content("7", "play", size)
    start = data.draw(st.integers(0, size))
    length = data.draw(st.integers(0, size - start))
    everything = joined(content, 0, size)

    assert len(everything) == size
    assert joined(content, start, length) == everything[start : start + length]


@given(size=SIZES)
def test_chunks_stay_small(size: int) -> None:
    assert all(len(c) <= CHUNK_BYTES for c in Content("7", "play", size).chunks(0, size))


@pytest.mark.parametrize(
    ("format_id", "start", "media_type"),
    [
        ("h264_720p_800000", b"\x00\x00\x00\x20ftypisom", "video/mp4"),
        ("audio", b"\x00\x00\x00\x20ftypM4A ", "audio/mp4"),
        ("image_1", b"\xff\xd8\xff\xe0", "image/jpeg"),
        ("cover", b"\xff\xd8\xff\xe0", "image/jpeg"),
    ],
)
def test_files_begin_like_their_kind(format_id: str, start: bytes, media_type: str) -> None:
    content = Content("7", format_id, 1000)

    assert joined(content, 0, 1000).startswith(start)
    assert content.media_type == media_type


def test_videos_formats_and_versions_differ() -> None:
    files = [
        Content("7", "play", 5000),
        Content("8", "play", 5000),
        Content("7", "download", 5000),
        Content("7", "play", 5000, version=2),
    ]

    assert len({joined(file, 0, 5000) for file in files}) == 4
    assert len({file.etag for file in files}) == 4


def test_the_expected_sum_is_that_of_the_bytes() -> None:
    video = video_id()
    wanted = expected_media(video, "h264_540p_480000-1")
    content = Content(video, "h264_540p_480000", wanted.size)

    assert wanted.sha256 == hashlib.sha256(joined(content, 0, wanted.size)).hexdigest()
    assert 600_000 <= wanted.size < 604_096


@pytest.mark.parametrize(
    ("video", "size"),
    [
        pytest.param(video_id("size", param=3), 3 << 20, id="MiB"),
        pytest.param(video_id("kilobytes", param=5), 5 << 10, id="KiB"),
    ],
)
def test_sizes_in_the_id(video: str, size: int) -> None:
    assert expected_media(video, "play").size == size


def test_sizes_of_a_switched_scenario() -> None:
    assert expected_media("1", "play", scenario="kilobytes", param=9).size == 9 << 10


def test_a_photo_post_has_its_images_and_music() -> None:
    video = video_id("photo", param=4)

    assert len({image.sha256 for image in expected_images(video)}) == 4
    assert expected_media(video, "audio").media_type == "audio/mp4"
    with pytest.raises(ValueError, match="no media 'play'"):
        expected_media(video, "play")


@pytest.mark.parametrize(
    ("scenario", "missing"),
    [
        ("watermarked", "play"),
        ("noformats", "audio"),
        ("silent", "h264_540p_480000"),
        ("unplayable", "bytevc1_720p_400000"),
        ("ok", "image_1"),
    ],
)
def test_what_a_post_has_not(scenario: str, missing: str) -> None:
    with pytest.raises(ValueError, match="has no media"):
        expected_media(video_id(scenario), missing)
