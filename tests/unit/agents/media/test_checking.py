import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.media.checking import TOLERATED_SECONDS, check, find_mismatch
from agents.media.protocol import MediaFacts
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


def changed(facts: MediaFacts, **changes: object) -> MediaFacts:
    return msgspec.structs.replace(facts, **changes)


@pytest.mark.parametrize(
    ("facts", "promised", "seconds"),
    [
        pytest.param(MOVIE, VIDEO, 10.0, id="a video"),
        pytest.param(MOVIE, VIDEO, None, id="no length in the format"),
        pytest.param(MOVIE, VIDEO, 0.0, id="no length on the page"),
        pytest.param(MOVIE, VIDEO, 9.1, id="the page rounds"),
        pytest.param(
            changed(MOVIE, duration_seconds=104.0, end_seconds=104.0), VIDEO, 100.0, id="4 % off"
        ),
        pytest.param(changed(MOVIE, audio_codec=None), MUTE, 10.0, id="silent as the page says"),
        pytest.param(MOVIE, MUTE, 10.0, id="sound that was not promised"),
        pytest.param(changed(MOVIE, video_codec="h265", width=1), VIDEO, 10.0, id="other codec"),
        pytest.param(
            changed(MOVIE, duration_seconds=None), VIDEO, 10.0, id="no length in the file"
        ),
        pytest.param(changed(MOVIE, end_seconds=None), VIDEO, 10.0, id="end not determined"),
        pytest.param(changed(MOVIE, end_seconds=9.4), VIDEO, 10.0, id="audio longer than video"),
        pytest.param(
            changed(MOVIE, end_seconds=10.9), VIDEO, 10.0, id="video longer than the page says"
        ),
        pytest.param(SONG, SOUND, 10.0, id="a song longer than the post"),
        pytest.param(
            changed(MOVIE, duration_seconds=60.0, end_seconds=60.0), SOUND, 10.0, id="mp4"
        ),
        pytest.param(MP3, SOUND, 10.0, id="a song of unknown length"),
        pytest.param(MP3, song(60.0), 10.0, id="a whole song"),
        pytest.param(MP3, song(65.0), 10.0, id="a song whose length is rounded"),
        pytest.param(MP3, song(30.0), 10.0, id="a song longer than the page says"),
        pytest.param(SONG, song(180.0), 10.0, id="a clip of a song, in a complete file"),
        pytest.param(IMAGE, PICTURE, 10.0, id="a picture"),
        pytest.param(changed(MOVIE, audio_codec=None), PICTURE, None, id="an animated picture"),
        pytest.param(changed(MOVIE, audio_codec=None), MOTION, 90.0, id="a motion file"),
        pytest.param(SONG, UNKNOWN, 60.0, id="nothing promised"),
    ],
)
def test_file_as_promised_passes(
    facts: MediaFacts, promised: VideoFormat, seconds: float | None
) -> None:
    assert find_mismatch(facts, promised, seconds) is None
    check(facts, promised, seconds)


@pytest.mark.parametrize("codec", ["aac", "opus", "unknown"])
def test_video_without_its_promised_audio_is_a_no_sound_error(codec: str) -> None:
    promised = msgspec.structs.replace(VIDEO, audio_codec=codec)
    with pytest.raises(ClipmillError, match="format v has no sound") as caught:
        check(changed(MOVIE, audio_codec=None), promised, 10.0)
    assert caught.value.code is ErrorCode.CONTENT_NO_SOUND


def test_damaged_silent_video_is_damaged() -> None:
    with pytest.raises(ClipmillError) as caught:
        check(changed(MOVIE, audio_codec=None, end_seconds=4.0), VIDEO, 10.0)
    assert caught.value.code is ErrorCode.CONTENT_DAMAGED


@pytest.mark.parametrize(
    ("facts", "promised", "seconds", "reason"),
    [
        (SONG, VIDEO, 60.0, "no picture"),
        (SONG, PICTURE, None, "no picture"),
        (SONG, MOTION, None, "no picture"),
        (changed(MOVIE, end_seconds=4.0), MOTION, None, r"after 4\.0 of 10\.0 seconds"),
        (MediaFacts(), PICTURE, None, "no picture"),
        (IMAGE, SOUND, None, "no sound"),
        (changed(MOVIE, audio_codec=None), SOUND, None, "no sound"),
        (changed(MOVIE, end_seconds=4.0), VIDEO, 10.0, r"after 4\.0 of 10\.0 seconds"),
        (MP3, song(120.0), 10.0, r"60\.0 seconds, the page says 120\.0"),
        (changed(MP3, container="aac"), song(70.0), None, r"60\.0 seconds, the page says 70\.0"),
        (changed(MP3, container="ogg"), song(180.0), None, r"60\.0 seconds, the page says 180\.0"),
        (changed(SONG, end_seconds=0.0), SOUND, None, r"after 0\.0 of 60\.0 seconds"),
        (changed(MOVIE, duration_seconds=5.0, end_seconds=5.0), VIDEO, 10.0, r"5\.0 .* 10\.0"),
        (changed(MOVIE, duration_seconds=90.0, end_seconds=90.0), VIDEO, 10.0, r"90\.0 .* 10\.0"),
    ],
)
def test_file_not_as_promised_is_damaged(
    facts: MediaFacts, promised: VideoFormat, seconds: float | None, reason: str
) -> None:
    with pytest.raises(ClipmillError, match=reason) as caught:
        check(facts, promised, seconds)
    assert caught.value.code is ErrorCode.CONTENT_DAMAGED
    assert caught.value.details["reason"] in caught.value.message


@given(page=st.integers(1, 10_000), fraction=st.floats(-0.99, 0.99))
def test_duration_within_a_second_of_the_page_passes(page: int, fraction: float) -> None:
    seconds = page + fraction
    assert (
        find_mismatch(changed(MOVIE, duration_seconds=seconds, end_seconds=seconds), VIDEO, page)
        is None
    )


@given(page=st.floats(0.1, 10_000), factor=st.floats(1.2, 100))
def test_duration_beyond_the_tolerance_is_a_mismatch(page: float, factor: float) -> None:
    for seconds in (page * factor + TOLERATED_SECONDS, page / factor - TOLERATED_SECONDS):
        if seconds > 0:
            facts = changed(MOVIE, duration_seconds=seconds, end_seconds=seconds)
            assert find_mismatch(facts, VIDEO, page) is not None
