from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agents.download.post_metadata import TAG_CHARACTERS_MAX, tags_of, with_tags, write_nfo
from agents.storage.local import LocalStorage
from schemas.errors import ClipmillError, ErrorCode
from schemas.request import Options
from schemas.video import Author, SelectedSource, VideoFormat, VideoInfo
from tests.unit.agents.builders import INFO, SOURCE, selected
from tests.unit.agents.download.downloads import FakeRemuxer
from tests.unit.agents.download.test_agent_made import (
    FACTS,
    JOINED,
    SOUND,
    WHOLE,
    DownloadHarness,
    body,
    content_of,
    file_of,
)

EMBED = Options(embed_metadata=True)
TAGS = {"title": "Cats", "comment": INFO.url}


def test_tags_are_those_of_the_post() -> None:
    info = replace(
        INFO,
        author=Author(name="user", display_name="User"),
        published_at=datetime(2026, 11, 30, tzinfo=UTC),
    )
    assert tags_of(info) == {**TAGS, "artist": "User", "date": "2026-11-30"}
    assert tags_of(INFO) == TAGS


@pytest.mark.parametrize(
    ("title", "tag"),
    [("a\0b\nc", "abc"), ("x" * 10_000, "x" * TAG_CHARACTERS_MAX), ("\ud83d", None), ("", None)],
)
def test_tag_is_printable_and_bounded(title: str, tag: str | None) -> None:
    assert tags_of(replace(INFO, title=title)).get("title") == tag


@pytest.mark.parametrize(
    ("source", "tagged"),
    [
        (SOURCE, True),
        (JOINED, True),
        (SOUND, False),
        (replace(SOURCE, format=replace(SOURCE.format, picture=1, motion=True)), False),
        (SelectedSource(format=VideoFormat(format_id="a", container="m4a"), url="x"), False),
    ],
)
def test_only_videos_are_tagged(source: SelectedSource, tagged: bool) -> None:
    (changed,) = with_tags(selected(source)).sources
    assert changed.tagged is tagged


@pytest.fixture
async def harness(tmp_path: Path) -> Any:
    async with LocalStorage.open(tmp_path) as storage:
        made = DownloadHarness(storage)
        made.fake_probe.answers = [FACTS]
        yield made


def tagged(content: bytes) -> bytes:
    return content + f" tagged {TAGS}".encode()


async def test_video_is_stored_with_tags(harness: DownloadHarness) -> None:
    file = file_of(await harness.run(WHOLE, options=EMBED))
    assert content_of(file) == tagged(body("small"))
    assert file.bytes == len(content_of(file))
    assert harness.stored() == [Path(file.uri).name]
    assert file.uri.endswith(".small~tagged.mp4")


async def test_joined_video_is_stored_with_tags(harness: DownloadHarness) -> None:
    joined = body("large") + b" with the sound of " + body("small")
    assert content_of(file_of(await harness.run(JOINED, options=EMBED))) == tagged(joined)


async def test_stored_video_gets_its_tags_without_a_download(harness: DownloadHarness) -> None:
    plain = file_of(await harness.run(WHOLE))
    file = file_of(await harness.run(WHOLE, options=EMBED))
    assert content_of(file) == tagged(body("small"))
    assert content_of(plain) == body("small")
    assert harness.fetcher.fetched == ["small"]
    assert file_of(await harness.run(WHOLE, options=EMBED)) == replace(file, reused=True)


@pytest.mark.parametrize("code", [ErrorCode.CONTENT_UNSUPPORTED, ErrorCode.CONTENT_DAMAGED])
async def test_video_that_cannot_have_tags_is_stored_without(
    code: ErrorCode, harness: DownloadHarness
) -> None:
    harness.remuxer = FakeRemuxer(error=ClipmillError(code, "it is so"))
    assert content_of(file_of(await harness.run(WHOLE, options=EMBED))) == body("small")


def parsed(info: VideoInfo) -> ET.Element:
    return ET.fromstring(write_nfo(info))


def test_post_becomes_a_movie() -> None:
    info = replace(
        INFO,
        title="a <clip> & more",
        description="text",
        author=Author(name="user", display_name="User"),
        published_at=datetime(2026, 11, 30, 12, tzinfo=UTC),
        duration_seconds=95.0,
    )
    assert write_nfo(info).startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<movie>\n')
    movie = parsed(info)
    assert {each.tag: each.text for each in movie} == {
        "title": "a <clip> & more",
        "plot": f"text\n\n{INFO.url}",
        "premiered": "2026-11-30",
        "year": "2026",
        "runtime": "2",
        "studio": "tiktok",
        "credits": "User",
        "uniqueid": INFO.id,
    }
    assert movie.find("uniqueid[@type='tiktok'][@default='true']") is not None


@pytest.mark.parametrize(
    ("changes", "tag"),
    [
        ({"published_at": None}, "premiered"),
        ({"duration_seconds": None}, "runtime"),
        ({"author": Author()}, "credits"),
    ],
)
def test_unknown_field_is_left_out(changes: dict[str, Any], tag: str) -> None:
    assert parsed(replace(INFO, **changes)).find(tag) is None


@given(st.text(st.characters(codec=None)))
def test_any_text_gives_valid_xml(text: str) -> None:
    movie = parsed(replace(INFO, title=f"x{text}"))
    assert movie.findtext("title", "").startswith("x")
