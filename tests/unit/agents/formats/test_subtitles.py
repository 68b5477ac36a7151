from typing import Any

import pytest

from agents.formats.subtitles import SUBTITLES_MAX, choose_subtitles, not_read
from schemas.request import Options
from schemas.subtitles import SubtitleSource


def track(language: str, **changes: Any) -> SubtitleSource:
    return SubtitleSource(language=language, url=f"https://a.example/{language}", **changes)


AUTHORED = [track("en-US"), track("en-GB"), track("zh-Hans"), track("de")]
AUTOMATIC = [track("en", automatic=True), track("fr", automatic=True)]
TRANSLATED = [track("es", automatic=True, translated=True)]
OFFERED = [*AUTHORED, *AUTOMATIC, *TRANSLATED]


def chosen(*languages: str, automatic: bool = False) -> list[str]:
    options = Options(subtitles=languages, automatic_subtitles=automatic)
    return [each.language for each in choose_subtitles(OFFERED, options).chosen]


@pytest.mark.parametrize(
    ("languages", "automatic", "expected"),
    [
        (("en-US",), False, ["en-US"]),
        (("EN-us",), False, ["en-US"]),
        (("en_US",), False, ["en-US"]),
        (("en",), False, ["en-US", "en-GB"]),
        (("en",), True, ["en-US", "en-GB"]),
        (("e",), False, []),
        (("en-US-x",), False, []),
        (("de", "zh", "de"), False, ["de", "zh-Hans"]),
        (("all",), False, ["en-US", "en-GB", "zh-Hans", "de"]),
        (("all",), True, ["en-US", "en-GB", "zh-Hans", "de", "fr"]),
        (("all", "en"), False, ["en-US", "en-GB", "zh-Hans", "de"]),
        (("fr",), False, []),
        (("fr",), True, ["fr"]),
        (("es",), True, ["es"]),
        (("es",), False, []),
        ((), True, []),
    ],
)
def test_languages_are_chosen_by_their_range(
    languages: tuple[str, ...], automatic: bool, expected: list[str]
) -> None:
    assert chosen(*languages, automatic=automatic) == expected


@pytest.mark.parametrize("wanted", ["en", "eng", "en-US", "eng-US", "EN"])
def test_codes_of_two_and_three_letters_are_equal(wanted: str) -> None:
    offered = [track("eng-US"), track("deu-DE")]
    choice = choose_subtitles(offered, Options(subtitles=(wanted,)))
    assert [each.language for each in choice.chosen] == ["eng-US"]


@pytest.mark.parametrize(
    ("language", "offered", "reason"),
    [
        ("en", [], "the post has no subtitles"),
        ("ja", AUTHORED, "the post has no subtitles in this language; it has en-US, en-GB,"),
        ("fr", OFFERED, "only by speech recognition; automatic_subtitles accepts them"),
        ("all", AUTOMATIC, "only by speech recognition"),
        ("ja", [track(f"a{n}") for n in range(12)], "a9, …"),
    ],
)
def test_missing_language_has_a_reason(
    language: str, offered: list[SubtitleSource], reason: str
) -> None:
    choice = choose_subtitles(offered, Options(subtitles=(language,)))
    (missing,) = choice.missing
    assert choice.chosen == ()
    assert missing.language == language
    assert reason in missing.reason


def test_number_of_languages_is_limited() -> None:
    offered = [track(f"x{number}") for number in range(SUBTITLES_MAX + 2)]
    choice = choose_subtitles(offered, Options(subtitles=("all",)))
    assert len(choice.chosen) == SUBTITLES_MAX
    assert [each.language for each in choice.missing] == ["x50", "x51"]


def test_page_without_its_subtitles_misses_every_language() -> None:
    choice = not_read(Options(subtitles=("en", "de", "en")))
    assert [each.language for each in choice.missing] == ["en", "de"]
