from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.platforms.description import TITLE_CHARACTERS, read_info
from schemas.video import Author, Statistics, VideoFormat, VideoInfo, VideoRef

VIDEO = VideoRef(platform="mine", id="a1", url="https://mine.example/a1")
FORMATS = (VideoFormat(format_id="a", container="mp4"),)


def info(**fields: Any) -> VideoInfo:
    return read_info(fields, VIDEO, FORMATS, site="Mine")


def test_all_fields_are_read() -> None:
    found = info(
        id="not believed",
        webpage_url="https://elsewhere.example/",
        title="a\n clip",
        description="words",
        uploader="name",
        uploader_id="7",
        uploader_url="https://mine.example/name",
        channel="The Name",
        view_count=1,
        like_count=2,
        comment_count=3,
        repost_count=4,
        save_count=5,
        timestamp=1_767_268_800.5,
        duration=9.5,
        thumbnail="https://mine.example/a.jpg",
    )
    assert found == VideoInfo(
        platform="mine",
        id="a1",
        url="https://mine.example/a1",
        title="a clip",
        description="words",
        author=Author(
            id="7", name="name", display_name="The Name", url="https://mine.example/name"
        ),
        statistics=Statistics(views=1, likes=2, comments=3, reposts=4, saves=5),
        published_at=datetime(2026, 1, 1, 12, tzinfo=UTC),
        duration_seconds=9.5,
        thumbnail_url="https://mine.example/a.jpg",
        formats=FORMATS,
    )


def test_missing_fields_have_defaults() -> None:
    bare = VideoInfo(
        platform="mine", id="a1", url=VIDEO.url, title="Mine video a1", formats=FORMATS
    )
    assert info() == bare


@pytest.mark.parametrize(
    ("fields", "published"),
    [
        ({"upload_date": "20260101"}, datetime(2026, 1, 1, tzinfo=UTC)),
        ({"upload_date": "20260101", "timestamp": 86_400}, datetime(1970, 1, 2, tzinfo=UTC)),
        ({"upload_date": "20261301"}, None),
        ({"upload_date": "2026"}, None),
        ({"upload_date": "2026 1 1"}, None),
        ({"upload_date": 20260101}, None),
        ({"timestamp": -5}, None),
    ],
)
def test_publication_time_is_read(fields: dict[str, Any], published: datetime | None) -> None:
    assert info(**fields).published_at == published


def test_best_thumbnail_is_used() -> None:
    ranked = [("low", -1), ("best", 2), ("none", None)]
    thumbnails = [
        {"url": f"https://mine.example/{name}.jpg", "preference": rank} for name, rank in ranked
    ]
    found = info(thumbnails=[*thumbnails, {"url": "http://plain.example/"}], thumbnail="x")
    assert found.thumbnail_url == "https://mine.example/best.jpg"


def test_creator_is_the_fallback_for_the_uploader() -> None:
    assert info(creator="somebody").author.name == "somebody"


FIELD = st.sampled_from(["title", "description", "upload_date", "timestamp", "thumbnails", "x"])
JUNK = st.none() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2)


@given(st.dictionaries(FIELD, JUNK))
def test_any_dictionary_is_described(fields: dict[str, Any]) -> None:
    found = info(**fields)
    assert 0 < len(found.title) <= TITLE_CHARACTERS
    assert (found.platform, found.id, found.url) == (VIDEO.platform, VIDEO.id, VIDEO.url)
