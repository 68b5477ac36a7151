"""The files of any extractor's dictionary. What every field may be is in `test_fields`."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.platforms.fields import MAX_URL_CHARACTERS
from agents.platforms.formats import MAX_FORMATS, SOUND_ONLY, no_files, read_sources, unique
from schemas.containers import CONTAINERS
from schemas.errors import ErrorCode
from schemas.video import Cookie, VideoFormat, VideoRef

VIDEO = VideoRef(platform="mine", id="a1", url="https://mine.example/a1")
URL = "https://cdn.mine.example/a.mp4"
COOKIE = Cookie(name="a", value="b", domain=".mine.example")


def row(**fields: Any) -> dict[str, Any]:
    return {"format_id": "f", "url": URL, **fields}


def format_of(**fields: Any) -> VideoFormat:
    (source,) = read_sources({"formats": [row(**fields)]})
    return source.format


def test_a_format_with_everything() -> None:
    told = {
        "ext": "webm",
        "vcodec": "vp09.00.50.08",
        "acodec": "opus",
        "width": 640,
        "height": 360,
        "tbr": 500.5,
        "filesize": 1234,
        "format_note": "with Watermark",
    }
    assert format_of(**told) == VideoFormat(
        format_id="f",
        container="webm",
        video_codec="vp9",
        audio_codec="opus",
        width=640,
        height=360,
        bits_per_second=500_500,
        bytes=1234,
        watermarked=True,
    )


def test_a_format_with_nothing_is_a_video_of_unknown_codecs() -> None:
    assert format_of() == VideoFormat(
        format_id="f", container="mp4", video_codec="unknown", audio_codec="unknown"
    )


def test_a_single_file_stands_in_the_dictionary_itself() -> None:
    (source,) = read_sources({"id": "1", "title": "x", "url": URL, "formats": None}, (COOKIE,))
    assert (source.url, source.format.format_id, source.cookies) == (URL, "0", (COOKIE,))


@pytest.mark.parametrize(
    ("told", "codec"),
    [
        ("avc1.64001f", "h264"),
        ("H264", "h264"),
        ("hev1.1.6.L93", "h265"),
        ("hvc1", "h265"),
        ("vp9", "vp9"),
        ("vp8", "vp8"),
        ("av01.0.05M.08", "av1"),
        ("theora", "theora"),
        ("none", None),
        (None, "unknown"),
        ("", "unknown"),
        (7, "unknown"),
    ],
)
def test_codecs_have_one_name(told: object, codec: str | None) -> None:
    assert format_of(vcodec=told).video_codec == codec


@pytest.mark.parametrize(
    ("url", "told", "container"),
    [
        (URL, None, "mp4"),
        ("https://cdn.mine.example/a.WEBM?x=1.mov", None, "webm"),
        ("https://cdn.mine.example/a", None, "mp4"),
        ("https://cdn.mine.example/a.reallylong", None, "mp4"),
        ("https://cdn.mine.example/a.mp4", "mov", "mov"),
        ("https://cdn.mine.example/a", "../x", "mp4"),
        ("https://cdn.mine.example/a.mp4", "html", "mp4"),
        ("https://cdn.mine.example/a.webm", "SVG", "mp4"),
        ("https://cdn.mine.example/a.html", None, "mp4"),
        ("https://cdn.mine.example/a.svg?x=.mp4", None, "mp4"),
        ("https://cdn.mine.example/a.XHTML", "", "mp4"),
        ("https://cdn.mine.example/a", "js", "mp4"),
    ],
)
def test_the_container(url: str, told: str | None, container: str) -> None:
    assert format_of(url=url, ext=told).container == container


def test_what_has_sound_only_is_a_container() -> None:
    assert SOUND_ONLY < CONTAINERS


@pytest.mark.parametrize("ext", ["mp3", "m4a", "ogg", "opus"])
def test_sound_has_no_picture(ext: str) -> None:
    found = format_of(url=f"https://cdn.mine.example/a.{ext}", width=1, height=1)
    assert (found.video_codec, found.audio_codec, found.smaller_side) == (None, "unknown", 0)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({"tbr": 100, "vbr": 50}, 100_000),
        ({"vbr": 50, "abr": 8}, 58_000),
        ({"tbr": 0}, None),
        ({"tbr": -1}, None),
        ({"tbr": 1e30}, None),
        ({"tbr": "100"}, None),
        ({}, None),
    ],
)
def test_the_bitrate(rates: dict[str, Any], expected: int | None) -> None:
    assert format_of(**rates).bits_per_second == expected


@pytest.mark.parametrize(
    ("told", "url"),
    [
        ("http://cdn.mine.example/http://x.mp4", "https://cdn.mine.example/http://x.mp4"),
        (" https://cdn.mine.example/a b.mp4\n", "https://cdn.mine.example/a%20b.mp4"),
        ("https://cdn.mine.example/ä.mp4", "https://cdn.mine.example/%C3%A4.mp4"),
        (
            "https://cdn.mine.example/%C3%A4?a=b+c&d=[1]",
            "https://cdn.mine.example/%C3%A4?a=b+c&d=[1]",
        ),
        ("https://cdn.mine.example/a\r\nb", "https://cdn.mine.example/a%0D%0Ab"),
    ],
)
def test_addresses_can_be_sent_as_they_are(told: str, url: str) -> None:
    (source,) = read_sources({"url": told})
    assert source.url == url


def test_an_endless_address_is_none() -> None:
    assert read_sources({"url": f"{URL}?{'x' * MAX_URL_CHARACTERS}"}) == ()


NOT_FETCHED = {
    "HLS": row(protocol="m3u8_native"),
    "DASH": row(protocol="http_dash_segments"),
    "HLS by its address": row(url="https://cdn.mine.example/a.m3u8?t=1"),
    "DASH by its address": row(url="https://cdn.mine.example/a.MPD"),
    "Smooth Streaming": row(url="https://cdn.mine.example/a.ism/manifest"),
    "pieces": row(fragments=[{"url": "https://cdn.mine.example/1"}]),
    "rtmp": row(protocol="rtmp", url="rtmp://cdn.mine.example/a"),
}


@pytest.mark.parametrize("told", NOT_FETCHED.values(), ids=NOT_FETCHED.keys())
def test_streams_are_left_out_and_the_reason_is_told(told: dict[str, Any]) -> None:
    assert read_sources({"formats": [told]}) == ()
    error = no_files({"formats": [told]}, VIDEO, "Mine")
    assert error.code is ErrorCode.CONTENT_NO_FORMATS
    assert "Mine video a1: it is offered as a stream (HLS or DASH)" in error.message


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "its page offers no file"),
        ({"formats": "x"}, "its page offers no file"),
        ({"formats": [row(has_drm=True)]}, "DRM"),
        ({"formats": [row(url="ftp://cdn.mine.example/a")]}, "no address that can be fetched"),
        ({"formats": [row(url="https://[")]}, "no address that can be fetched"),
        ({"formats": [row(url=None)]}, "no address that can be fetched"),
        ({"formats": [row(has_drm=True), row(protocol="m3u8")]}, "fetched; it is protected by DRM"),
    ],
)
def test_why_there_is_no_file(fields: dict[str, Any], said: str) -> None:
    assert read_sources(fields) == ()
    assert said in no_files(fields, VIDEO, "Mine").message


def test_files_beside_streams_are_taken() -> None:
    sources = read_sources({"formats": [NOT_FETCHED["HLS"], row(format_id="plain")]})
    assert [source.format.format_id for source in sources] == ["plain"]


def test_headers_of_the_format_win_and_only_some_are_taken() -> None:
    general = {"referer": "https://mine.example/", "Cookie": "secret", "User-Agent": "x"}
    own = {"User-Agent": "y", "Accept": "bad\nvalue", "Origin": ""}
    (source,) = read_sources({"http_headers": general, "formats": [row(http_headers=own)]})
    assert source.headers == {"Referer": "https://mine.example/", "User-Agent": "y"}


def test_names_are_safe_and_apart() -> None:
    told = ["a/../b", "a____b", "", None, "a/../b"]
    sources = read_sources({"formats": [row(format_id=name) for name in told]})
    ids = [source.format.format_id for source in sources]
    assert ids == ["a____b-0", "a____b-1", "2", "3", "a____b-2"]


@given(st.lists(st.sampled_from(["a", "a-0", "a-1", "b"]), max_size=12))
def test_no_two_files_have_one_name(ids: list[str]) -> None:
    made = unique(ids)
    assert len(set(made)) == len(ids)
    assert all(new.startswith(old) for old, new in zip(ids, made, strict=True))


def test_no_more_are_read_than_there_can_be() -> None:
    assert len(read_sources({"formats": [row()] * (MAX_FORMATS + 9)})) == MAX_FORMATS


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        *("url", "ext", "protocol", "format_id", "vcodec", "acodec", "tbr", "filesize"),
        *("width", "http_headers", "fragments", "has_drm", "format_note"),
    ]
)


@given(st.lists(st.dictionaries(NAMES, JUNK | st.just(URL)), max_size=4), JUNK)
def test_nothing_that_an_extractor_says_breaks_it(formats: list[Any], url: Any) -> None:
    fields = {"formats": formats, "url": url}
    for source in read_sources(fields):
        assert source.url.startswith("https://")
    assert no_files(fields, VIDEO, "Mine").code is ErrorCode.CONTENT_NO_FORMATS
