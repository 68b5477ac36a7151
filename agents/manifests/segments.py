"""The segments that a manifest lists, whatever its kind, and the bounds of manifests."""

from collections.abc import Sequence
from urllib.parse import urljoin, urlsplit

import msgspec

from agents.network.resource import ByteRange
from schemas.errors import ClipmillError, ErrorCode

SEGMENTS_MAX = 30_000
"""A film of eight hours in segments of one second."""

PARTS_MAX = 500
"""Maximum of discontinuities: a film with an advertisement every minute has less."""

SECONDS_MAX = 48 * 3_600.0
"""Maximum duration: the longest recordings of streamers."""

URL_CHARACTERS_MAX = 8_192
BYTES_MAX = 2**53
"""Maximum of offsets and lengths; no file is larger."""


class SegmentKey(msgspec.Struct, frozen=True, kw_only=True):
    """An AES-128 key of HLS (RFC 8216, section 4.3.2.4).

    Attributes:
        url: of the 16 bytes.
        iv: initialization vector, 16 bytes.
    """

    url: str
    iv: bytes


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes to fetch: a segment, or the initialization section of segments.

    Attributes:
        url: absolute.
        byte_range: None for the whole.
        key: decrypts it; None when it is not encrypted.
    """

    url: str
    byte_range: ByteRange | None = None
    key: SegmentKey | None = None


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """One segment of a track.

    Attributes:
        media: its bytes.
        seconds: its duration.
        init: initialization section that its decoding requires.
        discontinuity: timestamps or encoding may change here.
        shift_seconds: presentation time minus media time, where the manifest declares it.
    """

    media: Resource
    seconds: float
    init: Resource | None = None
    discontinuity: bool = False
    shift_seconds: float | None = None


class TrackPart(msgspec.Struct, frozen=True, kw_only=True):
    """A run of segments with continuous timestamps: joined they are one valid file.

    Attributes:
        resources: the initialization section, if there is one, and the segments.
        shift_seconds: see `Segment`.
        seconds: duration of the segments.
    """

    resources: tuple[Resource, ...]
    shift_seconds: float | None
    seconds: float


def parts_of(segments: Sequence[Segment]) -> tuple[TrackPart, ...]:
    """Group segments into parts.

    Raises:
        ClipmillError: ``platform.changed``, there are more than `PARTS_MAX`.
    """
    starts = [
        index
        for index, each in enumerate(segments)
        if index == 0 or each.discontinuity or each.init != segments[index - 1].init
    ]
    if len(starts) > PARTS_MAX:
        raise unreadable(f"it has {len(starts)} discontinuities, the limit is {PARTS_MAX}")
    ends = [*starts[1:], len(segments)]
    return tuple(
        _part(segments[start:end]) for start, end in zip(starts, ends, strict=True) if end > start
    )


def _part(segments: Sequence[Segment]) -> TrackPart:
    first = segments[0]
    init = () if first.init is None else (first.init,)
    media = tuple(each.media for each in segments)
    return TrackPart(
        resources=(*init, *media),
        shift_seconds=first.shift_seconds,
        seconds=sum(each.seconds for each in segments),
    )


def check_bounds(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Return the segments.

    Raises:
        ClipmillError: ``platform.changed``, there is none, or the track is too long.
    """
    if not segments:
        raise unreadable("it lists no segment")
    seconds = sum(each.seconds for each in segments)
    if seconds > SECONDS_MAX:
        raise unreadable(f"it lasts {seconds:.0f} seconds, the limit is {SECONDS_MAX:.0f}")
    return tuple(segments)


def resolve(base: str, reference: str) -> str:
    """Return an absolute URL, with http replaced by https: nothing is fetched unencrypted.

    Raises:
        ClipmillError: ``platform.changed``, it is no URL or not of https.
    """
    if not reference or len(reference) > URL_CHARACTERS_MAX:
        raise unreadable("it names a segment without an address, or with too long a one")
    try:
        joined = urljoin(base, reference)
        scheme = urlsplit(joined).scheme
    except ValueError:
        raise unreadable("it names an address that is no URL") from None
    if scheme not in {"http", "https"}:
        raise unreadable(f"it names an address of {scheme[:20] or 'no scheme'!r}, not of https")
    return f"https{joined[len(scheme) :]}"


def unreadable(reason: str) -> ClipmillError:
    """Return the ``platform.changed`` error of a manifest."""
    message = f"the manifest of the video cannot be used: {reason}"
    return ClipmillError(ErrorCode.PLATFORM_CHANGED, message, reason=reason)


def is_protected() -> ClipmillError:
    """Return the ``content.unsupported`` error of a stream with DRM."""
    reason = "it is protected by DRM, which only its player can decrypt"
    return ClipmillError(
        ErrorCode.CONTENT_UNSUPPORTED, f"the stream is not fetched: {reason}", reason=reason
    )


def is_live() -> ClipmillError:
    """Return the ``content.unsupported`` error of a stream that has not ended."""
    reason = "it is live; its recording can be fetched when it has ended"
    return ClipmillError(
        ErrorCode.CONTENT_UNSUPPORTED, f"the stream is not fetched: {reason}", reason=reason
    )
