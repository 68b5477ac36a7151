"""Tags in copied videos: readable, and nothing else changes."""

from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

import av
import pytest

from agents.media.remuxer import MediaRemuxer, open_remuxer
from schemas.errors import ClipmillError, ErrorCode
from tests.standin.media_marks import Marked, beeps, flashes, marked
from tests.unit.agents.media.files import write
from tests.unit.agents.media.test_remuxing import boxes, packets

SYNC_SECONDS = 0.04
TAGS = {
    "title": "a clip \U0001f600",
    "artist": "User",
    "date": "2026-11-30",
    "comment": "https://www.tiktok.com/@user/video/7",
}
MOVIES = {
    "mp4": Marked(),
    "B-frames": Marked(late=2),
    "no edit list": Marked(late=2, flags=(("use_editlist", "0"),)),
    "fragments": Marked(late=2, flags=(("movflags", "frag_keyframe+empty_moov+delay_moov"),)),
    "h265": Marked(video="h265", late=2, rate=60),
    "audio that starts later": Marked(sound_at=1.0),
    "without sound": Marked(audio=""),
}

body = cache(marked)


@pytest.fixture
async def remuxer() -> AsyncIterator[MediaRemuxer]:
    async with open_remuxer() as opened:
        yield opened


def tags_in(path: Path) -> dict[str, str]:
    with av.open(str(path)) as container:
        return {name: text for name, text in container.metadata.items() if name in TAGS}


@pytest.mark.parametrize("name", MOVIES)
async def test_video_gets_its_tags_and_stays_unchanged(
    name: str, remuxer: MediaRemuxer, tmp_path: Path
) -> None:
    source, target = write(tmp_path, body(MOVIES[name])), tmp_path / "out"
    assert await remuxer.tag(source, target, TAGS) == "mp4"
    assert tags_in(target) == TAGS
    assert packets(target, "video") == packets(source, "video")
    assert flashes(target) == pytest.approx(flashes(source), abs=SYNC_SECONDS)
    if MOVIES[name].audio:
        assert packets(target, "audio") == packets(source, "audio")
        assert beeps(target) == pytest.approx(beeps(source), abs=SYNC_SECONDS)
    assert boxes(target).index(b"moov") < boxes(target).index(b"mdat")


async def test_longest_tags_fit_into_the_task(remuxer: MediaRemuxer, tmp_path: Path) -> None:
    source, target = write(tmp_path, body(Marked())), tmp_path / "out"
    longest = dict.fromkeys(TAGS, "\U0001f600" * 1_024)
    assert await remuxer.tag(source, target, longest) == "mp4"
    assert tags_in(target) == longest


async def test_file_that_is_no_media_is_refused(remuxer: MediaRemuxer, tmp_path: Path) -> None:
    with pytest.raises(ClipmillError) as caught:
        await remuxer.tag(write(tmp_path, b"no media" * 100), tmp_path / "out", TAGS)
    assert caught.value.code is ErrorCode.CONTENT_DAMAGED
