from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.platforms.tiktok.handler import TikTok
from schemas.video import Author, Statistics, VideoFormat, VideoInfo, VideoRef
from tests.unit.agents.platforms.tiktok.extractions import raw_of, video_of

read_info = TikTok().read_info

VIDEO = VideoRef(
    platform="tiktok",
    id="7608826249200356630",
    url="https://www.tiktok.com/@name/video/7608826249200356630",
)
FORMAT = VideoFormat(format_id="play", container="mp4")


def read(**fields: Any) -> VideoInfo:
    return read_info(fields, VIDEO, ())


def test_regular_post_is_described() -> None:
    video = video_of()
    info = read_info(raw_of(), video, (FORMAT,))
    assert (info.platform, info.content) == ("tiktok", "video")
    assert (info.id, info.url) == (video.id, video.url)
    assert info.title == info.description == "a clip #fyp #clipmill"
    assert info.author.name == "name"
    assert info.author.display_name == "Name"
    assert info.author.url == "https://www.tiktok.com/@name"
    assert info.author.id is not None
    assert info.author.id.isdecimal()
    assert info.statistics == Statistics(views=1097, likes=11, comments=2, reposts=1, saves=3)
    assert info.published_at == datetime.fromtimestamp(int(video.id) >> 32, UTC)
    assert info.duration_seconds == 10
    assert info.thumbnail_url is not None
    assert info.thumbnail_url.startswith("https://p16-sign-va.tiktokcdn.com/")
    assert info.formats == (FORMAT,)


def test_photo_post_has_the_duration_of_its_music() -> None:
    assert read_info(raw_of("photo"), video_of("photo"), ()).duration_seconds == 10


def test_hostile_texts_lose_control_characters_only() -> None:
    info = read_info(raw_of("hostile"), video_of("hostile"), ())
    assert info.description is not None
    assert not {"\x00", "\x1b", "\u202e"} & set(info.description + info.title)
    assert "</script>" in info.description
    assert info.author.name == ".."
    assert info.author.url is None


def test_empty_dictionary_has_defaults() -> None:
    expected = VideoInfo(
        platform="tiktok", id=VIDEO.id, url=VIDEO.url, title=f"TikTok video {VIDEO.id}"
    )
    assert read() == expected


def test_identity_fields_of_the_page_are_ignored() -> None:
    info = read(id="1", webpage_url="https://evil.example/", extractor="evil")
    assert (info.id, info.url, info.platform) == (VIDEO.id, VIDEO.url, "tiktok")


@pytest.mark.parametrize(
    ("raw", "title"),
    [
        ("cats", "cats"),
        ("  cats\n and\tdogs ", "cats and dogs"),
        ("\u202e\x00", f"TikTok video {VIDEO.id}"),
        ("x" * 1_000, "x" * 200),
        (None, f"TikTok video {VIDEO.id}"),
        (7, f"TikTok video {VIDEO.id}"),
    ],
)
def test_title_is_cleaned_and_bounded(raw: object, title: str) -> None:
    assert read(title=raw).title == title


def test_description_is_bounded() -> None:
    assert len(read(description="x" * 100_000).description or "") == 10_000


PICTURE = "https://p16.tiktokcdn.com/"


@pytest.mark.parametrize(
    ("thumbnails", "url"),
    [
        ([{"url": PICTURE + "a", "preference": -2}, {"url": PICTURE + "b", "preference": -1}], "b"),
        ([{"url": PICTURE + "a", "preference": -1}, {"url": PICTURE + "b", "preference": -1}], "a"),
        ([{"url": PICTURE + "a"}, {"url": "http://x/", "preference": 9}], "a"),
        ([{"url": PICTURE + "a", "preference": "9"}, {"preference": 3}, None, 7], "a"),
        ([], None),
        (None, None),
        ("abc", None),
    ],
)
def test_best_thumbnail_is_used(thumbnails: object, url: str | None) -> None:
    found = read(thumbnails=thumbnails).thumbnail_url
    assert found == (PICTURE + url if url else None)


def test_single_thumbnail_is_the_fallback() -> None:
    assert read(thumbnail=PICTURE).thumbnail_url == PICTURE


@pytest.mark.parametrize("junk", [None, True, "12", [], {}, -1, 1e400, 2**70])
def test_junk_in_every_field_is_dropped(junk: object) -> None:
    names = (
        "uploader uploader_id channel view_count like_count comment_count repost_count save_count"
        " timestamp duration thumbnails thumbnail"
    )
    info = read(**dict.fromkeys(names.split(), junk))
    texts = "12" if junk == "12" else None
    url = "https://www.tiktok.com/@12" if texts else None
    assert info.author == Author(id=texts, name=texts, display_name=texts, url=url)
    assert info.statistics == Statistics()
    assert info.published_at is None
    assert info.duration_seconds is None
    assert info.thumbnail_url is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)
RAW = raw_of()


@given(st.dictionaries(st.sampled_from(sorted(RAW)), JSON, max_size=6))
def test_any_description_round_trips_through_json(changes: dict[str, Any]) -> None:
    info = read_info({**RAW, **changes}, VIDEO, ())
    assert msgspec.json.decode(msgspec.json.encode(info), type=VideoInfo) == info
