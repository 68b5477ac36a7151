"""Subtitles of any format and encoding become cues, or are refused; hostile ones included."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.subtitles.cues import CUE_CHARACTERS_MAX, CUES_MAX, Cue
from agents.subtitles.reading import read_subtitles, write_subtitles
from schemas.errors import ClipmillError, ErrorCode

TIMES = "00:00:01.000 --> 00:00:02.000"
HOSTILE_SECONDS = 3.0
"""Processor time for 1 MB on a slow machine; it takes 0.2 s."""

WORDS = "Grüße, привет, مرحبا, 你好"


def vtt(*texts: str, head: str = "WEBVTT") -> bytes:
    return "\n\n".join([head, *(f"{TIMES}\n{text}" for text in texts)]).encode()


def texts(*files: bytes) -> list[str]:
    return [cue.text for cue in read_subtitles(files)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (vtt("a"), ["a"]),
        (vtt("a").replace(b"\n", b"\r\n"), ["a"]),
        (vtt("a").replace(b"\n", b"\r"), ["a"]),
        (b"\xef\xbb\xbf" + vtt("a"), ["a"]),
        (vtt("a", head="WEBVTT - a title\nKind: captions\nLanguage: en"), ["a"]),
        (b"WEBVTT\n\nNOTE\nno cue\n\nREGION\nid:x\n\n" + vtt("a")[8:], ["a"]),
        (b"WEBVTT\n\nsome id\n01:00.000 --> 01:02.000\na\nb", ["a\nb"]),
        (b"1\n00:00:01,000 --> 00:00:02,000\na\n\n2\n00:00:03,000 --> 00:00:04,000\nb", ["a", "b"]),
        (
            b"1\n00:00:01,000 --> 00:00:02,000\na\n2\n00:00:03,000 --> 00:00:04,000\nb",
            ["a", "b"],
        ),
        (b"<tt><body><div><p begin='1s' end='2s'>a<br/>b</p></div></body></tt>", ["a\nb"]),
        (
            b"<tt><body><p begin='00:00:01:12' dur='500ms'>a <span>b</span>c</p></body></tt>",
            ["a bc"],
        ),
        (b"<tt><body><p begin='30f' end='90f'>a</p></body></tt>", ["a"]),
        (b'<timedtext><body><p t="1" d="5">a<s>b</s></p></body></timedtext>', ["ab"]),
        (b'{"events":[{"tStartMs":1,"dDurationMs":5,"segs":[{"utf8":"a"},{}]},{}]}', ["a"]),
    ],
)
def test_known_format_is_recognized_by_its_content(body: bytes, expected: list[str]) -> None:
    assert texts(body) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_unicode_encodings_are_recognized(encoding: str) -> None:
    assert texts(vtt(WORDS).decode().encode(encoding)) == [WORDS]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_western_encoding_is_read(encoding: str) -> None:
    assert texts(vtt("Grüße à Málaga").decode().encode(encoding)) == ["Grüße à Málaga"]


def test_xml_in_another_encoding_is_read() -> None:
    head = '<?xml version="1.0" encoding="UTF-16"?>'
    body = f"{head}<tt><body><p begin='1s' end='2s'>{WORDS}</p></body></tt>"
    assert texts(body.encode("utf-16")) == [WORDS]


@pytest.mark.parametrize(
    ("written", "expected_vtt", "expected_srt"),
    [
        ("<script>alert(1)</script>", "alert(1)", "alert(1)"),
        ("<img src=x onerror=alert(1)>a", "a", "a"),
        ("&lt;p&gt;a&lt;/p&gt;", "&lt;p&gt;a&lt;/p&gt;", "\uff1cp>a\uff1c/p>"),
        ("&amp;lt;b&amp;gt;", "&amp;lt;b&amp;gt;", "&lt;b&gt;"),
        ("<v Bob>Hi</v> <c.red>you</c>", "Hi you", "Hi you"),
        ("<i>a <b>b</i> c", "<i>a <b>b c</b></i>", "<i>a <b>b c</b></i>"),
        ("</i>a</b>", "a", "a"),
        ("a <00:00:01.500>b", "a b", "a b"),
        ("a < b > c", "a &lt; b &gt; c", "a < b > c"),
        ("I <3 you", "I &lt;3 you", "I <3 you"),
        ("a --&gt; b", "a --&gt; b", "a → b"),
        ("a&#10;&#10;00:01,0 --&gt; x", "a\n00:01,0 --&gt; x", "a\n00:01,0 → x"),
        ("a\x07b\x1b[31m", "ab[31m", "ab[31m"),
        ("{\\an8}top", "top", "top"),
        ("<b></b>", None, None),
        ("مرحبا \u200f!", "مرحبا \u200f!", "مرحبا \u200f!"),
    ],
)  # fmt: skip
def test_markup_is_reduced_to_three_tags(
    written: str, expected_vtt: str | None, expected_srt: str | None
) -> None:
    if expected_vtt is None:
        with pytest.raises(ClipmillError):
            read_subtitles([vtt(written)])
        return
    cues = read_subtitles([vtt(written)])
    times = "00:00:01.000 --> 00:00:02.000"
    assert write_subtitles(cues, "vtt").decode() == f"WEBVTT\n\n{times}\n{expected_vtt}\n"
    times = times.replace(".", ",")
    assert write_subtitles(cues, "srt").decode() == f"1\n{times}\n{expected_srt}\n"


def test_only_settings_of_the_position_are_kept() -> None:
    body = b"WEBVTT\n\n00:01.000 --> 00:02.000 align:start line:-1 region:x style:url(x)\na"
    (cue,) = read_subtitles([body])
    assert cue.settings == "align:start line:-1"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no known format"),
        (b"WEBVTT\n", "no text"),
        (b"WEBVTT\n\n00:02.000 --> 00:01.000\nbackwards", "no text"),
        (b"WEBVTT\n\n999:00:00.000 --> 999:00:01.000\nlate", "no text"),
        (bytes(range(256)), "binary"),
        (b"\x00\x00\x00\x18ftypmp42" * 50, "binary"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "binary"),
        (b"GIF89a", "no known format"),
        (b"<html><body>log in</body></html>", "XML of the kind"),
        (b"<script>", "no XML"),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]><tt>&a;</tt>", "document type"),
        (b"<tt>" * 100, "too deeply"),
        (b"<tt><body><p begin='1s' end='2s'>" + b"a" * 10_000, "too long"),
        (b"{}", "no text"),
        (b'{"events": 5}', "no text"),
        (b"{" * 10_000, "no JSON"),
        (b'{"events":[{"tStartMs":"1","dDurationMs":1e99,"segs":"x"},[],null]}', "no text"),
        (b"#EXTM3U\n#EXT-X-ENDLIST", "no known format"),
        (b"MZ" + bytes(300), "binary"),
        (f"WEBVTT\n\n{TIMES}\na\n".encode().ljust(100, b"\0"), "binary"),
    ],
)
def test_what_is_no_subtitles_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(ClipmillError, match=reason) as caught:
        read_subtitles([body])
    assert caught.value.code is ErrorCode.CONTENT_DAMAGED


def test_number_of_cues_is_limited() -> None:
    cue = "00:01.000 --> 00:02.000\na\n\n"
    with pytest.raises(ClipmillError, match="more than"):
        read_subtitles([("WEBVTT\n\n" + cue * (CUES_MAX + 1)).encode()])


def test_text_of_a_cue_is_limited() -> None:
    (cue,) = read_subtitles([vtt("x" * 2 * CUE_CHARACTERS_MAX)])
    assert len(cue.text) == CUE_CHARACTERS_MAX


@pytest.mark.parametrize("number", ["9" * 4_400, "0" * 4_400 + "65", "x" + "9" * 4_400])
def test_reference_to_a_huge_character_is_replaced(number: str) -> None:
    assert texts(vtt(f"a&#{number};b")) == ["a\ufffdb"]


LINES = "\n".join("a" * (CUE_CHARACTERS_MAX // 2 - 10))


@pytest.mark.parametrize(
    "body",
    [
        vtt("a", head=f"WEBVTT\n\n{TIMES}{' ' * 1_000_000}{'x' * 301}\nb"),
        vtt(*(f"{LINES}\n{number}" for number in range(200))),
    ],
    ids=["settings", "lines"],
)
def test_hostile_subtitles_cost_little_processor_time(body: bytes) -> None:
    started = time.process_time()
    read_subtitles([body])
    assert time.process_time() - started < HOSTILE_SECONDS


def segment(ticks: int, *cues: str, local: str = "00:00:00.000") -> bytes:
    head = f"WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:{ticks},LOCAL:{local}"
    return "\n\n".join([head, *cues]).encode()


def test_segments_are_joined_on_the_clock_of_the_video() -> None:
    first = segment(900_000, "00:01.000 --> 00:03.000\na")
    second = segment(1_440_000, "00:00.500 --> 00:02.000\nb")
    assert read_subtitles([first, second]) == (Cue(1_000, 3_000, "a"), Cue(6_500, 8_000, "b"))


def test_segments_of_absolute_times_are_joined() -> None:
    first = segment(900_000, "00:01.000 --> 00:03.000\na")
    second = segment(900_000, "00:06.500 --> 00:08.000\nb")
    assert read_subtitles([first, second]) == (Cue(1_000, 3_000, "a"), Cue(6_500, 8_000, "b"))


def test_local_time_of_the_map_is_subtracted() -> None:
    first = segment(900_000, "00:01.000 --> 00:02.000\na")
    second = segment(1_440_000, "00:10.500 --> 00:12.000\nb", local="00:00:10.000")
    assert read_subtitles([first, second])[1] == Cue(6_500, 8_000, "b")


def test_clock_that_wraps_around_continues() -> None:
    first = segment(2**33 - 90_000, "00:00.000 --> 00:00.500\na")
    second = segment(90_000, "00:00.000 --> 00:00.500\nb")
    assert read_subtitles([first, second]) == (Cue(0, 500, "a"), Cue(2_000, 2_500, "b"))


@pytest.mark.parametrize("end", ["00:05.000", "00:07.000"])
def test_cue_of_two_segments_is_one(end: str) -> None:
    first = segment(900_000, f"00:04.000 --> {end}\na")
    second = segment(900_000, "00:05.000 --> 00:07.000\na", "00:08.000 --> 00:09.000\na")
    assert read_subtitles([first, second]) == (Cue(4_000, 7_000, "a"), Cue(8_000, 9_000, "a"))


def test_empty_segments_are_skipped() -> None:
    files = [b"WEBVTT", b"", segment(0, "00:04.000 --> 00:05.000\na"), b"WEBVTT\n\n"]
    assert texts(*files) == ["a"]


@pytest.mark.parametrize("other", [b"<html>", b"1\n00:00:01,000 --> 00:00:02,000\na", b"\x00" * 8])
def test_segment_of_another_kind_is_refused(other: bytes) -> None:
    with pytest.raises(ClipmillError):
        read_subtitles([segment(0, "00:04.000 --> 00:05.000\na"), other])


ROLLING = """WEBVTT

00:00:00.000 --> 00:00:02.000
hello<00:00:00.500><c> world</c>

00:00:02.000 --> 00:00:02.010
hello world

00:00:02.010 --> 00:00:04.000
hello world
next<00:00:03.000><c> line</c>

00:00:04.000 --> 00:00:04.010
next line

00:00:04.010 --> 00:00:06.000
next line
third
"""


def test_lines_that_roll_up_are_shown_once() -> None:
    assert texts(ROLLING.encode()) == ["hello world", "next line", "third"]


def test_refrain_of_a_dialogue_is_kept() -> None:
    body = (
        "WEBVTT\n\n00:01.000 --> 00:02.000\nno\n\n00:02.000 --> 00:03.000\nyes\n\n"
        "00:03.000 --> 00:04.000\nyes\nno\n\n00:05.000 --> 00:06.000\nother\n\n"
        "00:06.000 --> 00:07.000\nwords"
    )
    assert texts(body.encode()) == ["no", "yes", "yes\nno", "other", "words"]


@given(st.lists(st.text(max_size=60), min_size=1, max_size=5))
def test_written_subtitles_are_read_unchanged(lines: list[str]) -> None:
    events = [
        {"tStartMs": index * 2_000, "dDurationMs": 1_000, "segs": [{"utf8": text}]}
        for index, text in enumerate(lines)
    ]
    body = json.dumps({"events": events}).encode()
    try:
        cues = read_subtitles([body])
    except ClipmillError:
        return
    assert read_subtitles([write_subtitles(cues, "vtt")]) == cues
    again = read_subtitles([write_subtitles(cues, "srt")])
    assert [(cue.start, cue.end) for cue in again] == [(cue.start, cue.end) for cue in cues]


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    codes = set[ErrorCode]()
    for files in ([body], [vtt("a"), body], [vtt("a") + body]):
        try:
            cues = read_subtitles(files)
        except ClipmillError as error:
            codes.add(error.code)
        else:
            assert write_subtitles(cues, "srt")
    assert codes <= {ErrorCode.CONTENT_DAMAGED}
