"""Numbers and times of DASH segments, and the expansion of URL templates. Pure."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agents.manifests.segments import SECONDS_MAX, SEGMENTS_MAX, unreadable
from agents.manifests.xml_tree import Element

_IDENTIFIER = re.compile(
    r"\$(?:(RepresentationID|Bandwidth|Number|Time)(?:%0?([0-9]{1,2})d)?)?\$", re.ASCII
)
_WHOLE = re.compile(r"[0-9]{1,19}", re.ASCII)

WIDTH_MAX = 32
"""Maximum of digits that a template pads a number to."""


@dataclass(frozen=True, slots=True)
class SegmentTime:
    """Position of a segment in its period.

    Attributes:
        number: value of ``$Number$``.
        ticks: value of ``$Time$``: media time in units of the timescale.
        seconds: duration.
        is_first: it begins the period.
    """

    number: int
    ticks: int
    seconds: float
    is_first: bool


def segment_times(
    source: Element, period_seconds: float | None, *, count: int | None = None
) -> Iterator[SegmentTime]:
    """Yield the segments of a template or list.

    Args:
        source: with its inherited attributes and children.
        period_seconds: duration of the period, if known.
        count: of a list; None for a template.

    Raises:
        ClipmillError: ``platform.changed``; there are too many, or their number is unknown.
    """
    scale = _positive(source, "timescale", 1)
    first = whole(source.attributes.get("startNumber", "1"))
    timeline = source.first("SegmentTimeline")
    if timeline is not None:
        ticks = _timeline(timeline, _period_end(source, scale, period_seconds))
    else:
        ticks = _constant(source, scale, period_seconds, count)
    for index, (start, duration) in enumerate(ticks):
        if index == SEGMENTS_MAX:
            raise unreadable(f"it has more than {SEGMENTS_MAX} segments")
        yield SegmentTime(first + index, start, duration / scale, index == 0)


def expand(template: str, values: Mapping[str, str]) -> str:
    """Return a URL template with its identifiers replaced (ISO/IEC 23009-1, 5.3.9.4.4)."""

    def replaced(found: re.Match[str]) -> str:
        if found[1] is None:
            return "$"
        if found[1] not in values:
            raise unreadable(f"a template uses ${found[1]}$ where it has no value")
        width = int(found[2] or 0)
        if width > WIDTH_MAX:
            raise unreadable("a template pads a number too far")
        return values[found[1]].zfill(width) if width else values[found[1]]

    return _IDENTIFIER.sub(replaced, template)


def whole(text: str) -> int:
    """Return a non-negative integer.

    Raises:
        ClipmillError: ``platform.changed``, it is none.
    """
    if not _WHOLE.fullmatch(text):
        raise unreadable("it has a number that is none")
    return int(text)


def _positive(element: Element, name: str, default: int) -> int:
    number = whole(element.attributes.get(name, str(default)))
    if number == 0:
        raise unreadable(f"its {name} is 0")
    return number


def _period_end(source: Element, scale: int, period_seconds: float | None) -> int | None:
    """Return the media time at which the period ends, in ticks."""
    if period_seconds is None:
        return None
    return whole(source.attributes.get("presentationTimeOffset", "0")) + round(
        period_seconds * scale
    )


def _timeline(timeline: Element, end: int | None) -> Iterator[tuple[int, int]]:
    """Yield start and duration of each segment of a timeline, in ticks."""
    entries, start = list(timeline.all("S")), 0
    for index, each in enumerate(entries):
        start = whole(each.attributes.get("t", str(start)))
        duration = _positive(each, "d", 0)
        repeats = each.attributes.get("r", "0")
        if repeats.startswith("-"):
            following = entries[index + 1].attributes.get("t") if index + 1 < len(entries) else None
            until = end if following is None else whole(following)
            if until is None:
                raise unreadable("a segment is repeated without an end")
            count = max(1, math.ceil((until - start) / duration))
        else:
            count = whole(repeats) + 1
        if count > SEGMENTS_MAX:
            raise unreadable(f"it has more than {SEGMENTS_MAX} segments")
        for _ in range(count):
            yield start, duration
            start += duration


def _constant(
    source: Element, scale: int, period_seconds: float | None, count: int | None
) -> Iterator[tuple[int, int]]:
    """Yield start and duration of segments of one duration, in ticks."""
    if "duration" not in source.attributes:
        if count == 1:
            return iter([(0, round((period_seconds or 0.0) * scale))])
        raise unreadable("its segments have no duration")
    duration = _positive(source, "duration", 0)
    if count is None:
        if period_seconds is None or period_seconds > SECONDS_MAX:
            raise unreadable("the number of its segments is not known")
        # A period that ends within a rounding error after a segment has no further one.
        count = math.ceil(period_seconds * scale / duration - 1e-6)
    if count > SEGMENTS_MAX:
        raise unreadable(f"it has more than {SEGMENTS_MAX} segments")
    return ((index * duration, duration) for index in range(count))
