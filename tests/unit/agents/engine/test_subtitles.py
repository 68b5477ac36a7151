from typing import Any

import pytest

from agents.engine.results import RESULT_BYTES_MAX, to_json
from agents.engine.subtitles import (
    LANGUAGES_MAX,
    TEXT_CHARACTERS_MAX,
    tolerate_failures,
    with_bounded_subtitles,
)

URL = "https://a.example/1"


def kept(subtitles: Any = None, captions: Any = None) -> dict[str, Any]:
    fields = {"id": "1", "subtitles": subtitles, "automatic_captions": captions}
    found: dict[str, Any] = with_bounded_subtitles(fields, wanted=True)
    assert found["id"] == "1"
    return found


def test_subtitles_that_are_not_wanted_are_dropped() -> None:
    fields = {"id": "1", "subtitles": {"en": [{"url": URL}]}, "automatic_captions": {}}
    assert with_bounded_subtitles(fields, wanted=False) == {"id": "1"}
    for entries in ([fields, None], (fields, None)):
        post = {"_type": "playlist", "entries": entries}
        assert with_bounded_subtitles(post, wanted=True)["entries"] == [{"id": "1"}, None]


@pytest.mark.parametrize(
    ("extensions", "best"),
    [
        (["json3", "srv3", "ttml", "vtt"], "vtt"),
        (["json3", "ttml", "srt"], "srt"),
        (["srv3", "json3"], "srv3"),
        (["ass"], "ass"),
        (["ass", "json3"], "json3"),
    ],
)
def test_best_format_of_a_language_is_kept(extensions: list[str], best: str) -> None:
    entries = [{"url": f"{URL}.{each}", "ext": each} for each in extensions]
    assert kept({"en": entries})["subtitles"] == {"en": [{"url": f"{URL}.{best}", "ext": best}]}


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "x",
        {},
        {"url": 5},
        {"url": "x" * 8_193},
        {"data": "x" * (TEXT_CHARACTERS_MAX + 1)},
        {"url": URL, "ext": "x" * 101},
        {"url": URL, "fragments": [{}]},
        {"url": URL, "protocol": "http_dash_segments"},
        {"url": URL, "protocol": "youtube_live_chat_replay"},
    ],
)
def test_unusable_entry_is_dropped(entry: Any) -> None:
    assert kept({"en": [entry]})["subtitles"] == {}


@pytest.mark.parametrize("value", [None, 5, [], "x", {"en": None}, {"en": "x"}, {5: []}, {"": []}])
def test_any_value_is_accepted(value: Any) -> None:
    assert kept(value, value) == {"id": "1", "subtitles": {}, "automatic_captions": {}}


def test_author_and_spoken_language_precede_translations() -> None:
    entry = [{"url": URL}]
    captions = {f"t{number}": entry for number in range(LANGUAGES_MAX)} | {"en-orig": entry}
    found = kept({"de": entry}, captions)
    assert list(found["subtitles"]) == ["de"]
    assert next(iter(found["automatic_captions"])) == "en-orig"
    assert len(found["automatic_captions"]) == LANGUAGES_MAX - 1


@pytest.mark.parametrize("character", ["y", "\n", "\x07", "\u4f60", "\U0001f600", "\ud83d"])
def test_subtitles_of_any_number_and_size_fit_into_a_result(character: str) -> None:
    long = {"url": "https://a.example/" + "x" * 8_000, "data": character * 15_000}
    found = kept({f"l{number}": [long] * 7 for number in range(1_000)})
    assert found["subtitles"]
    assert len(to_json(found)) < RESULT_BYTES_MAX / 3


def test_failure_to_look_for_subtitles_is_tolerated() -> None:
    class Broken:
        def extract_subtitles(self, name: str) -> Any:
            raise KeyError(name)

    extractor = Broken()
    tolerate_failures(extractor)
    assert extractor.extract_subtitles("x") == {}
