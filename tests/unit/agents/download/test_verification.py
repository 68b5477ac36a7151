import logging
from pathlib import Path

import msgspec
import pytest

from agents.download.verification import FileVerifier, stored_file
from agents.media.client import ProcessAwayError
from agents.media.facts import Answer, MediaFacts, Unknown, Unreadable
from agents.network.download import Fetched
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import MediaSource, VideoFormat
from streams.observability.metrics import PROBES
from tests.unit.agents.builders import INFO, SOURCE
from tests.unit.agents.download.downloads import FakeProbe

FILE = Path("/nowhere/media")
FETCHED = Fetched(bytes=5, sha256="0" * 64, mime_type="video/mp4")
FACTS = MediaFacts(
    duration_seconds=12.75,
    end_seconds=12.7,
    video_codec="h264",
    audio_codec="mp3",
    width=576,
    height=1024,
    sample_rate=44_100,
)
PICTURE = MediaSource(
    format=VideoFormat(format_id="image-01", container="jpeg", width=1, height=2, picture=1),
    url="https://p16.tiktokcdn.com/1.jpeg",
)


def counted(outcome: str) -> float:
    return float(PROBES.labels(outcome)._value.get())


async def test_a_sound_file_is_told() -> None:
    before = counted("sound")
    probe = FakeProbe(FACTS)
    assert await FileVerifier(probe).examine(FILE, SOURCE, INFO) == FACTS
    assert probe.asked == [FILE]
    assert counted("sound") == before + 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Unreadable(reason="torn in the middle"), r"cannot be read \(torn in the middle\)"),
        (msgspec.structs.replace(FACTS, video_codec=None), "no picture"),
        (msgspec.structs.replace(FACTS, duration_seconds=3.0), r"3\.0 seconds.* 12\.5"),
    ],
)
async def test_a_damaged_file_is_an_error(answer: Answer, words: str) -> None:
    before = counted("damaged")
    with pytest.raises(ClipmillError, match=words) as caught:
        await FileVerifier(FakeProbe(answer)).examine(FILE, SOURCE, INFO)
    assert caught.value.code is ErrorCode.CONTENT_DAMAGED
    assert counted("damaged") == before + 1


async def test_what_the_library_does_not_know_is_kept() -> None:
    before = counted("unknown")
    examiner = FileVerifier(FakeProbe(Unknown(reason="a codec of tomorrow")))
    assert await examiner.examine(FILE, SOURCE, INFO) is None
    assert counted("unknown") == before + 1


async def test_an_outage_of_the_probe_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    before = counted("away")
    with caplog.at_level(logging.WARNING):
        assert (
            await FileVerifier(FakeProbe(ProcessAwayError("no memory"))).examine(FILE, SOURCE, INFO)
            is None
        )
    assert "no memory" in caplog.text
    assert SOURCE.url not in caplog.text
    assert counted("away") == before + 1


async def test_without_a_probe_every_file_is_kept() -> None:
    assert await FileVerifier(None).examine(FILE, SOURCE, INFO) is None


def test_what_is_in_the_file_wins_over_the_page() -> None:
    file = stored_file(SOURCE, INFO, FETCHED, "file:///a", FACTS)
    assert (file.uri, file.bytes, file.sha256, file.mime_type) == (
        "file:///a",
        5,
        "0" * 64,
        "video/mp4",
    )
    assert (file.width, file.height, file.duration_seconds) == (576, 1024, 12.75)
    assert (file.codec, file.audio_codec, file.sample_rate) == ("h264", "mp3", 44_100)
    assert file.probed


def test_without_a_look_it_is_what_the_page_says() -> None:
    file = stored_file(SOURCE, INFO, FETCHED, "file:///a", None)
    assert (file.width, file.height, file.duration_seconds) == (720, 1280, 12.5)
    assert (file.codec, file.audio_codec, file.sample_rate) == ("h265", "aac", None)
    assert not file.probed


def test_pictures_do_not_play() -> None:
    file = stored_file(PICTURE, INFO, FETCHED, "file:///a", None)
    assert (file.duration_seconds, file.width, file.height) == (None, 1, 2)


def test_sound_has_its_own_codec() -> None:
    facts = MediaFacts(duration_seconds=60.0, audio_codec="aac", sample_rate=44_100)
    file = stored_file(SOURCE, INFO, FETCHED, "file:///a", facts)
    assert (file.codec, file.audio_codec, file.width) == ("aac", "aac", None)
