from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.engine.subtitles import with_bounded_subtitles
from agents.platforms.subtitles import read_subtitles, tracks_of
from schemas.codec import decode, encode
from schemas.subtitles import SubtitleSource
from schemas.video import EngineVersions, Extraction

URL = "https://a.example/1.vtt"


def extraction(**fields: Any) -> Extraction:
    return Extraction(
        raw=msgspec.Raw(msgspec.json.encode(fields)),
        engine=EngineVersions(yt_dlp="1", curl_cffi="2"),
        extracted_at=datetime(2026, 1, 1, tzinfo=UTC),
        subtitles=True,
    )


def read(**fields: Any) -> tuple[SubtitleSource, ...]:
    return read_subtitles(extraction(**fields))


def test_sources_have_language_and_kind() -> None:
    found = read(
        subtitles={"en_US": [{"url": URL, "ext": "vtt", "name": "English"}]},
        automatic_captions={"fr": [{"url": URL, "ext": "vtt"}]},
    )
    assert found == (
        SubtitleSource(language="en-US", name="English", url=URL),
        SubtitleSource(language="fr", automatic=True, url=URL),
    )


def test_page_that_was_read_without_subtitles_has_none() -> None:
    raw = extraction(subtitles={"en": [{"url": URL}]}).raw
    assert read_subtitles(msgspec.structs.replace(extraction(), raw=raw, subtitles=False)) == ()


def test_playlist_is_known_by_its_protocol() -> None:
    (found,) = read(subtitles={"en": [{"url": URL, "ext": "vtt", "protocol": "m3u8_native"}]})
    assert found.playlist


def test_text_of_the_page_needs_no_url() -> None:
    (found,) = read(subtitles={"en": [{"data": "1\n", "url": URL}]})
    assert (found.text, found.url) == ("1\n", None)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "data:text/vtt,WEBVTT", "ftp://a.example/", "https://", "//a/b"]
)
def test_address_that_is_no_https_url_is_known_as_missing(url: str) -> None:
    (found,) = read(subtitles={"en": [{"url": url}]})
    assert (found.url, found.text) == (None, None)


@pytest.mark.parametrize(
    ("url", "fetched"),
    [
        ("http://a.example/1", "https://a.example/1"),
        (" https://a.example/a b.vtt", "https://a.example/a%20b.vtt"),
        ("https://a.example/\u00fc", "https://a.example/%C3%BC"),
    ],
)
def test_address_is_encoded_and_encrypted(url: str, fetched: str) -> None:
    (found,) = read(subtitles={"en": [{"url": url}]})
    assert found.url == fetched


def test_extraction_of_an_earlier_release_has_no_subtitles() -> None:
    fields = msgspec.json.decode(encode(extraction(subtitles={"en": [{"url": URL}]})))
    del fields["subtitles"]
    earlier = decode(msgspec.json.encode(fields), Extraction)
    assert not earlier.subtitles
    assert read_subtitles(earlier) == ()


def test_generated_subtitles_of_vimeo_are_automatic() -> None:
    (found,) = read(subtitles={"en-x-autogen": [{"url": URL}]})
    assert (found.language, found.automatic) == ("en", True)


def test_original_captions_are_told_from_translations() -> None:
    entry = [{"url": URL}]
    captions = {"de": entry, "en": [{"url": f"{URL}?translated"}], "en-orig": entry}
    found = read(automatic_captions=captions)
    assert [(each.language, each.translated) for each in found] == [("en", False), ("de", True)]
    assert found[0].url == URL
    assert [each.language for each in tracks_of(found)] == ["en"]


def test_language_that_differs_in_case_only_is_read_once() -> None:
    assert len(read(subtitles={"en-us": [{"url": URL}], "en_US": [{"url": URL}]})) == 1


@pytest.mark.parametrize("name", ["", " ", "\x00\x1f", "\u202e", "x" * 65, "e" * 10_000])
def test_language_without_a_usable_name_is_left_out(name: str) -> None:
    assert read(subtitles={name: [{"url": URL}]}) == ()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
languages = st.dictionaries(
    st.text(), st.lists(st.dictionaries(st.sampled_from(["url", "data", "ext"]), json_values))
)


@given(json_values | languages, json_values | languages)
def test_any_dictionary_can_be_read(subtitles: Any, captions: Any) -> None:
    fields = {"subtitles": subtitles, "automatic_captions": captions}
    for each in (fields, with_bounded_subtitles(fields, wanted=True)):
        for found in read(**each):
            assert 0 < len(found.language) <= 64
            assert found.url is None or found.url.startswith("https://")
