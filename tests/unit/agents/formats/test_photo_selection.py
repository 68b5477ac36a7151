from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.formats.selection import Choice, choose, choose_files
from agents.platforms.tiktok.formats import read_sources
from schemas.errors import ClipmillError, ErrorCode
from schemas.request import Options
from schemas.video import VideoFormat
from tests.unit.agents.platforms.tiktok.raws import raw_of


def picture(place: int, host: str = "", **fields: Any) -> VideoFormat:
    named: dict[str, Any] = {
        "format_id": f"{place}{host}",
        "container": "jpeg",
        "width": 1080,
        "height": 1440,
    }
    return VideoFormat(picture=place, **(named | fields))


def video(format_id: str = "video", **fields: Any) -> VideoFormat:
    told = {"container": "mp4", "video_codec": "h264", "audio_codec": "aac", **fields}
    return VideoFormat(format_id=format_id, width=720, height=1280, **told)


def sound(format_id: str = "music", **fields: Any) -> VideoFormat:
    told = {"container": "m4a", "audio_codec": "aac", "song": True, **fields}
    return VideoFormat(format_id=format_id, **told)


def motion(place: int) -> VideoFormat:
    return picture(place, container="mp4", video_codec="h264", motion=True, format_id=f"m{place}")


PICTURES = (picture(1), picture(1, "b"), picture(2), picture(2, "b"))
POST = (*PICTURES, sound())
SLIDESHOW = (*POST, video())
TIKTOK = tuple(source.format for source in read_sources(raw_of("photo", 3)))

LIVE = (picture(1), picture(2), motion(2), sound())

CHOICES: dict[str, tuple[Sequence[VideoFormat], Options, str]] = {
    "a video is one file": ((video(), sound()), Options(), "video"),
    "pictures and music": (POST, Options(), "1 2 music"),
    "pictures alone": (PICTURES, Options(), "1 2"),
    "in their order": ((picture(10), picture(9), sound(), picture(1)), Options(), "1 9 10 music"),
    "the music alone": (POST, Options(audio_only=True), "music"),
    "the music of a post that is a video too": (SLIDESHOW, Options(audio_only=True), "music"),
    "the sound of their video where they have no music": (
        (*PICTURES, video()),
        Options(audio_only=True),
        "video",
    ),
    "the music, asked for as a song": (POST, Options(audio_only=True, audio="song"), "music"),
    "music that is not called a song": (
        (picture(1), sound(song=False)),
        Options(audio_only=True, audio="song"),
        "music",
    ),
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
    "the marked video when it is allowed": (
        (*POST, video(watermarked=True)),
        Options(container="mp4", watermark="allow"),
        "video",
    ),
    "the pictures when no video has the codec": (POST, Options(codec="h264"), "1 2 music"),
    "a live photo with its motion file": (LIVE, Options(), "1 2 m2 music"),
    "a motion file is no video of the post": (
        (*LIVE, video()),
        Options(container="mp4"),
        "video",
    ),
    "nor has its codec": (LIVE, Options(codec="h264"), "1 2 m2 music"),
    "all within the limit": (
        (picture(1, bytes=3), picture(2, bytes=4), sound(bytes=3)),
        Options(max_bytes=10),
        "1 2 music",
    ),
    "unknown sizes are no reason": (POST, Options(max_bytes=1), "1 2 music"),
    "TikTok": (TIKTOK, Options(), "image-01 image-02 image-03 audio"),
    "TikTok, sound": (TIKTOK, Options(audio_only=True), "audio"),
}


def ids(files: Sequence[Choice]) -> str:
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


NO_VIDEO = "post of pictures of which there is no video; container=any would take those"
CONTAINERS: dict[str, tuple[Sequence[VideoFormat], Options, str]] = {
    "none": (POST, Options(container="mp4"), NO_VIDEO),
    "none, without degrade": (POST, Options(container="mp4", degrade=False), NO_VIDEO),
    "none but a motion file": (LIVE, Options(container="mp4"), NO_VIDEO),
    "none of the container": (SLIDESHOW, Options(container="webm"), "its pictures fits"),
    "none of the codec": (SLIDESHOW, Options(container="mp4", codec="h265"), "its pictures fits"),
    "a marked one": (
        (*POST, video(watermarked=True)),
        Options(container="mp4"),
        "fits: every fitting file is watermarked",
    ),
}


@pytest.mark.parametrize(("formats", "options", "text"), CONTAINERS.values(), ids=CONTAINERS.keys())
def test_a_video_of_the_pictures_that_nobody_made_cannot_be_had(
    formats: Sequence[VideoFormat], options: Options, text: str
) -> None:
    with pytest.raises(ClipmillError, match=text) as caught:
        choose_files(formats, options)
    assert caught.value.code is ErrorCode.CONTENT_NO_FORMATS
    assert caught.value.details["failure"] == "pictures_only"


def test_pictures_without_an_address_are_left_out() -> None:
    assert ids(choose_files(POST, Options(), missing=(3,))) == "1 2 music"
    assert ids(choose_files(POST, Options(audio_only=True, degrade=False), missing=(3,))) == "music"
    assert ids(choose_files(SLIDESHOW, Options(container="mp4"), missing=(3,))) == "video"


@pytest.mark.parametrize(
    ("formats", "options", "text"),
    [
        (POST, Options(degrade=False), "no address for picture 3, 5, and degrade is off"),
        ((sound(),), Options(), "no address for any of its pictures"),
        ((), Options(), "no address for any of its pictures"),
    ],
)
def test_pictures_without_an_address_may_be_too_much(
    formats: Sequence[VideoFormat], options: Options, text: str
) -> None:
    with pytest.raises(ClipmillError, match=text) as caught:
        choose_files(formats, options, missing=(3, 5))
    assert caught.value.code is ErrorCode.CONTENT_NO_FORMATS


def test_no_music_is_no_sound() -> None:
    with pytest.raises(ClipmillError, match="none of its files has the sound asked for"):
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
    assert [each.format.picture for each in chosen if each.format.picture] == places
    assert len([each for each in chosen if not each.format.picture]) <= 1
    assert not {each.format_id for each in chosen} & avoided


@given(st.lists(st.builds(video, st.text("abc", min_size=1, max_size=4)), min_size=1, max_size=5))
def test_a_post_without_pictures_is_what_the_choice_says(formats: list[VideoFormat]) -> None:
    assert choose_files(formats, Options()) == (choose(formats, Options()),)
