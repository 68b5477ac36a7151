"""Reads and writes WebVTT, whole files and the segments of HLS (RFC 8216, section 3.5).

Styles, regions and comments are dropped. SubRip has the same blocks without the header, so one
reader reads both.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from agents.subtitles.cues import (
    CUE_CHARACTERS_MAX,
    CUES_MAX,
    MILLISECONDS_MAX,
    Cue,
    unreadable,
)
from agents.subtitles.markup import from_markup, to_srt

HEADER = "WEBVTT"
ARROW = "-->"
TICKS_PER_MILLISECOND = 90
"""Of the clock of transport streams."""

CLOCK_TICKS = 2**33
"""The clock of transport streams wraps around after these."""

_TIME = re.compile(r"(?:([0-9]{1,4}):)?([0-9]{1,2}):([0-9]{1,2})[.,]([0-9]{1,3})", re.ASCII)
_RANGE = re.compile(r"([0-9:.,]{5,20})[ \t]{0,8}-->[ \t]{0,8}([0-9:.,]{5,20})(?:[ \t](.{0,300}))?$")
_MAP = "X-TIMESTAMP-MAP="
_MPEGTS = re.compile(r"MPEGTS:([0-9]{1,12})", re.ASCII)
_LOCAL = re.compile(r"LOCAL:([0-9:.]{5,20})", re.ASCII)
_SETTING = re.compile(r"(?:vertical|line|position|size|align):[a-z0-9.,%-]{1,30}", re.ASCII)


def read_blocks(text: str) -> Iterator[Cue]:
    """Yield the cues of WebVTT or SubRip; blocks that are none are skipped.

    Raises:
        ClipmillError: ``content.damaged``, it has more than `CUES_MAX` cues.
    """
    count = 0
    for block in _blocks(text):
        cue = _cue(block)
        if cue is not None:
            count += 1
            if count > CUES_MAX:
                raise unreadable(f"they have more than {CUES_MAX} cues")
            yield cue


def read_segments(segments: Sequence[str]) -> Iterator[Cue]:
    """Yield the cues of all segments, on the clock of the video.

    A segment maps its local times to the clock of the transport stream; the first segment's
    difference to it is the one of all, so the picture begins at zero.
    """
    origin: int | None = None
    for text in segments:
        offset = _clock_offset(text)
        if offset is not None and origin is None:
            origin = offset
        shift = 0 if offset is None or origin is None else _wrapped(offset - origin)
        for cue in read_blocks(text):
            yield from _shifted(cue, shift // TICKS_PER_MILLISECOND)


def write_vtt(cues: Iterable[Cue]) -> bytes:
    return _encoded([HEADER, *(_vtt_block(each) for each in cues)])


def write_srt(cues: Iterable[Cue]) -> bytes:
    return _encoded([_srt_block(number, each) for number, each in enumerate(cues, start=1)])


def _blocks(text: str) -> Iterator[list[str]]:
    block: list[str] = []
    for line in text.split("\n"):
        if line.strip():
            # A block without a blank line before it, as in damaged files.
            if ARROW in line and any(ARROW in each for each in block):
                yield block[:-1] if block[-1].strip().isdecimal() else block
                block = []
            block.append(line)
        elif block:
            yield block
            block = []
    if block:
        yield block


def _cue(block: Sequence[str]) -> Cue | None:
    for index, line in enumerate(block[:2]):
        timing = _parse_range(line) if ARROW in line else None
        if timing is not None:
            start, end, rest = timing
            text = "\n".join(block[index + 1 :])[:CUE_CHARACTERS_MAX]
            return Cue(start, end, from_markup(text), _settings(rest))
    return None


def _settings(text: str) -> str:
    return " ".join(each for each in text.split() if _SETTING.fullmatch(each))


def _clock_offset(text: str) -> int | None:
    """Return the transport stream's time at the local time zero, None without a map."""
    head = text[: text.find("\n\n")] if "\n\n" in text else text[:1_000]
    line = next((each for each in head.split("\n") if each.startswith(_MAP)), "")
    ticks, local = _MPEGTS.search(line), _LOCAL.search(line)
    if ticks is None or local is None:
        return None
    time = _parse_time(local[1])
    return None if time is None else int(ticks[1]) - time * TICKS_PER_MILLISECOND


def _wrapped(ticks: int) -> int:
    """Return a difference of times of the clock, which may have wrapped around between them."""
    return (ticks + CLOCK_TICKS // 2) % CLOCK_TICKS - CLOCK_TICKS // 2


def _shifted(cue: Cue, milliseconds: int) -> Iterator[Cue]:
    start, end = cue.start + milliseconds, cue.end + milliseconds
    if end > 0 and end <= MILLISECONDS_MAX:
        yield Cue(max(start, 0), end, cue.text, cue.settings)


def _vtt_block(cue: Cue) -> str:
    times = f"{_format_time(cue.start, '.')} {ARROW} {_format_time(cue.end, '.')}"
    return f"{times} {cue.settings}".rstrip() + f"\n{cue.text}"


def _srt_block(number: int, cue: Cue) -> str:
    times = f"{_format_time(cue.start, ',')} {ARROW} {_format_time(cue.end, ',')}"
    return f"{number}\n{times}\n{to_srt(cue.text)}"


def _parse_time(text: str) -> int | None:
    """Return the milliseconds of a time; None for anything else, and beyond 100 hours."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    hours, minutes, seconds = (int(each or 0) for each in found.groups()[:3])
    milliseconds = int(found[4].ljust(3, "0"))
    time = ((hours * 60 + minutes) * 60 + seconds) * 1_000 + milliseconds
    return time if time <= MILLISECONDS_MAX else None


def _parse_range(line: str) -> tuple[int, int, str] | None:
    """Return start, end and the rest of the timing line of a cue; None for another line."""
    found = _RANGE.match(line.strip())
    if found is None:
        return None
    start, end = _parse_time(found[1]), _parse_time(found[2])
    if start is None or end is None:
        return None
    return start, end, found[3] or ""


def _format_time(time: int, separator: str) -> str:
    """Return a time as ``HH:MM:SS.mmm``, with this separator of the milliseconds."""
    seconds, milliseconds = divmod(time, 1_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{separator}{milliseconds:03}"


def _encoded(blocks: Sequence[str]) -> bytes:
    return ("\n\n".join(blocks) + "\n").encode("utf-8", "replace")
