from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agents.download.nfo import write_nfo
from schemas.video import Author, VideoInfo
from tests.unit.agents.builders import INFO


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
