"""Times of cues, in the syntax of WebVTT and SubRip. Pure."""

import re

from agents.subtitles.cues import MILLISECONDS_MAX

_TIME = re.compile(r"(?:([0-9]{1,4}):)?([0-9]{1,2}):([0-9]{1,2})[.,]([0-9]{1,3})", re.ASCII)
_RANGE = re.compile(r"([0-9:.,]{5,20})[ \t]{0,8}-->[ \t]{0,8}([0-9:.,]{5,20})(?:[ \t](.{0,300}))?$")

ARROW = "-->"


def parse_time(text: str) -> int | None:
    """Return the milliseconds of a time; None for anything else, and beyond 100 hours."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    hours, minutes, seconds = (int(each or 0) for each in found.groups()[:3])
    milliseconds = int(found[4].ljust(3, "0"))
    time = ((hours * 60 + minutes) * 60 + seconds) * 1_000 + milliseconds
    return time if time <= MILLISECONDS_MAX else None


def parse_range(line: str) -> tuple[int, int, str] | None:
    """Return start, end and the rest of the timing line of a cue; None for another line."""
    found = _RANGE.match(line.strip())
    if found is None:
        return None
    start, end = parse_time(found[1]), parse_time(found[2])
    if start is None or end is None:
        return None
    return start, end, found[3] or ""


def format_time(time: int, separator: str) -> str:
    """Return a time as ``HH:MM:SS.mmm``, with this separator of the milliseconds."""
    seconds, milliseconds = divmod(time, 1_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{separator}{milliseconds:03}"
