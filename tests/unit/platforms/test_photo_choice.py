from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.platforms.choice import choose, choose_files
from agents.platforms.tiktok.formats import read_sources
from schemas.errors import ClipmillError, ErrorCode
from schemas.request import Options
from schemas.video import VideoFormat
from tests.unit.platforms.tiktok.raws import raw_of


def picture(place: int, host: str = "", **fields: Any) -> VideoFormat:
    told = {"container": "jpeg", "width": 1080, "height": 1440, **fields}
    return VideoFormat(format_id=f"{place}{host}", picture=place, **told)


def video(format_id: str = "video", **fields: Any) -> VideoFormat:
    told = {"container": "mp4", "video_codec": "h264", "audio_codec": "aac", **fields}
    return VideoFormat(format_id=format_id, width=720, height=1280, **told)


def sound(format_id: str = "music", **fields: Any) -> VideoFormat:
    return VideoFormat(format_id=format_id, container="m4a", audio_codec="aac", **fields)


PICTURES = (picture(1), picture(1, "b"), picture(2), picture(2, "b"))
POST = (*PICTURES, sound())
SLIDESHOW = (*POST, video())
TIKTOK = tuple(source.format for source in read_sources(raw_of("photo", 3)))

CHOICES: dict[str, tuple[Sequence[VideoFormat], Options, str]] = {
    "a video is one file": ((video(), sound()), Options(), "video"),
    "pictures and music": (POST, Options(), "1 2 music"),
    "pictures alone": (PICTURES, Options(), "1 2"),
    "in their order": ((picture(10), picture(9), sound(), picture(1)), Options(), "1 9 10 music"),
    "the music alone": (POST, Options(audio_only=True), "music"),
    "the best music": (
        (picture(1), sound("a", bits_per_second=1), sound("b", bits_per_second=2)),
        Options(),
        "1 b",
    ),
    "music that nobody can play is none": ((picture(1), sound(playable=False)), Options(), "1"),
    "quality is about videos": (POST, Options(quality="360p", degrade=False), "1 2 music"),
    "watermarks are about videos": (POST, Options(watermark="allow"), "1 2 music"),
    "the pictures before their video": (SLIDESHOW, Options(), "1 2 music"),
    "the video when its codec is asked for": (SLIDESHOW, Options(codec="h264"), "video"),
    "the video when its container is asked for": (SLIDESHOW, Options(container="mp4"), "video"),
    "the pictures when the video is another": (SLIDESHOW, Options(codec="h265"), "1 2 music"),
    "the pictures when the video is marked": (
        (*POST, video(watermarked=True)),
        Options(container="mp4"),
        "1 2 music",
    ),
    "the pictures when there is no video": (POST, Options(container="mp4"), "1 2 music"),
    "all within the limit": (
        (picture(1, bytes=3), picture(2, bytes=4), sound(bytes=3)),
        Options(max_bytes=10),
        "1 2 music",
    ),
    "unknown sizes are no reason": (POST, Options(max_bytes=1), "1 2 music"),
    "TikTok": (TIKTOK, Options(), "image-01 image-02 image-03 audio"),
    "TikTok, sound": (TIKTOK, Options(audio_only=True), "audio"),
}


def ids(files: Sequence[VideoFormat]) -> str:
    return " ".join(each.format_id for each in files)


@pytest.mark.parametrize(("formats", "options", "chosen"), CHOICES.values(), ids=CHOICES.keys())
def test_files(formats: Sequence[VideoFormat], options: Options, chosen: str) -> None:
    assert ids(choose_files(formats, options)) == chosen


@pytest.mark.parametrize(
    ("avoided", "chosen"),
    [
        ({"1"}, "1b 2b music"),
        ({"1", "2"}, "1b 2b music"),
        ({"1b"}, "1 2 music"),
        ({"1", "2b"}, "1b 2 music"),
        ({"music"}, "1 2"),
        ({"2", "music"}, "1b 2b"),
        ({"nothing of it"}, "1 2 music"),
    ],
)
def test_what_failed_is_had_from_elsewhere_or_left_out(avoided: set[str], chosen: str) -> None:
    assert ids(choose_files(POST, Options(), avoided)) == chosen


REFUSALS: dict[str, tuple[Options, set[str], ErrorCode, str]] = {
    "a picture from no host": (
        Options(),
        {"2", "2b"},
        ErrorCode.CONTENT_NO_FORMATS,
        "one of its pictures has failed from every host",
    ),
    "the music, without degrade": (
        Options(degrade=False),
        {"music"},
        ErrorCode.CONTENT_NO_FORMATS,
        "the download of its music has failed, and degrade is off",
    ),
    "the music alone": (
        Options(audio_only=True),
        {"music"},
        ErrorCode.CONTENT_NO_FORMATS,
        "the download of every fitting file has failed",
    ),
}


@pytest.mark.parametrize(
    ("options", "avoided", "code", "text"), REFUSALS.values(), ids=REFUSALS.keys()
)
def test_refusal(options: Options, avoided: set[str], code: ErrorCode, text: str) -> None:
    with pytest.raises(ClipmillError, match=text) as caught:
        choose_files(POST, options, avoided)
    assert caught.value.code is code
    assert "1 (1080x1440 jpeg)" in caught.value.details["offered"]


def test_no_music_is_no_sound() -> None:
    with pytest.raises(ClipmillError, match="sound without a picture"):
        choose_files(PICTURES, Options(audio_only=True))


@pytest.mark.parametrize("degrade", [True, False])
def test_the_limit_is_for_all_files_together(degrade: bool) -> None:
    formats = (picture(1, bytes=5), picture(2, bytes=5), sound(bytes=1))
    with pytest.raises(ClipmillError, match="has 11 bytes, max_bytes is 10") as caught:
        choose_files(formats, Options(max_bytes=10, degrade=degrade))
    assert caught.value.code is ErrorCode.REQUEST_TOO_LARGE


FORMATS = st.lists(
    st.builds(
        VideoFormat,
        format_id=st.text("ab01", min_size=1, max_size=4),
        container=st.just("jpeg"),
        picture=st.integers(1, 4),
    )
    | st.builds(sound, st.text("mn", min_size=1, max_size=4)),
    max_size=9,
    unique_by=lambda each: each.format_id,
)


@given(FORMATS, st.sets(st.text("ab01mn", min_size=1, max_size=2)), st.booleans())
def test_every_picture_once_or_an_error(
    formats: list[VideoFormat], avoided: set[str], degrade: bool
) -> None:
    places = sorted({each.picture for each in formats if each.picture})
    options = Options(degrade=degrade)
    try:
        chosen = choose_files(formats, options, avoided)
    except ClipmillError:
        left = [each for each in formats if each.format_id not in avoided]
        lost = set(places) - {each.picture for each in left}
        silent = not degrade and not any(each.audio_codec for each in left)
        assert lost or silent or not places
        return
    assert [each.picture for each in chosen if each.picture] == places
    assert len([each for each in chosen if not each.picture]) <= 1
    assert not {each.format_id for each in chosen} & avoided


@given(st.lists(st.builds(video, st.text("abc", min_size=1, max_size=4)), min_size=1, max_size=5))
def test_a_post_without_pictures_is_what_the_choice_says(formats: list[VideoFormat]) -> None:
    assert choose_files(formats, Options()) == (choose(formats, Options()),)
