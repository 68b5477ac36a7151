import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.media.checking import TOLERATED_SECONDS, check, flaw
from agents.media.facts import MediaFacts
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoFormat

VIDEO = VideoFormat(format_id="v", container="mp4", video_codec="h264", audio_codec="aac")
MUTE = msgspec.structs.replace(VIDEO, audio_codec=None)
SOUND = VideoFormat(format_id="a", container="m4a", audio_codec="aac")
PICTURE = VideoFormat(format_id="p", container="jpeg", picture=1)
MOTION = VideoFormat(format_id="m", container="mp4", video_codec="h264", picture=1, motion=True)
UNKNOWN = VideoFormat(format_id="u", container="mp4")

MOVIE = MediaFacts(
    duration_seconds=10.0,
    end_seconds=10.0,
    video_codec="h264",
    audio_codec="aac",
    width=720,
    height=1280,
    sample_rate=44_100,
)
SONG = MediaFacts(duration_seconds=60.0, end_seconds=60.0, audio_codec="aac", sample_rate=44_100)
MP3 = msgspec.structs.replace(SONG, container="mp3", audio_codec="mp3")
IMAGE = MediaFacts(video_codec="jpeg", width=1080, height=1440)


def song(seconds: float) -> VideoFormat:
    return msgspec.structs.replace(SOUND, duration_seconds=seconds)


def but(facts: MediaFacts, **changes: object) -> MediaFacts:
    return msgspec.structs.replace(facts, **changes)


@pytest.mark.parametrize(
    ("facts", "promised", "seconds"),
    [
        pytest.param(MOVIE, VIDEO, 10.0, id="a video"),
        pytest.param(MOVIE, VIDEO, None, id="no length promised"),
        pytest.param(MOVIE, VIDEO, 0.0, id="no length known to the page"),
        pytest.param(MOVIE, VIDEO, 9.1, id="the page rounds"),
        pytest.param(
            but(MOVIE, duration_seconds=104.0, end_seconds=104.0), VIDEO, 100.0, id="4 % off"
        ),
        pytest.param(but(MOVIE, audio_codec=None), MUTE, 10.0, id="silent as the page says"),
        pytest.param(MOVIE, MUTE, 10.0, id="sound that was not promised"),
        pytest.param(but(MOVIE, video_codec="h265", width=1), VIDEO, 10.0, id="other codec"),
        pytest.param(but(MOVIE, duration_seconds=None), VIDEO, 10.0, id="no length told"),
        pytest.param(but(MOVIE, end_seconds=None), VIDEO, 10.0, id="end not looked for"),
        pytest.param(but(MOVIE, end_seconds=9.4), VIDEO, 10.0, id="sound longer than pictures"),
        pytest.param(but(MOVIE, end_seconds=10.9), VIDEO, 10.0, id="pictures longer than told"),
        pytest.param(SONG, SOUND, 10.0, id="a song longer than the post"),
        pytest.param(but(MOVIE, duration_seconds=60.0, end_seconds=60.0), SOUND, 10.0, id="mp4"),
        pytest.param(MP3, SOUND, 10.0, id="a song of unknown length"),
        pytest.param(MP3, song(60.0), 10.0, id="a whole song"),
        pytest.param(MP3, song(65.0), 10.0, id="a song whose length is rounded"),
        pytest.param(MP3, song(30.0), 10.0, id="a song longer than told"),
        pytest.param(SONG, song(180.0), 10.0, id="a clip of a song, in a file that is whole"),
        pytest.param(IMAGE, PICTURE, 10.0, id="a picture"),
        pytest.param(but(MOVIE, audio_codec=None), PICTURE, None, id="an animated picture"),
        pytest.param(but(MOVIE, audio_codec=None), MOTION, 90.0, id="a motion file"),
        pytest.param(SONG, UNKNOWN, 60.0, id="nothing promised"),
    ],
)
def test_what_was_promised_is_sound(
    facts: MediaFacts, promised: VideoFormat, seconds: float | None
) -> None:
    assert flaw(facts, promised, seconds) is None
    check(facts, promised, seconds)


@pytest.mark.parametrize("codec", ["aac", "opus", "unknown"])
def test_a_video_without_the_sound_that_was_promised_is_not_what_was_asked_for(codec: str) -> None:
    promised = msgspec.structs.replace(VIDEO, audio_codec=codec)
    with pytest.raises(ClipmillError, match="format v has no sound") as caught:
        check(but(MOVIE, audio_codec=None), promised, 10.0)
    assert caught.value.code is ErrorCode.CONTENT_NO_SOUND


def test_a_video_that_is_damaged_and_silent_is_damaged() -> None:
    with pytest.raises(ClipmillError) as caught:
        check(but(MOVIE, audio_codec=None, end_seconds=4.0), VIDEO, 10.0)
    assert caught.value.code is ErrorCode.CONTENT_DAMAGED


@pytest.mark.parametrize(
    ("facts", "promised", "seconds", "reason"),
    [
        (SONG, VIDEO, 60.0, "no picture"),
        (SONG, PICTURE, None, "no picture"),
        (SONG, MOTION, None, "no picture"),
        (but(MOVIE, end_seconds=4.0), MOTION, None, r"after 4\.0 of 10\.0 seconds"),
        (MediaFacts(), PICTURE, None, "no picture"),
        (IMAGE, SOUND, None, "no sound"),
        (but(MOVIE, audio_codec=None), SOUND, None, "no sound"),
        (but(MOVIE, end_seconds=4.0), VIDEO, 10.0, r"after 4\.0 of 10\.0 seconds"),
        (MP3, song(120.0), 10.0, r"60\.0 seconds, the page says 120\.0"),
        (but(MP3, container="aac"), song(70.0), None, r"60\.0 seconds, the page says 70\.0"),
        (but(MP3, container="ogg"), song(180.0), None, r"60\.0 seconds, the page says 180\.0"),
        (but(SONG, end_seconds=0.0), SOUND, None, r"after 0\.0 of 60\.0 seconds"),
        (but(MOVIE, duration_seconds=5.0, end_seconds=5.0), VIDEO, 10.0, r"5\.0 .* 10\.0"),
        (but(MOVIE, duration_seconds=90.0, end_seconds=90.0), VIDEO, 10.0, r"90\.0 .* 10\.0"),
    ],
)
def test_what_was_not_is_damaged(
    facts: MediaFacts, promised: VideoFormat, seconds: float | None, reason: str
) -> None:
    with pytest.raises(ClipmillError, match=reason) as caught:
        check(facts, promised, seconds)
    assert caught.value.code is ErrorCode.CONTENT_DAMAGED
    assert caught.value.details["reason"] in caught.value.message


@given(page=st.integers(1, 10_000), fraction=st.floats(-0.99, 0.99))
def test_pages_that_round_to_whole_seconds_are_believed(page: int, fraction: float) -> None:
    seconds = page + fraction
    assert flaw(but(MOVIE, duration_seconds=seconds, end_seconds=seconds), VIDEO, page) is None


@given(page=st.floats(0.1, 10_000), factor=st.floats(1.2, 100))
def test_another_length_is_not(page: float, factor: float) -> None:
    for seconds in (page * factor + TOLERATED_SECONDS, page / factor - TOLERATED_SECONDS):
        if seconds > 0:
            facts = but(MOVIE, duration_seconds=seconds, end_seconds=seconds)
            assert flaw(facts, VIDEO, page) is not None
