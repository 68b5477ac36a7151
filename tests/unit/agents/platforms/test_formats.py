"""Media sources of any extractor's dictionary; single fields are in `test_fields`."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.platforms.fields import MAX_URL_CHARACTERS
from agents.platforms.formats import (
    AUDIO_EXTENSIONS,
    MAX_FORMATS,
    no_formats_error,
    read_expiry,
    read_sources,
    unique_ids,
)
from schemas.errors import ErrorCode
from schemas.video import CONTAINERS, Cookie, MediaSource, VideoFormat, VideoRef

VIDEO = VideoRef(platform="mine", id="a1", url="https://mine.example/a1")
URL = "https://cdn.mine.example/a.mp4"
COOKIE = Cookie(name="a", value="b", domain=".mine.example")


def entry(**fields: Any) -> dict[str, Any]:
    return {"format_id": "f", "url": URL, **fields}


def format_of(**fields: Any) -> VideoFormat:
    (source,) = read_sources({"formats": [entry(**fields)]})
    return source.format


def test_format_with_all_fields_is_read() -> None:
    raw = {
        "ext": "webm",
        "vcodec": "vp09.00.50.08",
        "acodec": "opus",
        "width": 640,
        "height": 360,
        "tbr": 500.5,
        "filesize": 1234,
        "format_note": "with Watermark",
    }
    assert format_of(**raw) == VideoFormat(
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


def test_format_without_fields_is_a_video_of_unknown_codecs() -> None:
    assert format_of() == VideoFormat(
        format_id="f", container="mp4", video_codec="unknown", audio_codec="unknown"
    )


def test_single_file_is_read_from_the_dictionary_itself() -> None:
    (source,) = read_sources({"id": "1", "title": "x", "url": URL, "formats": None}, (COOKIE,))
    assert (source.url, source.format.format_id, source.cookies) == (URL, "0", (COOKIE,))


@pytest.mark.parametrize(
    ("raw", "preference"),
    [
        ({"source_preference": -2}, -2),
        ({"language_preference": 10, "source_preference": -2}, 10),
        ({"language_preference": float("nan")}, 0),
        ({"language_preference": -(10**30)}, -100),
        ({"language_preference": "x", "source_preference": True}, 0),
    ],
)
def test_preference_of_sound_is_read(raw: dict[str, Any], preference: int) -> None:
    assert format_of(vcodec="none", **raw).preference == preference
    assert format_of(**raw).preference == 0


@pytest.mark.parametrize(
    ("raw", "codec"),
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
def test_codec_names_are_normalized(raw: object, codec: str | None) -> None:
    assert format_of(vcodec=raw).video_codec == codec


@pytest.mark.parametrize(
    ("url", "raw", "container"),
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
def test_container_is_read_from_the_extension_or_url(
    url: str, raw: str | None, container: str
) -> None:
    assert format_of(url=url, ext=raw).container == container


def test_audio_extensions_are_containers() -> None:
    assert AUDIO_EXTENSIONS < CONTAINERS


@pytest.mark.parametrize("ext", ["mp3", "m4a", "ogg", "opus"])
def test_audio_format_has_no_video_codec_or_size(ext: str) -> None:
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
def test_bitrate_is_read_from_the_rates(rates: dict[str, Any], expected: int | None) -> None:
    assert format_of(**rates).bits_per_second == expected


@pytest.mark.parametrize(
    ("raw", "url"),
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
def test_urls_are_encoded_for_sending(raw: str, url: str) -> None:
    (source,) = read_sources({"url": raw})
    assert source.url == url


def test_oversized_url_is_dropped() -> None:
    assert read_sources({"url": f"{URL}?{'x' * MAX_URL_CHARACTERS}"}) == ()


MASTER = "https://cdn.mine.example/master.m3u8"
MPD = "https://cdn.mine.example/a.mpd"

STREAMS: dict[str, tuple[dict[str, Any], tuple[str, str, str | None]]] = {
    "HLS": (
        entry(protocol="m3u8_native", url=MASTER, manifest_url=f"{MASTER}?master"),
        ("hls", MASTER, None),
    ),
    "HLS for ffmpeg": (entry(protocol="m3u8", url=MASTER), ("hls", MASTER, None)),
    "HLS by its URL": (entry(url=f"{MASTER}?t=1"), ("hls", f"{MASTER}?t=1", None)),
    "HLS of a plain link": (
        entry(protocol="m3u8_native", url="http://cdn.mine.example/master.m3u8"),
        ("hls", MASTER, None),
    ),
    "DASH": (
        entry(
            protocol="http_dash_segments", manifest_url=MPD, fragments=True, format_id="dash-v/1"
        ),
        ("dash", MPD, "dash-v/1"),
    ),
}


@pytest.mark.parametrize(("raw", "expected"), STREAMS.values(), ids=STREAMS.keys())
def test_streams_are_read_with_their_manifest(
    raw: dict[str, Any], expected: tuple[str, str, str | None]
) -> None:
    (source,) = read_sources({"formats": [raw]})
    assert (source.format.protocol, source.url, source.representation) == expected


NOT_FETCHED = {
    "Smooth Streaming": (entry(url="https://cdn.mine.example/a.ism/manifest"), "only HLS and DASH"),
    "HDS": (entry(url="https://cdn.mine.example/a.f4m"), "only HLS and DASH"),
    "rtmp": (entry(protocol="rtmp", url="rtmp://cdn.mine.example/a"), "only HLS and DASH"),
    "storyboard": (entry(protocol="mhtml", fragments=True), "only HLS and DASH"),
    "fragments": (entry(fragments=[{"url": "https://cdn.mine.example/1"}]), "without a manifest"),
    "DASH by its URL": (entry(url="https://cdn.mine.example/a.MPD"), "not read by the extractor"),
    "DASH without a manifest": (entry(protocol="http_dash_segments"), "not read by the extractor"),
    "HLS in a data URL": (
        entry(protocol="m3u8_native", url="data:application/x-mpegurl;base64,AAAA"),
        "no address",
    ),
}


@pytest.mark.parametrize(("raw", "reason"), NOT_FETCHED.values(), ids=NOT_FETCHED.keys())
def test_other_streams_are_dropped_with_a_reason(raw: dict[str, Any], reason: str) -> None:
    assert read_sources({"formats": [raw]}) == ()
    error = no_formats_error({"formats": [raw]}, VIDEO, "Mine")
    assert error.code is ErrorCode.CONTENT_NO_FORMATS
    assert reason in error.message


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "its page has no file"),
        ({"formats": "x"}, "its page has no file"),
        ({"formats": [entry(has_drm=True)]}, "DRM"),
        ({"formats": [entry(url="ftp://cdn.mine.example/a")]}, "no address that can be fetched"),
        ({"formats": [entry(url="https://[")]}, "no address that can be fetched"),
        ({"formats": [entry(url=None)]}, "no address that can be fetched"),
        (
            {"formats": [entry(has_drm=True), entry(protocol="rtmp")]},
            "fetched; it is protected by DRM",
        ),
    ],
)
def test_no_formats_error_has_the_reason(fields: dict[str, Any], reason: str) -> None:
    assert read_sources(fields) == ()
    assert reason in no_formats_error(fields, VIDEO, "Mine").message


def test_files_beside_other_streams_are_kept() -> None:
    sources = read_sources({"formats": [NOT_FETCHED["rtmp"][0], entry(format_id="plain")]})
    assert [source.format.format_id for source in sources] == ["plain"]


def test_format_headers_take_precedence_and_are_filtered() -> None:
    general = {"referer": "https://mine.example/", "Cookie": "secret", "User-Agent": "x"}
    own = {"User-Agent": "y", "Accept": "bad\nvalue", "Origin": ""}
    (source,) = read_sources({"http_headers": general, "formats": [entry(http_headers=own)]})
    assert source.headers == {"Referer": "https://mine.example/", "User-Agent": "y"}


def test_format_ids_are_safe_and_unique() -> None:
    raw = ["a/../b", "a____b", "", None, "a/../b"]
    sources = read_sources({"formats": [entry(format_id=name) for name in raw]})
    ids = [source.format.format_id for source in sources]
    assert ids == ["a____b-0", "a____b-1", "2", "3", "a____b-2"]


@given(st.lists(st.sampled_from(["a", "a-0", "a-1", "b"]), max_size=12))
def test_unique_ids_are_unique(ids: list[str]) -> None:
    made = unique_ids(ids)
    assert len(set(made)) == len(ids)
    assert all(new.startswith(old) for old, new in zip(ids, made, strict=True))


def test_number_of_formats_is_bounded() -> None:
    assert len(read_sources({"formats": [entry()] * (MAX_FORMATS + 9)})) == MAX_FORMATS


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        *("url", "ext", "protocol", "format_id", "vcodec", "acodec", "tbr", "filesize"),
        *("width", "http_headers", "fragments", "has_drm", "format_note", "manifest_url"),
    ]
)


@given(st.lists(st.dictionaries(NAMES, JUNK | st.just(URL)), max_size=4), JUNK)
def test_any_extractor_output_is_read(formats: list[Any], url: Any) -> None:
    fields = {"formats": formats, "url": url}
    for source in read_sources(fields):
        assert source.url.startswith("https://")
    assert no_formats_error(fields, VIDEO, "Mine").code is ErrorCode.CONTENT_NO_FORMATS


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
