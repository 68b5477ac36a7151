import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.storage.path_text import clean_text, escape_device
from schemas.path_template import RESERVED

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
WALES = "\U0001f3f4\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f"

CASES = [
    ("a clip", "a clip"),
    ("a/b\\c", "a\uff0fb\uff3cc"),
    ("../../etc/passwd", "\uff0f..\uff0fetc\uff0fpasswd"),
    ("..", "unknown"),
    ("", "unknown"),
    (" . . ", "unknown"),
    ("one\r\n\ttwo\0\x1b[2J", "one two[2J"),
    ("a: 100% #fyp?", "a\uff1a 100\uff05 \uff03fyp\uff1f"),
    ("\u202etxt.exe\u2066 \ufeffx", "txt.exe x"),
    ("cafe\u0301", "caf\u00e9"),
    (f"{FAMILY} {WALES}", f"{FAMILY} {WALES}"),
    ("\udcff\ud83d", "unknown"),
    (
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    ),
    ("\u2028line\u2029", "line"),
    ("...hidden...", "hidden"),
]


@pytest.mark.parametrize(("text", "cleaned"), CASES)
def test_text_becomes_part_of_a_file_name(text: str, cleaned: str) -> None:
    assert clean_text(text, 80) == cleaned


@pytest.mark.parametrize(
    ("text", "bytes_max", "cleaned"),
    [
        ("x" * 10_000, 80, "x" * 80),
        ("\u00e9" * 10, 5, "\u00e9\u00e9"),
        ("\U0001f600" * 3, 7, "\U0001f600"),
        ("ab. cd", 4, "ab"),
        (FAMILY, 8, "\U0001f468"),
        ("\U0001f600", 3, "unk"),
    ],
)
def test_text_is_cut_by_bytes_between_characters(text: str, bytes_max: int, cleaned: str) -> None:
    assert clean_text(text, bytes_max) == cleaned


@given(st.text(st.characters(codec=None), max_size=300), st.integers(16, 255))
def test_cleaned_text_is_safe_and_stable(text: str, bytes_max: int) -> None:
    cleaned = clean_text(text, bytes_max)
    assert 0 < len(cleaned.encode()) <= bytes_max
    assert not set(cleaned) & {*RESERVED, "/", "\0", "\n"}
    assert cleaned == cleaned.strip(". ")
    assert not {unicodedata.category(each) for each in cleaned} & {"Cc", "Cs", "Zl", "Zp"}
    assert unicodedata.bidirectional(cleaned[0]) not in {"RLO", "LRO", "RLE", "LRE", "RLI", "LRI"}
    assert clean_text(cleaned, bytes_max) == cleaned


@pytest.mark.parametrize(
    "name", ["CON", "nul.tar.gz", "Com1.mp4", "aux .x", "LPT\u00b2.x", "CONIN$"]
)
def test_name_of_a_device_is_escaped(name: str) -> None:
    assert escape_device(name) == f"~{name}"


@pytest.mark.parametrize("name", ["CONSOLE", "x.CON", "COM", "COM10", "~CON"])
def test_other_name_stays(name: str) -> None:
    assert escape_device(name) == name
