"""Parses a DASH manifest (ISO/IEC 23009-1) into the segments of one representation.

Supported are templates, timelines, lists and whole files, in any number of periods. A dynamic
manifest is live, content protection is DRM, and remote elements (XLink) are refused.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from agents.manifests.dash_template import SegmentTime, expand, segment_times, whole
from agents.manifests.segments import (
    BYTES_MAX,
    SECONDS_MAX,
    SEGMENTS_MAX,
    Resource,
    Segment,
    check_bounds,
    is_live,
    is_protected,
    resolve,
    unreadable,
)
from agents.manifests.xml_tree import Element, parse_xml
from agents.network.resource import ByteRange

_DURATION = re.compile(
    r"P(?:([0-9]{1,5})D)?(?:T(?:([0-9]{1,6})H)?(?:([0-9]{1,7})M)?"
    r"(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)S)?)?",
    re.ASCII,
)
_DURATION_UNITS = (86_400, 3_600, 60, 1)
_RANGE = re.compile(r"([0-9]{1,16})-([0-9]{1,16})", re.ASCII)
_INHERITED = ("SegmentTemplate", "SegmentList", "SegmentBase")
_KINDS = ("video", "audio")


def parse_dash(document: bytes, url: str, representation: str) -> tuple[Segment, ...]:
    """Return the segments of a representation, of all periods in their order.

    Args:
        document: the manifest.
        url: its own, after redirects.
        representation: the id, with any prefix that ends in a dash; or, of one without an id,
            ``video`` or ``audio``. yt-dlp names formats this way.

    Raises:
        ClipmillError: ``platform.changed``, it is none, lacks the representation, or is beyond the
            bounds; ``content.unsupported``, DRM or live.
    """
    root = parse_xml(document)
    if root.name != "MPD":
        raise unreadable("it is no DASH manifest")
    if root.attributes.get("type", "static") != "static":
        raise is_live()
    segments: list[Segment] = []
    for period in _periods(root):
        chosen = _find(period.element, representation)
        segments += _Representation(root, period, *chosen, url).segments()
        if len(segments) > SEGMENTS_MAX:
            raise unreadable(f"it has more than {SEGMENTS_MAX} segments")
    return check_bounds(segments)


@dataclass(frozen=True, slots=True)
class _Period:
    element: Element
    start_seconds: float
    seconds: float | None


def _periods(root: Element) -> Iterator[_Period]:
    """Yield the periods; the end of one without a duration is the start of the next."""
    elements = list(root.all("Period"))
    if not elements:
        raise unreadable("it has no period")
    total = _seconds(root.attributes.get("mediaPresentationDuration"))
    starts = [_seconds(each.attributes.get("start")) for each in elements]
    position = 0.0
    for element, start, following in zip(elements, starts, [*starts[1:], total], strict=True):
        if "href" in element.attributes:
            raise unreadable("one of its periods is in another file")
        begin = position if start is None else start
        seconds = _seconds(element.attributes.get("duration"))
        if seconds is None and following is not None:
            seconds = max(following - begin, 0.0)
        yield _Period(element, begin, seconds)
        position = begin + (seconds or 0.0)


def _find(period: Element, name: str) -> tuple[Element, Element]:
    """Return adaptation set and representation; the longest id that ends the name wins."""
    found: list[tuple[int, Element, Element]] = []
    for group in period.all("AdaptationSet"):
        if "href" in group.attributes:
            raise unreadable("one of its adaptation sets is in another file")
        for each in group.all("Representation"):
            id_ = each.attributes.get("id") or _kind(group, each)
            if id_ and (name == id_ or name.endswith(f"-{id_}")):
                found.append((len(id_), group, each))
    if not found:
        raise unreadable(f"it has no representation {name[:80]!r} in one of its periods")
    _, group, chosen = max(found, key=lambda each: each[0])
    if group.first("ContentProtection") or chosen.first("ContentProtection"):
        raise is_protected()
    return group, chosen


def _kind(group: Element, each: Element) -> str:
    attributes = group.attributes | each.attributes
    mime_type = attributes.get("mimeType", "").partition("/")[0]
    kind = attributes.get("contentType", mime_type)
    return kind if kind in _KINDS else ""


class _Representation:
    """One representation of a period, with what it inherits."""

    def __init__(
        self, root: Element, period: _Period, group: Element, element: Element, url: str
    ) -> None:
        self._period = period
        self._identifiers = {
            "RepresentationID": element.attributes.get("id", ""),
            "Bandwidth": element.attributes.get("bandwidth", "0"),
        }
        levels = (root, period.element, group, element)
        self._base = _base_url(url, levels)
        self._addressing = {name: _merge(levels[1:], name) for name in _INHERITED}

    def segments(self) -> Iterator[Segment]:
        template, listed = self._addressing["SegmentTemplate"], self._addressing["SegmentList"]
        if template is not None and "media" in template.attributes:
            return self._of_template(template)
        if listed is not None:
            return self._of_list(listed)
        return iter([self._whole_file()])

    def _of_template(self, template: Element) -> Iterator[Segment]:
        media, init = template.attributes["media"], template.attributes.get("initialization")
        resource = None if init is None else self._resource(expand(init, self._identifiers))
        if resource is None:
            resource = self._init_of(template)
        for time in segment_times(template, self._period.seconds):
            names = {**self._identifiers, "Number": str(time.number), "Time": str(time.ticks)}
            yield self._segment(self._resource(expand(media, names)), resource, template, time)

    def _of_list(self, listed: Element) -> Iterator[Segment]:
        init, entries = self._init_of(listed), list(listed.all("SegmentURL"))
        times = segment_times(listed, self._period.seconds, count=len(entries))
        for entry, time in zip(entries, times, strict=False):
            resource = self._resource(
                entry.attributes.get("media", ""), entry.attributes.get("mediaRange")
            )
            yield self._segment(resource, init, listed, time)

    def _whole_file(self) -> Segment:
        resource = self._resource("")
        base = self._addressing["SegmentBase"]
        shift = self._shift(base) if base is not None else self._period.start_seconds
        return Segment(
            media=resource,
            seconds=self._period.seconds or 0.0,
            discontinuity=True,
            shift_seconds=shift,
        )

    def _segment(
        self, media: Resource, init: Resource | None, source: Element, time: SegmentTime
    ) -> Segment:
        return Segment(
            media=media,
            seconds=time.seconds,
            init=init,
            discontinuity=time.is_first,
            shift_seconds=self._shift(source),
        )

    def _shift(self, source: Element) -> float:
        """Return presentation time minus media time (ISO/IEC 23009-1, 5.3.9.6)."""
        offset = whole(source.attributes.get("presentationTimeOffset", "0"))
        scale = whole(source.attributes.get("timescale", "1")) or 1
        return self._period.start_seconds - offset / scale

    def _init_of(self, source: Element) -> Resource | None:
        found = source.first("Initialization")
        if found is None:
            return None
        return self._resource(found.attributes.get("sourceURL", ""), found.attributes.get("range"))

    def _resource(self, reference: str, named: str | None = None) -> Resource:
        url = resolve(self._base, reference or self._base)
        return Resource(url=url, byte_range=None if named is None else _parse_range(named))


def _base_url(url: str, levels: Sequence[Element]) -> str:
    base = url
    for level in levels:
        named = level.first("BaseURL")
        if named is not None:
            base = resolve(base, named.text.strip() or base)
    return base


def _merge(levels: Sequence[Element], name: str) -> Element | None:
    """Return an addressing element with what it inherits from the levels above."""
    found = [each for level in levels if (each := level.first(name)) is not None]
    if not found:
        return None
    attributes: dict[str, str] = {}
    children: dict[str, list[Element]] = {}
    for each in found:
        attributes |= each.attributes
        children |= _by_name(each)
    return Element(name, attributes, children=[it for kind in children.values() for it in kind])


def _by_name(element: Element) -> Mapping[str, list[Element]]:
    names = {each.name for each in element.children}
    return {name: list(element.all(name)) for name in names}


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    found = _DURATION.fullmatch(text)
    if found is None:
        raise unreadable("it has a duration that is none")
    parts = zip(found.groups(), _DURATION_UNITS, strict=True)
    seconds = sum(float(part) * unit for part, unit in parts if part is not None)
    if seconds > SECONDS_MAX:
        raise unreadable(f"it lasts {seconds:.0f} seconds, the limit is {SECONDS_MAX:.0f}")
    return seconds


def _parse_range(text: str) -> ByteRange:
    found = _RANGE.fullmatch(text)
    if found is None or not int(found[1]) <= int(found[2]) <= BYTES_MAX:
        raise unreadable("a byte range is invalid")
    return ByteRange(int(found[1]), int(found[2]))
