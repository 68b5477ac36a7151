"""Reads subtitles of any format and encoding into cues, and writes them as files. Pure.

The format is recognized by the content: servers and pages name it wrongly.
"""

import codecs
from collections.abc import Iterator, Sequence

from agents.subtitles.cues import Cue, tidy, unreadable
from agents.subtitles.timed_text import read_json, read_xml
from agents.subtitles.webvtt import ARROW, HEADER, read_blocks, read_segments, write_srt, write_vtt
from schemas.subtitles import SubtitleFormat

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FALLBACK = "cp1252"
"""Of files that are not UTF-8: the encoding of western Windows, which nearly all of them have."""

_UTF16_BYTES = 200
_UTF16_ZEROS = 0.7
"""Share of zeros among every second byte at the start of a file in UTF-16."""


def read_subtitles(files: Sequence[bytes]) -> tuple[Cue, ...]:
    """Return the cues of a file, or of the segments of a playlist.

    Raises:
        ClipmillError: ``content.damaged``, they cannot be read or have no text.
    """
    if len(files) == 1:
        return tidy(_read_file(files[0]))
    return tidy(read_segments([_segment(each) for each in files]))


def write_subtitles(cues: Sequence[Cue], extension: SubtitleFormat) -> bytes:
    return write_vtt(cues) if extension == "vtt" else write_srt(cues)


def _read_file(body: bytes) -> Iterator[Cue]:
    text = decode_text(body)
    start = text.lstrip()[:1]
    # Encoded again: a document of XML may be in UTF-16, and JSON has to be in UTF-8.
    if start == "<":
        return read_xml(_without_declaration(text).encode("utf-8", "replace"))
    if start == "{":
        return read_json(text.encode("utf-8", "replace"))
    if text.startswith(HEADER):
        return read_segments([text])
    if ARROW in text:
        return read_blocks(text)
    raise unreadable("they are in no known format")


def _segment(body: bytes) -> str:
    text = decode_text(body)
    if text.strip() and not text.startswith(HEADER):
        raise unreadable(f"a segment does not begin with {HEADER}")
    return text


def decode_text(body: bytes) -> str:
    """Return a text with line breaks of Unix, without its byte-order mark.

    Raises:
        ClipmillError: ``content.damaged``, it is binary.
    """
    text = _decoded(body)
    if "\0" in text:
        raise unreadable("they are binary")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decoded(body: bytes) -> str:
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(encoding, "replace")
    guessed = _utf16_without_mark(body)
    if guessed is not None:
        return body.decode(guessed, "replace")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body.decode(_FALLBACK, "replace")


def _utf16_without_mark(body: bytes) -> str | None:
    start = body[:_UTF16_BYTES]
    even, odd = start[::2], start[1::2]
    if odd.count(0) > len(odd) * _UTF16_ZEROS and not even.count(0):
        return "utf-16-le"
    if even.count(0) > len(even) * _UTF16_ZEROS and not odd.count(0):
        return "utf-16-be"
    return None


def _without_declaration(text: str) -> str:
    """Return XML without its declaration, which may name the encoding that it had."""
    start = text.lstrip()
    return start.partition("?>")[2] if start.startswith("<?xml") else start
