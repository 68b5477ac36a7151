"""Reads subtitles in XML and JSON: TTML, and the formats srv3 and json3 of YouTube."""

import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from agents.manifests.xml_tree import Element, parse_xml
from agents.subtitles.cues import CUE_CHARACTERS_MAX, MILLISECONDS_MAX, Cue, unreadable
from agents.subtitles.markup import from_plain
from schemas.errors import ClipmillError

_CLOCK = re.compile(r"([0-9]{1,3}):([0-9]{1,2}):([0-9]{1,2})(\.[0-9]{1,9}|:[0-9]{1,3})?", re.ASCII)
_OFFSET = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(h|m|s|ms|f|t)", re.ASCII)
_SECONDS = {"h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_FRAME_RATE = 30.0
"""Of TTML without ``frameRate``."""


def read_xml(document: bytes) -> Iterator[Cue]:
    """Yield the cues of TTML or srv3.

    Raises:
        ClipmillError: ``content.damaged``, it is neither, or beyond the bounds of `parse_xml`.
    """
    try:
        root = parse_xml(document)
    except ClipmillError as error:
        raise unreadable(error.details["reason"]) from None
    if root.name == "tt":
        yield from _ttml(root)
    elif root.name == "timedtext":
        yield from _srv3(root)
    else:
        raise unreadable(f"they are XML of the kind {root.name[:40]!r}")


def read_json(document: bytes) -> Iterator[Cue]:
    """Yield the cues of json3.

    Raises:
        ClipmillError: ``content.damaged``, it is no json3.
    """
    try:
        events = msgspec.json.decode(document, type=dict[str, Any]).get("events")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise unreadable("they are no JSON of a known form") from None
    for event in events if isinstance(events, list) else []:
        if isinstance(event, dict):
            segments = event.get("segs")
            texts = [
                each["utf8"]
                for each in (segments if isinstance(segments, list) else [])
                if isinstance(each, dict) and isinstance(each.get("utf8"), str)
            ]
            start, length = event.get("tStartMs"), event.get("dDurationMs")
            yield from _timed(start, length, "".join(texts))


def _srv3(root: Element) -> Iterator[Cue]:
    for body in root.all("body"):
        for each in body.all("p"):
            start, length = each.attributes.get("t", ""), each.attributes.get("d", "")
            yield from _timed(_integer(start), _integer(length), _content(each))


def _timed(start: object, length: object, text: str) -> Iterator[Cue]:
    if not isinstance(start, int) or not isinstance(length, int):
        return
    if start >= 0 and length > 0 and start + length <= MILLISECONDS_MAX:
        yield Cue(start, start + length, from_plain(text[:CUE_CHARACTERS_MAX]))


def _ttml(root: Element) -> Iterator[Cue]:
    frames = _positive(root.attributes.get("frameRate")) or _FRAME_RATE
    ticks = _positive(root.attributes.get("tickRate")) or frames
    rates = {"f": 1 / frames, "t": 1 / ticks}
    for each in _paragraphs(root):
        start = _ttml_time(each.attributes.get("begin", ""), rates)
        end = _ttml_time(each.attributes.get("end", ""), rates)
        length = _ttml_time(each.attributes.get("dur", ""), rates)
        if start is not None and end is None and length is not None:
            end = start + length
        if start is not None and end is not None:
            yield from _timed(start, end - start, _content(each))


def _content(element: Element) -> str:
    """Return the text of an element with all those in it; of line breaks a new line."""
    parts = [element.text]
    for child in element.children:
        parts += ("\n" if child.name == "br" else _content(child), child.tail)
    return "".join(parts)


def _paragraphs(element: Element) -> Iterator[Element]:
    for child in element.children:
        if child.name == "p":
            yield child
        else:
            yield from _paragraphs(child)


def _ttml_time(text: str, rates: dict[str, float]) -> int | None:
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = (int(each) for each in clock.groups()[:3])
        rest = clock[4] or ".0"
        part = int(rest[1:]) * rates["f"] if rest[0] == ":" else float(rest)
        return _milliseconds((hours * 60 + minutes) * 60 + seconds + part)
    if offset := _OFFSET.fullmatch(text):
        return _milliseconds(float(offset[1]) * (_SECONDS | rates)[offset[2]])
    return None


def _milliseconds(seconds: float) -> int | None:
    time = seconds * 1_000
    return round(time) if math.isfinite(time) and time <= MILLISECONDS_MAX else None


def _positive(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"[1-9][0-9]{0,8}", text, re.ASCII) else None


def _integer(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text, re.ASCII) else None
