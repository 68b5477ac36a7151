import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.storage.interface import RECORD_BYTES_MAX
from agents.storage.names import FileIds
from agents.storage.post_paths import (
    PostDetails,
    PostRecord,
    clean_text,
    decode_record,
    encode_record,
    escape_device,
    post_stem,
    record_name,
)
from schemas.path_template import PART_BYTES_MAX, PATH_BYTES_MAX, RESERVED, parse_template

TEMPLATES = [
    "{author}/{date:%Y}/{date:%Y-%m-%d} {title:.80} [{platform} {id}].{format}.{ext}",
    "{platform}/{author}/{id} {title}.{format}.{ext}",
    "{title} {platform} {id}.{format}.{ext}",
    "{id} {title} {author} {author_id}.{platform}.{format}.{ext}",
    "{platform}/{id}/{format}.{ext}",
    "{title}/{author}/{platform} {id} {format}.{ext}",
]
CLIP = FileIds("tiktok", "7000000000000000001", "play")

TEXTS = st.one_of(
    st.text(st.characters(codec=None), max_size=60),
    st.text(st.sampled_from("./\\ [](){}~-_aA1\u202e\u200d\U0001f600\u0301"), max_size=60),
    st.text(st.characters(codec=None), min_size=1, max_size=4).map(lambda text: text * 2_500),
    st.sampled_from(["CON", "nul", "..", "x [tiktok 1].play", "tiktok 1.play", "unknown"]),
)
ID = st.text(st.sampled_from("ab1A_-"), min_size=1, max_size=64)
IDS = st.builds(
    FileIds,
    st.sampled_from(["tiktok", "con", "a-b", "a_b", "x" * 32]),
    st.one_of(ID, st.sampled_from(["CON", "NUL", "_CON", "1"])),
    st.one_of(ID, TEXTS, ID.map(lambda id_: f"{id_}~sound")),
)
DETAILS = st.builds(
    PostDetails,
    author=TEXTS,
    author_id=TEXTS,
    title=TEXTS,
    published_at=st.none() | st.datetimes(timezones=st.just(UTC)),
)


def record_of(template: str, details: PostDetails) -> PostRecord:
    return PostRecord.of(parse_template(template), details)


@pytest.mark.parametrize(
    ("template", "details", "path"),
    [
        (
            TEMPLATES[0],
            PostDetails(
                author="u", title="a/clip", published_at=datetime(2026, 11, 30, 23, tzinfo=UTC)
            ),
            "u/2026/2026-11-30 a\uff0fclip [tiktok 7000000000000000001].play",
        ),
        (
            TEMPLATES[0],
            PostDetails(),
            "unknown/unknown/unknown unknown [tiktok 7000000000000000001].play",
        ),
        (
            "{author}/{date} {platform} {id}.{format}.{ext}",
            PostDetails(
                author="nul",
                published_at=datetime(2026, 11, 30, 1, tzinfo=timezone(timedelta(hours=9))),
            ),
            "~nul/2026-11-29 tiktok 7000000000000000001.play",
        ),
        (
            "{title} {author:.80} [{platform} {id}].{format}.{ext}",
            PostDetails(title="x" * 10_000, author="y" * 100),
            f"{'x' * 67} {'y' * 68} [tiktok 7000000000000000001].play",
        ),
    ],
)
def test_path_contains_the_texts_of_the_post(
    template: str, details: PostDetails, path: str
) -> None:
    assert str(post_stem(record_of(template, details), CLIP)) == path


def test_formats_of_a_post_have_the_same_text() -> None:
    record = record_of(TEMPLATES[2], PostDetails(title="x" * 300))
    stems = {
        post_stem(record, FileIds("tiktok", "1", format_id)).name.removesuffix(f".{format_id}")
        for format_id in ("a", "b" * 64)
    }
    assert len(stems) == 1


@pytest.mark.parametrize("template", TEMPLATES)
@given(ids=IDS, details=DETAILS)
def test_path_is_inside_the_root_and_bounded(
    template: str, ids: FileIds, details: PostDetails
) -> None:
    path = PurePosixPath(f"{post_stem(record_of(template, details), ids)}.webm")
    assert not path.is_absolute()
    assert len(path.parts) == template.count("/") + 1
    assert len(str(path).encode()) <= PATH_BYTES_MAX
    for part in path.parts:
        assert 0 < len(part.encode()) <= PART_BYTES_MAX
        assert not part.startswith((".", " "))
        assert not part.endswith((".", " "))


@pytest.mark.parametrize("template", TEMPLATES)
@given(one=IDS, two=IDS, first=DETAILS, second=DETAILS)
def test_different_files_never_share_a_path(
    template: str, one: FileIds, two: FileIds, first: PostDetails, second: PostDetails
) -> None:
    paths = {
        post_stem(record_of(template, details), ids)
        for ids, details in ((one, first), (two, second))
    }
    assert len(paths) == 2 or one == two


@pytest.mark.parametrize("template", TEMPLATES)
@given(ids=IDS, details=DETAILS)
def test_stored_record_gives_the_same_path(
    template: str, ids: FileIds, details: PostDetails
) -> None:
    record = record_of(template, details)
    content = encode_record(record)
    assert len(content) <= RECORD_BYTES_MAX
    stored = decode_record(content)
    assert stored is not None
    assert post_stem(stored, ids) == post_stem(record, ids)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b'{"template": "{x}", "details": {}}']
)
def test_malformed_record_is_none(content: bytes) -> None:
    assert decode_record(content) is None


def test_record_is_hidden_and_named_by_ids() -> None:
    assert str(record_name(CLIP)) == ".posts/tiktok/7000000000000000001.json"


FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
WALES = "\U0001f3f4\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f"

CLEANED = [
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


@pytest.mark.parametrize(("text", "cleaned"), CLEANED)
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
