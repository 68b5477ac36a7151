import hashlib
import io

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.standin import expected_images, expected_media, video_id
from tests.standin.ids import case_of_id
from tests.standin.media import Content
from tests.standin.media_layout import CHUNK_BYTES
from tests.standin.media_shapes import SOUND, Shape, damaged, shape_of
from tests.standin.posts import RENDITIONS, media_bytes, post_for

pytestmark = pytest.mark.untraced

VIDEO = Shape("video", "h264", 720, 1280)
PICTURE = Shape("picture", width=540, height=720)
PAGE = Shape("page")
SHAPES = st.sampled_from([VIDEO, PICTURE, SOUND, PAGE])
SIZES = st.integers(0, 3 * CHUNK_BYTES)


def content_of(size: int, shape: Shape = VIDEO) -> Content:
    return Content("7", "play", size, shape)


def read_range(content: Content, start: int, length: int) -> bytes:
    return b"".join(content.chunks(start, length))


def read_all(content: Content) -> bytes:
    return read_range(content, 0, content.size)


def media_of(video: str, format_id: str) -> Content:
    post = post_for(video, case=case_of_id(video))
    return Content(video, format_id, media_bytes(post, format_id) or 0, shape_of(post, format_id))


@given(size=SIZES, shape=SHAPES, data=st.data())
def test_any_range_is_a_slice_of_the_whole(size: int, shape: Shape, data: st.DataObject) -> None:
    content = content_of(size, shape)
    start = data.draw(st.integers(0, size))
    length = data.draw(st.integers(0, size - start))
    full = read_all(content)

    assert len(full) == size
    assert read_range(content, start, length) == full[start : start + length]


@given(size=SIZES, shape=SHAPES)
def test_chunk_size_is_bounded(size: int, shape: Shape) -> None:
    assert all(0 < len(c) <= CHUNK_BYTES for c in content_of(size, shape).chunks(0, size))


@given(size=st.integers(20_000, 300_000))
def test_pictures_of_any_size_can_be_decoded(size: int) -> None:
    with av.open(io.BytesIO(read_all(content_of(size, PICTURE))), "r") as container:
        (picture,) = container.decode(video=0)

    assert (picture.width, picture.height) == (540, 720)


@given(size=st.integers(20_000, 300_000), shape=st.sampled_from([VIDEO, SOUND]))
def test_media_of_any_size_can_be_read(size: int, shape: Shape) -> None:
    with av.open(io.BytesIO(read_all(content_of(size, shape))), "r") as container:
        assert container.duration == 10_000_000


@pytest.mark.parametrize("rendition", RENDITIONS, ids=lambda each: each.format_id)
@pytest.mark.parametrize("scenario", ["ok", "landscape"])
def test_video_matches_its_page(scenario: str, rendition: object) -> None:
    video = video_id(scenario)
    post = post_for(video, case=case_of_id(video))
    format_id = rendition.format_id  # type: ignore[attr-defined]
    shape = shape_of(post, format_id)
    with av.open(io.BytesIO(read_all(media_of(video, format_id))), "r") as container:
        (picture,) = container.streams.video
        (sound,) = container.streams.audio
        assert (picture.width, picture.height) == (shape.width, shape.height)
        assert (picture.width > picture.height) == (scenario == "landscape")
        assert picture.codec.canonical_name == {"h265": "hevc"}.get(shape.codec, "h264")
        assert sound.codec.canonical_name == "aac"
        assert len(list(container.decode(video=0))) == 2


def test_silent_videos_have_no_audio() -> None:
    content = media_of(video_id("silent"), "bytevc1_720p_400000")
    with av.open(io.BytesIO(read_all(content)), "r") as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize("format_id", ["image_1", "cover"])
def test_pictures_have_their_size(format_id: str) -> None:
    content = media_of(video_id("photo") if format_id != "cover" else video_id(), format_id)
    with av.open(io.BytesIO(read_all(content)), "r") as container:
        (picture,) = container.streams.video
        assert (picture.width, picture.height) == (content.shape.width, content.shape.height)


@pytest.mark.parametrize(
    ("shape", "start", "media_type"),
    [
        (VIDEO, b"\x00\x00\x00\x20ftypisom", "video/mp4"),
        (SOUND, b"\x00\x00\x00\x1cftypM4A ", "audio/mp4"),
        (PICTURE, b"\xff\xd8\xff", "image/jpeg"),
        (PAGE, b"<!DOCTYPE html>", "video/mp4"),
    ],
)
def test_file_starts_with_the_signature_of_its_type(
    shape: Shape, start: bytes, media_type: str
) -> None:
    content = content_of(1_000, shape)

    assert read_all(content).startswith(start)
    assert content.media_type == media_type


def test_index_precedes_the_media_data() -> None:
    head = read_range(content_of(100_000), 0, 10_000)

    assert 0 < head.index(b"moov") < head.index(b"mdat") < head.rindex(b"free")


@pytest.mark.parametrize(
    ("scenario", "found"),
    [
        ("ok", VIDEO),
        ("media.html", PAGE),
        ("media.short", Shape("video", "h264", 720, 1280, seconds=5)),
        ("media.soundonly", SOUND),
    ],
)
def test_damage_scenario_changes_the_shape(scenario: str, found: Shape) -> None:
    assert damaged(VIDEO, case_of_id(video_id(scenario))) == found


def test_shortened_video_has_its_duration() -> None:
    shape = Shape("video", "h264", 720, 1280, seconds=5)
    with av.open(io.BytesIO(read_all(content_of(20_000, shape))), "r") as container:
        assert container.duration == 5_000_000


def test_videos_formats_and_versions_differ() -> None:
    size = 50_000
    files = [
        Content("7", "play", size, VIDEO),
        Content("8", "play", size, VIDEO),
        Content("7", "download", size, VIDEO),
        Content("7", "play", size, VIDEO, version=2),
    ]

    assert len({read_all(file) for file in files}) == 4
    assert len({file.etag for file in files}) == 4


def test_expected_digest_is_that_of_the_bytes() -> None:
    video = video_id()
    wanted = expected_media(video, "h264_540p_480000-1")
    content = media_of(video, "h264_540p_480000")

    assert wanted.size == content.size
    assert wanted.sha256 == hashlib.sha256(read_all(content)).hexdigest()
    assert 600_000 <= wanted.size < 604_096


@pytest.mark.parametrize(
    ("video", "size"),
    [
        pytest.param(video_id("size", param=3), 3 << 20, id="MiB"),
        pytest.param(video_id("kilobytes", param=5), 5 << 10, id="KiB"),
    ],
)
def test_size_encoded_in_the_id_is_used(video: str, size: int) -> None:
    assert expected_media(video, "play").size == size


def test_size_of_a_switched_scenario_is_used() -> None:
    assert expected_media("1", "play", scenario="kilobytes", param=9).size == 9 << 10


def test_photo_post_has_its_images_and_music() -> None:
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
def test_missing_media_is_an_error(scenario: str, missing: str) -> None:
    with pytest.raises(ValueError, match="has no media"):
        expected_media(video_id(scenario), missing)
