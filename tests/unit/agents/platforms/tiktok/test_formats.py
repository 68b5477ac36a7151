from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.platforms.tiktok.formats import MAX_FORMATS, read_expiry, read_sources
from schemas.video import CONTAINERS, MediaSource, VideoFormat
from tests.unit.agents.platforms.tiktok.extractions import EXTRACTED_AT, TOKEN, raw_of

URL = "https://v16-webapp-prime.tiktok.com/video/tos/1/?expire=1771744800"


def format_of(**fields: Any) -> VideoFormat:
    (source,) = read_sources({"formats": [{"url": URL, "format_id": "x", **fields}]})
    return source.format


def ids(*raw: object) -> list[str]:
    rows = [{"url": URL, "format_id": each} for each in raw]
    return [source.format.format_id for source in read_sources({"formats": rows})]


def test_formats_of_a_regular_post_are_read() -> None:
    sources = read_sources(raw_of(), (TOKEN,))
    assert [source.format.format_id for source in sources] == [
        "h264_540p_480000-0",
        "h264_540p_480000-1",
        "h264_720p_800000-0",
        "h264_720p_800000-1",
        "h264_1080p_1600000-0",
        "h264_1080p_1600000-1",
        "bytevc1_720p_400000-0",
        "bytevc1_720p_400000-1",
        "bytevc1_1080p_900000-0",
        "bytevc1_1080p_900000-1",
        "bytevc2_720p_260000-0",
        "bytevc2_720p_260000-1",
        "play",
        "download",
        "audio",
    ]
    assert len({source.url for source in sources}) == len(sources)


def by_id(sources: tuple[MediaSource, ...]) -> dict[str, MediaSource]:
    return {source.format.format_id: source for source in sources}


@pytest.mark.parametrize(
    ("format_id", "expected"),
    [
        (
            "h264_540p_480000-0",
            {"video_codec": "h264", "width": 576, "height": 1024, "bits_per_second": 480_000},
        ),
        ("bytevc1_1080p_900000-1", {"video_codec": "h265", "width": 1080, "playable": True}),
        ("bytevc2_720p_260000-0", {"video_codec": "bytevc2", "playable": False}),
        ("play", {"video_codec": "h264", "width": 720, "height": 1280, "watermarked": False}),
        ("download", {"watermarked": True, "width": None, "playable": True}),
        (
            "audio",
            {"video_codec": None, "audio_codec": "aac", "container": "m4a", "width": None},
        ),
    ],
)
def test_format_has_its_fields(format_id: str, expected: dict[str, object]) -> None:
    found = by_id(read_sources(raw_of()))[format_id].format
    assert {name: getattr(found, name) for name in expected} == expected


def test_audio_codec_of_silent_formats_is_none() -> None:
    silent = [source.format for source in read_sources(raw_of("silent"))]
    assert silent
    assert {each.audio_codec for each in silent} == {None}


def test_size_comes_from_the_page() -> None:
    sizes = {source.format.bytes for source in read_sources(raw_of("size"))}
    assert 1 << 20 in sizes


@pytest.mark.parametrize(
    ("scenario", "present"),
    [("noformats", set()), ("watermarked", {"download"})],
)
def test_formats_of_other_posts_are_read(scenario: str, present: set[str]) -> None:
    assert set(by_id(read_sources(raw_of(scenario)))) == present


def test_source_has_its_headers_and_cookies() -> None:
    source = by_id(read_sources(raw_of(), (TOKEN,)))["play"]
    assert source.headers["Referer"].startswith("https://www.tiktok.com/@name/video/")
    assert source.cookies == (TOKEN,)


def test_only_known_valid_headers_are_kept() -> None:
    raw = {
        "referer": "https://www.tiktok.com/",
        "Origin": "https://www.tiktok.com\r\nHost: evil",
        "Accept": 1,
        "Accept-Language": "\u00e9",
        "Cookie": "a=b",
        "Authorization": "Bearer x",
        "Host": "evil.example",
        "Range": "bytes=0-",
    }
    (source,) = read_sources({"http_headers": raw, "formats": [{"url": URL}]})
    assert source.headers == {"Referer": "https://www.tiktok.com/"}


def test_format_headers_take_precedence_over_page_headers() -> None:
    row = {"url": URL, "http_headers": {"Referer": "https://b.example/"}}
    fields = {"http_headers": {"Referer": "https://a.example/"}, "formats": [row]}
    assert read_sources(fields)[0].headers == {"Referer": "https://b.example/"}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "a"], ["a-0", "a-1"]),
        (["a", "b", "a"], ["a-0", "b", "a-1"]),
        (["a-0", "a", "a"], ["a-0", "a-1", "a-2"]),
        ([None, "", 5], ["0", "1", "2"]),
        (["../../x", "a b/c"], ["______x", "a_b_c"]),
        (["a.b"], ["a_b"]),
        (["\u202e\u00e9"], ["_"]),
        (["x" * 100], ["x" * 60]),
    ],
)
def test_ids_are_unique_and_safe_for_file_names(raw: list[object], expected: list[str]) -> None:
    assert ids(*raw) == expected


@given(st.lists(st.one_of(st.text("a-01/", max_size=4), st.none()), max_size=12))
def test_ids_of_any_list_are_unique(raw: list[str | None]) -> None:
    found = ids(*raw)
    assert len(set(found)) == len(found) == len(raw)
    assert all(
        each.replace("-", "").replace("_", "").isalnum() or set(each) <= {"-", "_"}
        for each in found
    )


@pytest.mark.parametrize(
    "url",
    [None, "", 7, "http://a.example/", "file:///etc/passwd", "//a.example/x", "https://a b/", []],
)
def test_format_without_a_valid_url_is_dropped(url: object) -> None:
    rows = [{"url": url, "format_id": "bad"}, {"url": URL, "format_id": "good"}]
    assert [source.format.format_id for source in read_sources({"formats": rows})] == ["good"]


@pytest.mark.parametrize("formats", [None, {}, "abc", 7, [None, 1, "x", []]])
def test_missing_formats_give_no_sources(formats: object) -> None:
    assert read_sources({"formats": formats}) == ()
    assert read_sources({}) == ()


def test_number_of_formats_is_bounded() -> None:
    assert len(read_sources({"formats": [{"url": URL}] * 1_000})) == MAX_FORMATS


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        ({"vcodec": "bytevc1"}, "video_codec", "h265"),
        ({"vcodec": "H264"}, "video_codec", "h264"),
        ({"vcodec": "av01"}, "video_codec", "av01"),
        ({"vcodec": "none"}, "video_codec", None),
        ({"vcodec": 3}, "video_codec", None),
        ({}, "video_codec", None),
        ({"acodec": "none"}, "audio_codec", None),
        ({"acodec": "AAC"}, "audio_codec", "aac"),
        ({"ext": "MP4"}, "container", "mp4"),
        ({"ext": "../sh"}, "container", "mp4"),
        ({"ext": None}, "container", "mp4"),
        ({"ext": "m4a"}, "container", "m4a"),
        ({"ext": "html"}, "container", "mp4"),
        ({"ext": "SVG"}, "container", "mp4"),
        ({"ext": "js"}, "container", "mp4"),
        ({"ext": 7}, "container", "mp4"),
        ({"vcodec": "h264", "width": 720}, "width", 720),
        ({"vcodec": "h264", "width": 0}, "width", None),
        ({"vcodec": "h264", "width": "720"}, "width", None),
        ({"vcodec": "none", "width": 720}, "width", None),
        ({"tbr": 800.5}, "bits_per_second", 800_500),
        ({"tbr": 0}, "bits_per_second", None),
        ({"tbr": -1}, "bits_per_second", None),
        ({"tbr": 1e300}, "bits_per_second", None),
        ({"tbr": "800"}, "bits_per_second", None),
        ({"filesize": 10}, "bytes", 10),
        ({"filesize": 0}, "bytes", None),
        ({"filesize": 2**70}, "bytes", None),
        ({"format_note": "watermarked"}, "watermarked", True),
        ({"format_note": "Download video, watermarked"}, "watermarked", True),
        ({"format_note": 1}, "watermarked", False),
        ({"format_note": "UNPLAYABLE"}, "playable", False),
        ({"vcodec": "bytevc2"}, "playable", False),
        ({}, "playable", True),
    ],
)
def test_field_of_a_format_is_normalized(
    fields: dict[str, object], name: str, expected: object
) -> None:
    assert getattr(format_of(**fields), name) == expected


def source_of(url: str) -> MediaSource:
    return MediaSource(format=VideoFormat(format_id="x", container="mp4"), url=url)


EXPIRIES = {
    "parameter": ("https://a.example/x?a=1&expire=1771744800&b", 1_771_744_800.0),
    "parameter of pictures": ("https://a.example/x?x-expires=1771744800", 1_771_744_800.0),
    "path": (f"https://v16.tiktokcdn.com/{'0a' * 16}/65d4a1b0/video/tos/x/", float(0x65D4A1B0)),
    "parameter before path": (
        f"https://a.example/{'0a' * 16}/65d4a1b0/?expire=1771744800",
        1_771_744_800.0,
    ),
    "nothing": ("https://a.example/x", None),
    "word": ("https://a.example/x?expire=soon", None),
    "short": ("https://a.example/x?expire=300", None),
    "milliseconds": ("https://a.example/x?expire=1771744800000", None),
    "other digits": (
        "https://a.example/x?expire=%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1",
        None,
    ),
    "short hash in the path": ("https://a.example/0a0a/65d4a1b0/x", None),
}


@pytest.mark.parametrize(("url", "expiry"), EXPIRIES.values(), ids=EXPIRIES.keys())
def test_expiry_is_read_from_the_url(url: str, expiry: float | None) -> None:
    assert read_expiry([source_of(url)]) == expiry


def test_earliest_expiry_is_returned() -> None:
    urls = [f"https://a.example/?expire={second}" for second in (1_771_744_900, 1_771_744_800)]
    assert read_expiry([source_of("https://a.example/"), *map(source_of, urls)]) == 1_771_744_800
    assert read_expiry([]) is None


def test_links_of_the_site_expire_after_two_days() -> None:
    assert read_expiry(read_sources(raw_of())) == EXTRACTED_AT.timestamp() + 48 * 3600


JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
RAW = raw_of()


@given(st.sampled_from(RAW["formats"]), st.data(), JUNK)
def test_any_value_of_a_field_is_read(
    row: dict[str, Any], data: st.DataObject, junk: object
) -> None:
    name = data.draw(st.sampled_from(sorted(row)))
    for source in read_sources({"formats": [{**row, name: junk}]}):
        assert source.url.startswith("https://")
        assert source.format.container in CONTAINERS
        assert source.format.bytes is None or source.format.bytes > 0
