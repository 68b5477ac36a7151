"""Parses an HLS media playlist (RFC 8216) into its segments.

Tags that do not change which bytes are fetched are ignored, as the RFC demands for unknown ones.
Sample encryption and key systems are DRM; a playlist without its end is live.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping

from agents.manifests.segments import (
    BYTES_MAX,
    SECONDS_MAX,
    SEGMENTS_MAX,
    Resource,
    Segment,
    SegmentKey,
    check_bounds,
    is_live,
    is_protected,
    resolve,
    unreadable,
)
from agents.network.resource import ByteRange
from schemas.errors import ClipmillError, ErrorCode

HEADER = "#EXTM3U"
_ATTRIBUTE = re.compile(r'([A-Z0-9-]{1,64})=("[^"]{0,8192}"|[^",]{0,8192})(?:,|$)')
_RANGE = re.compile(r"([0-9]{1,16})(?:@([0-9]{1,16}))?", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,12})?", re.ASCII)
_SEQUENCE = re.compile(r"[0-9]{1,19}", re.ASCII)
_IV = re.compile(r"0[xX]([0-9A-Fa-f]{1,32})", re.ASCII)

_REFUSED: Mapping[str, str] = {
    "#EXT-X-STREAM-INF": "it lists playlists where the page promises segments",
    "#EXT-X-I-FRAME-STREAM-INF": "it lists playlists where the page promises segments",
    "#EXT-X-I-FRAMES-ONLY": "it lists key frames only",
    "#EXT-X-SKIP": "it lists only what changed since an earlier one",
    "#EXT-X-DEFINE": "it uses variables",
}

_IDENTITY = "identity"
"""Format of a key that is fetched as 16 bytes; all others are key systems."""


def parse_hls(text: str, url: str) -> tuple[Segment, ...]:
    """Return the segments of a media playlist.

    Args:
        text: the playlist.
        url: its own, after redirects.

    Raises:
        ClipmillError: ``platform.changed``, it is none, or beyond the bounds;
            ``content.unsupported``, DRM or live; ``content.damaged``, segments are missing.
    """
    # Not `splitlines`: it also splits at characters that are valid within a line.
    lines = text.removeprefix("\ufeff").split("\n")
    if lines[0].rstrip() != HEADER:
        raise unreadable(f"it does not begin with {HEADER}")
    parser = _MediaPlaylist(url)
    for line in lines[1:]:
        parser.read(line.strip())
    return parser.finish()


class _MediaPlaylist:
    """State of the parser between lines."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._segments: list[Segment] = []
        self._sequence = 0
        self._ended = False
        self._seconds: float | None = None
        self._range: str | None = None
        self._ranges_end: dict[str, int] = {}
        self._discontinuity = False
        self._key: Mapping[str, str] | None = None
        self._init: Resource | None = None
        self._tags: Mapping[str, Callable[[str], None]] = {
            "#EXTINF": self._read_duration,
            "#EXT-X-BYTERANGE": self._read_range,
            "#EXT-X-DISCONTINUITY": self._read_discontinuity,
            "#EXT-X-MEDIA-SEQUENCE": self._read_sequence,
            "#EXT-X-KEY": self._read_key,
            "#EXT-X-MAP": self._read_map,
            "#EXT-X-GAP": self._read_gap,
            "#EXT-X-ENDLIST": self._read_end,
        }

    def read(self, line: str) -> None:
        if line.startswith("#"):
            tag, _, value = line.partition(":")
            if tag in _REFUSED:
                raise unreadable(_REFUSED[tag])
            read_tag = self._tags.get(tag)
            if read_tag is not None:
                read_tag(value)
        elif line:
            self._add_segment(line)

    def finish(self) -> tuple[Segment, ...]:
        if not self._ended:
            raise is_live()
        return check_bounds(self._segments)

    def _read_duration(self, value: str) -> None:
        self._seconds = _parse_seconds(value)

    def _read_range(self, value: str) -> None:
        self._range = value

    def _read_discontinuity(self, _value: str) -> None:
        self._discontinuity = True

    def _read_sequence(self, value: str) -> None:
        if not _SEQUENCE.fullmatch(value.strip()):
            raise unreadable("its sequence number is no number")
        self._sequence = int(value)

    def _read_key(self, value: str) -> None:
        self._key = _parse_key(value)

    def _read_map(self, value: str) -> None:
        attributes = dict(_attributes(value))
        named = attributes.get("BYTERANGE")
        self._init = Resource(
            url=resolve(self._url, attributes.get("URI", "")),
            byte_range=None if named is None else _parse_range(named, 0),
            key=self._segment_key(self._sequence),
        )

    def _read_gap(self, _value: str) -> None:
        reason = "segments are missing from its playlist"
        raise ClipmillError(
            ErrorCode.CONTENT_DAMAGED, f"the stream is not complete: {reason}", reason=reason
        )

    def _read_end(self, _value: str) -> None:
        self._ended = True

    def _add_segment(self, reference: str) -> None:
        if self._seconds is None:
            raise unreadable("a segment has no duration")
        if len(self._segments) == SEGMENTS_MAX:
            raise unreadable(f"it has more than {SEGMENTS_MAX} segments")
        url = resolve(self._url, reference)
        media = Resource(
            url=url, byte_range=self._byte_range(url), key=self._segment_key(self._sequence)
        )
        self._segments.append(
            Segment(
                media=media,
                seconds=self._seconds,
                init=self._init,
                discontinuity=self._discontinuity,
            )
        )
        self._sequence += 1
        self._seconds, self._range, self._discontinuity = None, None, False

    def _byte_range(self, url: str) -> ByteRange | None:
        if self._range is None:
            return None
        found = _parse_range(self._range, self._ranges_end.get(url))
        self._ranges_end[url] = found.last + 1
        return found

    def _segment_key(self, sequence: int) -> SegmentKey | None:
        if self._key is None:
            return None
        iv = self._key.get("IV")
        vector = sequence.to_bytes(16, "big") if iv is None else _parse_iv(iv)
        return SegmentKey(url=resolve(self._url, self._key.get("URI", "")), iv=vector)


def _attributes(text: str) -> Iterator[tuple[str, str]]:
    """Yield the attributes of a tag, without quotes.

    Raises:
        ClipmillError: ``platform.changed``, it is no attribute list.
    """
    position = 0
    while position < len(text):
        found = _ATTRIBUTE.match(text, position)
        if found is None:
            raise unreadable("a tag has no valid attributes")
        yield found[1], found[2].strip('"')
        position = found.end()
        while position < len(text) and text[position] == " ":
            position += 1


def _parse_key(value: str) -> Mapping[str, str] | None:
    """Return the attributes of the key from here on, None for plain segments.

    Raises:
        ClipmillError: ``content.unsupported``, sample encryption or a key system.
    """
    attributes = dict(_attributes(value))
    method = attributes.get("METHOD")
    if method == "NONE":
        return None
    if method != "AES-128" or attributes.get("KEYFORMAT", _IDENTITY) != _IDENTITY:
        raise is_protected()
    return attributes


def _parse_seconds(value: str) -> float:
    text = value.partition(",")[0].strip()
    if not _SECONDS.fullmatch(text):
        raise unreadable("a segment has no valid duration")
    seconds = float(text)
    if not math.isfinite(seconds) or seconds > SECONDS_MAX:
        raise unreadable("a segment has no valid duration")
    return seconds


def _parse_range(value: str, continued: int | None) -> ByteRange:
    """Return a range ``length[@first]``; without ``first`` it continues the previous one."""
    found = _RANGE.fullmatch(value.strip())
    first = continued if found is None or found[2] is None else int(found[2])
    length = 0 if found is None else int(found[1])
    if first is None or not 0 < length <= BYTES_MAX - first:
        raise unreadable("a byte range is invalid")
    return ByteRange(first, first + length - 1)


def _parse_iv(value: str) -> bytes:
    found = _IV.fullmatch(value)
    if found is None:
        raise unreadable("an initialization vector is invalid")
    return int(found[1], 16).to_bytes(16, "big")
