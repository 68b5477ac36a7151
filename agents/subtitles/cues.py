"""Cues: timed texts, and the rules for a list of them. Pure."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from schemas.errors import ClipmillError, ErrorCode

CUES_MAX = 50_000
"""A film has 2,000; automatic captions of a stream of 48 hours some 40,000."""

CUE_CHARACTERS_MAX = 5_000
MILLISECONDS_MAX = 100 * 3_600_000 - 1
"""Latest time: two digits of hours, as SubRip has."""

ADJOINING_MILLISECONDS = 50
"""Gap between two parts of a cue that a segment boundary has split."""

ROLLING_LINES_MAX = 15
"""Lines that roll up: the rows of CEA-708."""


class Cue(msgspec.Struct, frozen=True):
    """A text with its time.

    Attributes:
        start: milliseconds.
        end: milliseconds, after the start.
        text: lines in the markup of WebVTT, with no tags but ``b``, ``i`` and ``u``.
        settings: of its position, in the syntax of WebVTT.
    """

    start: int
    end: int
    text: str
    settings: str = ""


def unreadable(reason: str) -> ClipmillError:
    """Return the ``content.damaged`` error of subtitles."""
    message = f"the subtitles cannot be read: {reason}"
    return ClipmillError(ErrorCode.CONTENT_DAMAGED, message, reason=reason)


def tidy(cues: Iterable[Cue]) -> tuple[Cue, ...]:
    """Return the cues by time, without empty ones and repetitions.

    Segments repeat a cue that reaches beyond their end, unchanged or as adjoining parts. A list of
    rolling captions repeats lines of the cue before.

    Raises:
        ClipmillError: ``content.damaged``, there is none.
    """
    valid = (each for each in cues if each.text.strip() and each.start < each.end)
    merged = _without_rolling(_merged(sorted(valid, key=_time)))
    if not merged:
        raise unreadable("they have no text")
    return tuple(merged)


def _time(cue: Cue) -> tuple[int, int]:
    return cue.start, cue.end


def _merged(cues: Sequence[Cue]) -> list[Cue]:
    """Join cues of one text that overlap or adjoin."""
    latest: dict[tuple[str, str], int] = {}
    merged: list[Cue] = []
    for each in cues:
        key = each.text, each.settings
        index = latest.get(key)
        if index is not None and each.start <= merged[index].end + ADJOINING_MILLISECONDS:
            end = max(merged[index].end, each.end)
            merged[index] = Cue(merged[index].start, end, each.text, each.settings)
        else:
            latest[key] = len(merged)
            merged.append(each)
    return merged


def _without_rolling(cues: Sequence[Cue]) -> list[Cue]:
    """Remove the first lines of cues that adjoin one with these as its last lines.

    Captions that roll up show a line twice: when it is spoken, and above the next one.
    """
    if not _is_rolling(cues):
        return list(cues)
    kept: list[Cue] = []
    before: Cue | None = None
    for each in cues:
        lines = each.text.split("\n")
        lines = lines[_repeated(before, each, lines) :]
        if lines:
            kept.append(Cue(each.start, each.end, "\n".join(lines), each.settings))
        elif kept:
            last = kept[-1]
            kept[-1] = Cue(last.start, max(last.end, each.end), last.text, last.settings)
        before = each
    return kept


def _is_rolling(cues: Sequence[Cue]) -> bool:
    """Return whether most cues repeat a line of the one before, as no dialogue does."""
    pairs = list(pairwise(cues))
    rolling = sum(_repeated(one, two, two.text.split("\n")) > 0 for one, two in pairs)
    return len(pairs) > 1 and 2 * rolling > len(pairs)


def _repeated(before: Cue | None, cue: Cue, lines: Sequence[str]) -> int:
    """Return how many of the first lines are the last lines of the cue before."""
    if before is None or cue.start > before.end + ADJOINING_MILLISECONDS:
        return 0
    shown = before.text.split("\n")
    sizes = range(min(len(shown), len(lines), ROLLING_LINES_MAX), 0, -1)
    return next((size for size in sizes if list(lines[:size]) == shown[-size:]), 0)
