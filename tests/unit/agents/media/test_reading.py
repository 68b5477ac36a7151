import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.media.checking import flaw
from agents.media.facts import MediaFacts, Unreadable
from agents.media.reading import read_facts
from schemas.video import VideoFormat
from tests.standin.media_encoding import encoded
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
    uneven,
)

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
def test_what_is_in_a_file(shape: Shape, facts: MediaFacts) -> None:
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
def test_what_is_no_media(body: bytes) -> None:
    found = read(body)
    assert isinstance(found, Unreadable)
    assert found.reason


@pytest.mark.parametrize(("picture", "sound"), [(8, 9.5), (10, 12), (2, 6), (6, 2)])
def test_sound_and_picture_may_have_lengths_of_their_own(picture: float, sound: float) -> None:
    facts = read(uneven(picture, sound))
    assert isinstance(facts, MediaFacts)
    assert facts.picture_seconds == pytest.approx(picture, abs=0.2)
    assert facts.end_seconds == pytest.approx(max(picture, sound), abs=0.2)
    for page in (picture, max(picture, sound)):
        assert flaw(facts, PROMISED, page) is None


@pytest.mark.parametrize("shape", [VIDEO, SOUND], ids=["video", "sound"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_file_that_is_cut_behind_its_index_is_none(shape: Shape, share: float) -> None:
    whole = encoded(shape)
    index = whole.index(b"mdat")
    facts = read(whole[: index + int((len(whole) - index) * share)])
    assert facts == Unreadable(reason="it is cut short")


def test_a_picture_of_an_unknown_codec_has_no_facts() -> None:
    facts = read(encoded(VIDEO).replace(b"avc1", b"\0vc1"))
    assert isinstance(facts, MediaFacts)
    assert (facts.video_codec, facts.width, facts.height) == (None, None, None)
    assert flaw(facts, PROMISED, None)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from([VIDEO, SOUND, PICTURE]),
    torn=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=20),
)
def test_torn_files_have_an_answer_too(shape: Shape, torn: list[tuple[float, bytes]]) -> None:
    body = bytearray(encoded(shape))
    for place, piece in torn:
        start = int(place * (len(body) - len(piece)))
        body[start : start + len(piece)] = piece
    assert read(bytes(body)) is not None


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=2_000))
def test_anything_has_an_answer(body: bytes) -> None:
    assert read(body) is not None
