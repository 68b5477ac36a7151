import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.platforms.expiry import read_expiry
from schemas.video import MediaSource, VideoFormat

FILE_URL = "https://cdn.mine.example/a.mp4"
NOON = 1_767_268_800  # 2026-01-01T12:00:00Z


def source(url: str) -> MediaSource:
    return MediaSource(format=VideoFormat(format_id="a", container="mp4"), url=url)


@pytest.mark.parametrize(
    ("query", "expiry"),
    [
        ("expire=1800000000", 1_800_000_000),
        ("Expires=1800000000&Signature=x", 1_800_000_000),
        ("a=1&x-expires=1800000000", 1_800_000_000),
        ("X-Amz-Date=20260101T120000Z&X-Amz-Expires=3600", NOON + 3600),
        ("X-Goog-Date=20260101T120000Z&X-Goog-Expires=60", NOON + 60),
        ("X-Amz-Date=20260101T120000Z&X-Amz-Expires=604801", None),
        ("X-Amz-Date=20260101T120000Z&X-Amz-Expires=-1", None),
        ("X-Amz-Date=20261301T120000Z&X-Amz-Expires=60", None),
        ("X-Amz-Expires=3600", None),
        ("expires=3600", None),
        ("expires=soon", None),
        ("", None),
    ],
)
def test_expiry_is_read_from_the_query(query: str, expiry: float | None) -> None:
    assert read_expiry([source(f"{FILE_URL}?{query}")]) == expiry


def test_earliest_expiry_is_returned() -> None:
    links = [f"{FILE_URL}?expires=18000000{number:02}" for number in (7, 3, 5)]
    assert read_expiry([source(FILE_URL), *map(source, links)]) == 1_800_000_003


def test_no_sources_have_no_expiry() -> None:
    assert read_expiry([]) is None


@given(st.text(st.characters(codec="ascii"), max_size=60))
def test_any_query_is_read(query: str) -> None:
    assert (read_expiry([source(f"{FILE_URL}?{query}")]) or 0) >= 0
