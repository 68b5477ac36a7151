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
from tests.unit.agents.platforms.tiktok.extractions import raw_of


def picture(number: int, host: str = "", **fields: Any) -> VideoFormat:
    defaults: dict[str, Any] = {
        "format_id": f"{number}{host}",
        "container": "jpeg",
        "width": 1080,
        "height": 1440,
    }
    return VideoFormat(picture=number, **(defaults | fields))


def video(format_id: str = "video", **fields: Any) -> VideoFormat:
    values = {"container": "mp4", "video_codec": "h264", "audio_codec": "aac", **fields}
    return VideoFormat(format_id=format_id, width=720, height=1280, **values)


def sound(format_id: str = "music", **fields: Any) -> VideoFormat:
    values = {"container": "m4a", "audio_codec": "aac", "song": True, **fields}
    return VideoFormat(format_id=format_id, **values)


def motion(number: int) -> VideoFormat:
    return picture(number, container="mp4", video_codec="h264", motion=True, format_id=f"m{number}")


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
    "the music of a post that has a video as well": (SLIDESHOW, Options(audio_only=True), "music"),
    "the audio of the video when there is no music": (
        (*PICTURES, video()),
        Options(audio_only=True),
        "video",
    ),
    "the music, requested as a song": (POST, Options(audio_only=True, audio="song"), "music"),
    "music without the song flag": (
        (picture(1), sound(song=False)),
        Options(audio_only=True, audio="song"),
        "music",
    ),
    "the best music": (
        (picture(1), sound("a", bits_per_second=1), sound("b", bits_per_second=2)),
        Options(),
        "1 b",
    ),
    "unplayable music is left out": ((picture(1), sound(playable=False)), Options(), "1"),
    "quality applies to videos only": (POST, Options(quality="360p", degrade=False), "1 2 music"),
    "watermark applies to videos only": (POST, Options(watermark="allow"), "1 2 music"),
    "the pictures before their video": (SLIDESHOW, Options(), "1 2 music"),
    "the video when its codec is requested": (SLIDESHOW, Options(codec="h264"), "video"),
    "the video when its container is requested": (SLIDESHOW, Options(container="mp4"), "video"),
    "the pictures when the video has another codec": (
        SLIDESHOW,
        Options(codec="h265"),
        "1 2 music",
    ),
    "the watermarked video when it is allowed": (
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
    "the codec of a motion file is ignored": (LIVE, Options(codec="h264"), "1 2 m2 music"),
    "all within the limit": (
        (picture(1, bytes=3), picture(2, bytes=4), sound(bytes=3)),
        Options(max_bytes=10),
        "1 2 music",
    ),
    "unknown sizes are within the limit": (POST, Options(max_bytes=1), "1 2 music"),
    "TikTok": (TIKTOK, Options(), "image-01 image-02 image-03 audio"),
    "TikTok, sound": (TIKTOK, Options(audio_only=True), "audio"),
}


def ids(files: Sequence[Choice]) -> str:
    return " ".join(each.format_id for each in files)


@pytest.mark.parametrize(("formats", "options", "chosen"), CHOICES.values(), ids=CHOICES.keys())
def test_files_are_chosen(formats: Sequence[VideoFormat], options: Options, chosen: str) -> None:
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
def test_failed_file_is_replaced_by_its_mirror_or_left_out(avoided: set[str], chosen: str) -> None:
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
        "the download of every matching format has failed",
    ),
}


@pytest.mark.parametrize(
    ("options", "avoided", "code", "text"), REFUSALS.values(), ids=REFUSALS.keys()
)
def test_refusal_has_code_and_reason(
    options: Options, avoided: set[str], code: ErrorCode, text: str
) -> None:
    with pytest.raises(ClipmillError, match=text) as caught:
        choose_files(POST, options, avoided)
    assert caught.value.code is code
    assert "1 (1080x1440 jpeg)" in caught.value.details["offered"]


NO_VIDEO = "photo post without a video; container=any selects its pictures"
CONTAINERS: dict[str, tuple[Sequence[VideoFormat], Options, str]] = {
    "none": (POST, Options(container="mp4"), NO_VIDEO),
    "none, without degrade": (POST, Options(container="mp4", degrade=False), NO_VIDEO),
    "none but a motion file": (LIVE, Options(container="mp4"), NO_VIDEO),
    "none of the container": (SLIDESHOW, Options(container="webm"), "its pictures matches"),
    "none of the codec": (
        SLIDESHOW,
        Options(container="mp4", codec="h265"),
        "its pictures matches",
    ),
    "a watermarked one": (
        (*POST, video(watermarked=True)),
        Options(container="mp4"),
        "matches: every matching format is watermarked",
    ),
}


@pytest.mark.parametrize(("formats", "options", "text"), CONTAINERS.values(), ids=CONTAINERS.keys())
def test_post_without_a_matching_video_is_refused(
    formats: Sequence[VideoFormat], options: Options, text: str
) -> None:
    with pytest.raises(ClipmillError, match=text) as caught:
        choose_files(formats, options)
    assert caught.value.code is ErrorCode.CONTENT_NO_FORMATS
    assert caught.value.details["failure"] == "pictures_only"


def test_missing_pictures_are_left_out() -> None:
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
def test_too_many_missing_pictures_are_refused(
    formats: Sequence[VideoFormat], options: Options, text: str
) -> None:
    with pytest.raises(ClipmillError, match=text) as caught:
        choose_files(formats, options, missing=(3, 5))
    assert caught.value.code is ErrorCode.CONTENT_NO_FORMATS


def test_audio_only_without_music_is_refused() -> None:
    with pytest.raises(ClipmillError, match="none of its formats has the requested sound"):
        choose_files(PICTURES, Options(audio_only=True))


@pytest.mark.parametrize("degrade", [True, False])
def test_size_limit_applies_to_all_files_together(degrade: bool) -> None:
    formats = (picture(1, bytes=5), picture(2, bytes=5), sound(bytes=1))
    with pytest.raises(ClipmillError, match="has 11 bytes, but max_bytes is 10") as caught:
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
def test_every_picture_is_chosen_once_or_refused(
    formats: list[VideoFormat], avoided: set[str], degrade: bool
) -> None:
    numbers = sorted({each.picture for each in formats if each.picture})
    options = Options(degrade=degrade)
    try:
        chosen = choose_files(formats, options, avoided)
    except ClipmillError:
        available = [each for each in formats if each.format_id not in avoided]
        missing = set(numbers) - {each.picture for each in available}
        silent = not degrade and not any(each.audio_codec for each in available)
        assert missing or silent or not numbers
        return
    assert [each.format.picture for each in chosen if each.format.picture] == numbers
    assert len([each for each in chosen if not each.format.picture]) <= 1
    assert not {each.format_id for each in chosen} & avoided


@given(st.lists(st.builds(video, st.text("abc", min_size=1, max_size=4)), min_size=1, max_size=5))
def test_post_without_pictures_is_chosen_as_a_video(formats: list[VideoFormat]) -> None:
    assert choose_files(formats, Options()) == (choose(formats, Options()),)
