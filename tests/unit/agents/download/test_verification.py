import logging
from pathlib import Path

import msgspec
import pytest

from agents.download.verification import FileVerifier, stored_file
from agents.media.client import ProcessUnavailableError
from agents.media.protocol import Answer, MediaFacts, Unreadable, Unsupported
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


def probe_count(outcome: str) -> float:
    return float(PROBES.labels(outcome)._value.get())


async def test_valid_file_is_verified_and_counted() -> None:
    before = probe_count("sound")
    probe = FakeProbe(FACTS)
    assert await FileVerifier(probe).verify(FILE, SOURCE, INFO) == FACTS
    assert probe.probed_paths == [FILE]
    assert probe_count("sound") == before + 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Unreadable(reason="torn in the middle"), r"cannot be read \(torn in the middle\)"),
        (msgspec.structs.replace(FACTS, video_codec=None), "no picture"),
        (msgspec.structs.replace(FACTS, duration_seconds=3.0), r"3\.0 seconds.* 12\.5"),
    ],
)
async def test_damaged_file_is_an_error(answer: Answer, reason: str) -> None:
    before = probe_count("damaged")
    with pytest.raises(ClipmillError, match=reason) as caught:
        await FileVerifier(FakeProbe(answer)).verify(FILE, SOURCE, INFO)
    assert caught.value.code is ErrorCode.CONTENT_DAMAGED
    assert probe_count("damaged") == before + 1


async def test_file_of_an_unsupported_codec_is_accepted() -> None:
    before = probe_count("unknown")
    verifier = FileVerifier(FakeProbe(Unsupported(reason="a codec of tomorrow")))
    assert await verifier.verify(FILE, SOURCE, INFO) is None
    assert probe_count("unknown") == before + 1


async def test_file_is_accepted_when_the_probe_is_unavailable(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = probe_count("away")
    with caplog.at_level(logging.WARNING):
        assert (
            await FileVerifier(FakeProbe(ProcessUnavailableError("no memory"))).verify(
                FILE, SOURCE, INFO
            )
            is None
        )
    assert "no memory" in caplog.text
    assert SOURCE.url not in caplog.text
    assert probe_count("away") == before + 1


async def test_file_is_accepted_without_a_probe() -> None:
    assert await FileVerifier(None).verify(FILE, SOURCE, INFO) is None


def test_probed_facts_override_the_page() -> None:
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


def test_unprobed_file_has_the_facts_of_the_page() -> None:
    file = stored_file(SOURCE, INFO, FETCHED, "file:///a", None)
    assert (file.width, file.height, file.duration_seconds) == (720, 1280, 12.5)
    assert (file.codec, file.audio_codec, file.sample_rate) == ("h265", "aac", None)
    assert not file.probed


def test_pictures_have_no_duration() -> None:
    file = stored_file(PICTURE, INFO, FETCHED, "file:///a", None)
    assert (file.duration_seconds, file.width, file.height) == (None, 1, 2)


def test_audio_file_has_the_audio_codec() -> None:
    facts = MediaFacts(duration_seconds=60.0, audio_codec="aac", sample_rate=44_100)
    file = stored_file(SOURCE, INFO, FETCHED, "file:///a", facts)
    assert (file.codec, file.audio_codec, file.width) == ("aac", "aac", None)
