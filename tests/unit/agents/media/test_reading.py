import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.media.checking import find_mismatch
from agents.media.protocol import MediaFacts, Unreadable
from agents.media.reading import open_input, read_facts
from schemas.video import VideoFormat
from tests.standin.media_encoding import encoded
from tests.standin.media_marks import Marked, marked
from tests.standin.media_shapes import Shape
from tests.unit.agents.media.files import (
    CONCAT,
    HEVC,
    PAGE,
    PICTURE,
    PLAYLIST,
    SILENT,
    SOUND,
    VIDEO,
    content,
    huge_picture,
    mp4_of_lengths,
)


@pytest.mark.parametrize("form", ["mp4", "mpegts"])
@pytest.mark.parametrize("video", ["h264", "h265"])
def test_no_picture_is_decoded_to_open_a_file(video: str, form: str) -> None:
    file = io.BytesIO(marked(Marked(video=video, form=form, late=2)))
    with open_input(file) as container:
        context = container.streams.video[0].codec_context
        assert context.width > 0
        assert context.pix_fmt is None  # only the decoder knows it


PROMISED = VideoFormat(format_id="x", container="mp4", video_codec="h264", audio_codec="aac")


def read(body: bytes) -> object:
    return read_facts(io.BytesIO(body))


@pytest.mark.parametrize(
    ("shape", "facts"),
    [
        (
            VIDEO,
            MediaFacts(
                container="mov",
                brand="isom",
                duration_seconds=10.0,
                picture_seconds=10.0,
                end_seconds=10.0,
                video_codec="h264",
                audio_codec="aac",
                width=720,
                height=1280,
                sample_rate=8_000,
            ),
        ),
        (
            HEVC,
            MediaFacts(
                container="mov",
                brand="isom",
                duration_seconds=10.0,
                picture_seconds=10.0,
                end_seconds=10.0,
                video_codec="h265",
                audio_codec="aac",
                width=1080,
                height=1920,
                sample_rate=8_000,
            ),
        ),
        (
            SILENT,
            MediaFacts(
                container="mov",
                brand="isom",
                duration_seconds=10.0,
                picture_seconds=10.0,
                end_seconds=10.0,
                video_codec="h264",
                width=720,
                height=1280,
            ),
        ),
        (
            SOUND,
            MediaFacts(
                container="mov",
                brand="M4A ",
                duration_seconds=10.0,
                end_seconds=10.0,
                audio_codec="aac",
                sample_rate=8_000,
            ),
        ),
        (PICTURE, MediaFacts(container="jpeg", video_codec="jpeg", width=1080, height=1440)),
    ],
    ids=["h264", "h265", "silent", "sound", "picture"],
)
def test_facts_of_a_file_are_read(shape: Shape, facts: MediaFacts) -> None:
    assert read(content(shape)) == facts


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        PAGE,
        bytes(100_000),
        PLAYLIST,
        CONCAT,
        content(VIDEO)[:1_000],
        content(PICTURE)[:60_000],
        huge_picture(60_000),
    ],
    ids=["empty", "byte", "page", "zeros", "playlist", "concat", "no index", "cut", "huge"],
)
def test_other_content_is_unreadable(body: bytes) -> None:
    found = read(body)
    assert isinstance(found, Unreadable)
    assert found.reason


@pytest.mark.parametrize(("picture", "sound"), [(8, 9.5), (10, 12), (2, 6), (6, 2)])
def test_audio_and_video_may_differ_in_length(picture: float, sound: float) -> None:
    facts = read(mp4_of_lengths(picture, sound))
    assert isinstance(facts, MediaFacts)
    assert facts.picture_seconds == pytest.approx(picture, abs=0.2)
    assert facts.end_seconds == pytest.approx(max(picture, sound), abs=0.2)
    for page in (picture, max(picture, sound)):
        assert find_mismatch(facts, PROMISED, page) is None


@pytest.mark.parametrize("shape", [VIDEO, SOUND], ids=["video", "sound"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_file_truncated_after_its_index_is_unreadable(shape: Shape, share: float) -> None:
    whole = encoded(shape)
    index = whole.index(b"mdat")
    facts = read(whole[: index + int((len(whole) - index) * share)])
    assert facts == Unreadable(reason="it is truncated")


def test_video_of_an_unknown_codec_has_no_dimensions() -> None:
    facts = read(encoded(VIDEO).replace(b"avc1", b"\0vc1"))
    assert isinstance(facts, MediaFacts)
    assert (facts.video_codec, facts.width, facts.height) == (None, None, None)
    assert find_mismatch(facts, PROMISED, None)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from([VIDEO, SOUND, PICTURE]),
    corruptions=st.lists(
        st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=20
    ),
)
def test_corrupt_file_is_read_without_an_error(
    shape: Shape, corruptions: list[tuple[float, bytes]]
) -> None:
    body = bytearray(encoded(shape))
    for position, corruption in corruptions:
        start = int(position * (len(body) - len(corruption)))
        body[start : start + len(corruption)] = corruption
    assert read(bytes(body)) is not None


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=2_000))
def test_any_bytes_are_read_without_an_error(body: bytes) -> None:
    assert read(body) is not None
