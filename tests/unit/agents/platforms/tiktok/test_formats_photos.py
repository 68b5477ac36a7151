from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.platforms.tiktok.formats import (
    MAX_PICTURES,
    read_expiry,
    read_pictures,
    read_sources,
)
from agents.platforms.tiktok.handler import TikTok
from schemas.video import CONTAINERS, MediaSource, VideoFormat
from tests.unit.agents.platforms.tiktok.extractions import EXTRACTED_AT, TOKEN, raw_of, video_of

read_info = TikTok().read_info

HOST = "https://p16-sign-va.tiktokcdn.com"
OTHER_HOST = "https://p19-sign-va.tiktokcdn.com"
URL = f"{HOST}/obj/1~tplv-photomode-image.jpeg?x-expires=1771744800"


def pictures_of(*rows: object) -> list[MediaSource]:
    return read_pictures({"images": list(rows)})


def picture(**fields: Any) -> VideoFormat:
    (found,) = pictures_of({"urls": [URL], **fields})
    return found.format


def test_pictures_have_a_source_per_host_followed_by_the_music() -> None:
    formats = [source.format for source in read_sources(raw_of("photo"))]
    assert [each.format_id for each in formats] == [
        *("image-01", "image-01-2", "image-02", "image-02-2", "image-03", "image-03-2"),
        "audio",
    ]
    assert [each.picture for each in formats] == [1, 1, 2, 2, 3, 3, None]
    assert formats[0] == VideoFormat(
        format_id="image-01", container="jpeg", width=1080, height=1440, picture=1
    )


def test_picture_source_has_its_headers_and_cookies() -> None:
    first, second, *_ = read_sources(raw_of("photo"), (TOKEN,))
    assert first.url.startswith(f"{HOST}/")
    assert second.url.startswith(f"{OTHER_HOST}/")
    assert first.headers["Referer"].startswith("https://www.tiktok.com/@name/video/")
    assert first.cookies == (TOKEN,)


def test_picture_links_have_an_expiry() -> None:
    assert read_expiry(read_sources(raw_of("photo.mute"))) == EXTRACTED_AT.timestamp() + 48 * 3600


def test_photo_post_has_photos_content() -> None:
    raw = raw_of("photo")
    formats = tuple(source.format for source in read_sources(raw))
    info = read_info(raw, video_of("photo"), formats)
    assert info.content == "photos"
    assert info.thumbnail_url is not None
    assert info.thumbnail_url.startswith(f"{HOST}/")
    assert read_info(raw_of(), video_of(), ()).content == "video"


@pytest.mark.parametrize(
    ("scenario", "ids"),
    [
        ("photo.mute", {"image-01", "image-01-2", "image-02", "image-02-2", "image-03-2"}),
        ("slideshow", {"image-01", "h264_720p_800000-0", "play", "audio"}),
    ],
)
def test_formats_of_other_photo_posts_are_read(scenario: str, ids: set[str]) -> None:
    assert ids <= {source.format.format_id for source in read_sources(raw_of(scenario))}


def test_picture_without_a_url_is_reported_missing() -> None:
    raw = raw_of("photo.gap")
    formats = tuple(source.format for source in read_sources(raw))
    info = read_info(raw, video_of("photo.gap"), formats)
    assert [each.picture for each in formats] == [1, 1, 3, 3]
    assert (info.content, info.missing_pictures) == ("photos", (2,))


def test_post_with_all_pictures_missing_is_a_photo_post() -> None:
    info = read_info({"images": [{"urls": []}] * 2}, video_of("photo.gap"), ())
    assert (info.content, info.missing_pictures) == ("photos", (1, 2))


def test_live_photo_has_a_picture_and_a_motion_format() -> None:
    sources = read_sources(raw_of("photo.live"), (TOKEN,))
    firsts = [each.format for each in sources if not each.format.format_id.endswith("-2")]
    assert [(each.format_id, each.picture, each.motion) for each in firsts] == [
        *(("image-01", 1, False), ("image-02", 2, False), ("motion-02", 2, True))
    ]
    assert (firsts[-1].container, firsts[-1].video_codec) == ("mp4", "h264")
    assert sources[-1].cookies == (TOKEN,)


def test_song_has_its_own_duration() -> None:
    *_, song = read_sources(raw_of("photo"))
    assert (song.format.format_id, song.format.duration_seconds) == ("audio", 10.0)


def test_thumbnail_is_no_motion_file() -> None:
    row = {"urls": [], "motion": ["https://v16.tiktokcdn.com/a.mp4"]}
    info = read_info({"images": [row, {"urls": [URL]}]}, video_of("photo"), ())
    assert info.thumbnail_url == URL


@pytest.mark.parametrize("count", [1, 35, MAX_PICTURES])
def test_all_pictures_of_a_post_are_read(count: int) -> None:
    sources = read_sources(raw_of("photo", count))
    firsts = [each.format for each in sources if not each.format.format_id.endswith("-2")]
    assert [each.picture for each in firsts[:-1]] == list(range(1, count + 1))
    assert len({source.format.format_id for source in sources}) == 2 * count + 1


def test_number_of_pictures_is_bounded() -> None:
    found = pictures_of(*[{"urls": [URL]}] * 1_000)
    assert [each.format.picture for each in found] == list(range(1, MAX_PICTURES + 1))
    assert found[-1].format.format_id == "image-100"


@pytest.mark.parametrize(
    ("path", "container"),
    [
        ("/1~tplv-photomode-image.jpeg", "jpeg"),
        ("/1~tplv-photomode-image-v1:q70.JPG", "jpeg"),
        ("/1.webp", "webp"),
        ("/1.heic", "heic"),
        ("/1.avif", "avif"),
        ("/1.png", "png"),
        ("/1.sh", "jpeg"),
        ("/1", "jpeg"),
        ("/1.png/2", "jpeg"),
        ("/1.jpeg.exe", "jpeg"),
        ("/1~tplv.webp?x=.png", "webp"),
    ],
)
def test_container_is_read_from_the_url(path: str, container: str) -> None:
    assert picture(urls=[HOST + path]).container == container


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ([URL], [URL]),
        ([f"{HOST}/a", f"{HOST}/b"], [f"{HOST}/a"]),
        ([f"{HOST}/a", f"{OTHER_HOST}/b"], [f"{HOST}/a", f"{OTHER_HOST}/b"]),
        (
            [f"{HOST}/a", f"{OTHER_HOST}/b", "https://p77.tiktokcdn.com/c"],
            [f"{HOST}/a", f"{OTHER_HOST}/b"],
        ),
        (["http://a.example/", "file:///etc/passwd", None, 7, [], f"{HOST}/a"], [f"{HOST}/a"]),
        ([], []),
        (None, []),
        (URL, []),
        ({"0": URL}, []),
    ],
    ids=["one", "same host", "two hosts", "three hosts", "junk", "none", "null", "text", "object"],
)
def test_first_url_of_each_host_is_used(urls: object, expected: list[str]) -> None:
    assert [each.url for each in pictures_of({"urls": urls})] == expected


@pytest.mark.parametrize("side", [None, 0, -1, "1080", 1.5e400, True, [], 2**70])
def test_invalid_side_is_none(side: object) -> None:
    assert picture(width=side, height=1440).width is None
    assert picture(width=1080, height=side).height is None


@pytest.mark.parametrize("images", [None, {}, "abc", 7, [], [None, 1, "x", []]])
def test_missing_images_give_no_pictures(images: object) -> None:
    assert read_pictures({"images": images}) == []
    assert read_pictures({}) == []


def test_format_ids_of_the_page_do_not_collide_with_pictures() -> None:
    fields = {
        "images": [{"urls": [URL]}],
        "formats": [{"url": URL, "format_id": "image-01"}, {"url": URL, "format_id": "image-01-0"}],
    }
    ids = [source.format.format_id for source in read_sources(fields)]
    assert len(set(ids)) == 3


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(URL),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)


@given(
    st.lists(
        st.fixed_dictionaries({"urls": JUNK, "width": JUNK, "height": JUNK, "motion": JUNK}) | JUNK
    )
)
def test_any_images_are_read(images: list[object]) -> None:
    for found in read_pictures({"images": images}):
        assert found.url.startswith("https://")
        assert found.format.picture is not None
        assert found.format.container in CONTAINERS
        assert found.format.motion or found.format.video_codec is None
        assert found.format.audio_codec is None
