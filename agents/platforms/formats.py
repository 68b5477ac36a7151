"""The plain files that a page offers, from the dictionary of any extractor of yt-dlp.

Extractors leave out what yt-dlp would find by itself: a single file stands in the dictionary and
not in ``formats``, and neither container nor protocol need be told.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import quote, urlsplit

from agents.platforms.fields import (
    MAX_COUNT,
    MAX_URL_CHARACTERS,
    Fields,
    integer,
    number,
    rows,
    text,
    web_url,
)
from schemas.containers import container_of
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import Cookie, MediaSource, VideoFormat, VideoRef

MAX_FORMATS = 200
UNKNOWN_CODEC = "unknown"
"""Of a file that has picture or sound, but does not tell in which codec."""

STREAMS = frozenset({"m3u8", "mpd", "f4m", "ism"})
"""Extensions of playlists of HLS, DASH, HDS and Smooth Streaming: lists of pieces, no files."""

SOUND_ONLY = frozenset({"aac", "flac", "m4a", "mp3", "oga", "ogg", "opus", "wav", "weba"})
"""Extensions of files without a picture."""

_CODECS = (
    ("avc", "h264"),
    ("h264", "h264"),
    ("hev1", "h265"),
    ("hvc1", "h265"),
    ("hevc", "h265"),
    ("h265", "h265"),
    ("vp09", "vp9"),
    ("vp9", "vp9"),
    ("vp08", "vp8"),
    ("av01", "av1"),
    ("mp4a", "aac"),
    ("aac", "aac"),
)
"""How the names of codecs begin (RFC 6381, ffmpeg), and what we call them."""

_URL_SAFE = "!#$%&'()*+,/:;=?@[]~"
"""What an address may hold as it is (RFC 3986), and the sign of what is encoded already."""

_HEADERS = ("Referer", "Origin", "User-Agent", "Accept", "Accept-Language")
_MAX_HEADER_CHARACTERS = 2_048


def read_sources(fields: Fields, cookies: tuple[Cookie, ...] = ()) -> tuple[MediaSource, ...]:
    """Return every file with the place of its bytes, in the extractor's order.

    Left out is what cannot be fetched as one file: streams, and what DRM protects.

    Args:
        fields: the extractor's dictionary.
        cookies: what the page set. Which of them a host may see is decided when it is asked.
    """
    listed = [row for row in _offers(fields) if _why_not(row) is None]
    ids = unique([format_id_of(row, place) for place, row in enumerate(listed)])
    return tuple(
        MediaSource(
            format=_format(row, format_id),
            url=_url(row) or "",
            headers={**headers_of(fields), **headers_of(row)},
            cookies=cookies,
        )
        for row, format_id in zip(listed, ids, strict=True)
    )


def no_files(fields: Fields, video: VideoRef, site: str) -> ClipmillError:
    """Return why a page offers no file that can be fetched."""
    reasons = sorted({reason for row in _offers(fields) if (reason := _why_not(row))})
    reason = "; ".join(reasons) or "its page offers no file"
    return ClipmillError(
        ErrorCode.CONTENT_NO_FORMATS,
        f"{site} video {video.id}: {reason}.",
        failure="no_formats",
        reason=reason,
    )


def unique(ids: list[str]) -> list[str]:
    """Number the ids that occur more than once, from 0, past ids that look so already."""
    counts, taken, made = Counter(ids), set(ids), list[str]()
    for each in ids:
        fresh = each if counts[each] == 1 else _free(each, taken)
        taken.add(fresh)
        made.append(fresh)
    return made


def _offers(fields: Fields) -> list[Fields]:
    listed = rows(fields, "formats", limit=MAX_FORMATS)
    return listed or ([fields] if isinstance(fields.get("url"), str) else [])


def _why_not(row: Fields) -> str | None:
    """Return why this is no file that can be fetched, None when it is one."""
    if row.get("has_drm") is True:
        return "it is protected by DRM"
    protocol = (text(row, "protocol", limit=40) or "https").lower()
    if protocol not in {"http", "https"} or row.get("fragments") or _extension(row) in STREAMS:
        return "it is offered as a stream (HLS or DASH), and only whole files are fetched"
    return None if _url(row) else "its file has no address that can be fetched"


def _url(row: Fields) -> str | None:
    """Return the address, by https when plain http is told: nothing is fetched in the clear."""
    told = row.get("url")
    if not isinstance(told, str) or len(told) > MAX_URL_CHARACTERS:
        return None
    # Extractors hand on what pages say, spaces and umlauts included; yt-dlp encodes them later.
    encoded = quote(told.strip(), safe=_URL_SAFE, errors="replace")
    return web_url({"url": re.sub(r"^http://", "https://", encoded)}, "url")


def _extension(row: Fields) -> str:
    """Return what the address ends with, in lower case without the dot."""
    try:
        path = urlsplit(str(row.get("url"))).path
    except ValueError:
        return ""
    # Such as `…/video.ism/manifest`.
    found = re.search(r"\.(m3u8|mpd|f4m|ism)(?:/|$)", path, re.IGNORECASE)
    return (found[1] if found else PurePosixPath(path).suffix[1:]).lower()


def _format(row: Fields, format_id: str) -> VideoFormat:
    container = _container(row)
    video_codec = None if container in SOUND_ONLY else _codec(row, "vcodec")
    return VideoFormat(
        format_id=format_id,
        container=container,
        video_codec=video_codec,
        audio_codec=_codec(row, "acodec"),
        width=integer(row, "width", least=1) if video_codec else None,
        height=integer(row, "height", least=1) if video_codec else None,
        bits_per_second=bits_per_second(row),
        audio_bits_per_second=_per_second(number(row, "abr") or 0),
        bytes=integer(row, "filesize", least=1),
        watermarked="watermark" in (text(row, "format_note", limit=100) or "").lower(),
    )


def _codec(row: Fields, name: str) -> str | None:
    told = (text(row, name, limit=40) or UNKNOWN_CODEC).lower()
    known = (ours for start, ours in _CODECS if told.startswith(start))
    return None if told == "none" else next(known, told.partition(".")[0])


def _container(row: Fields) -> str:
    return container_of(text(row, "ext", limit=10) or _extension(row))


def bits_per_second(row: Fields) -> int | None:
    """Return the average rate that a format tells."""
    parts = (number(row, "vbr") or 0) + (number(row, "abr") or 0)
    return _per_second(number(row, "tbr") or parts)


def _per_second(kilobits: float) -> int | None:
    # yt-dlp's unit: 1000 bits.
    return round(kilobits * 1000) if 0 < kilobits <= MAX_COUNT / 1000 else None


def headers_of(fields: Fields) -> Mapping[str, str]:
    """Return what is to be sent along, of that what media hosts look at."""
    told = fields.get("http_headers")
    pairs = told.items() if isinstance(told, dict) else ()
    named = {name.title(): value for name, value in pairs if _is_header(value)}
    return {name: named[name] for name in _HEADERS if name in named}


def _is_header(value: object) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= _MAX_HEADER_CHARACTERS
        and value.isascii()
        and value.isprintable()
    )


def format_id_of(row: Fields, place: int) -> str:
    """Return the name of a format as it may be part of a file name, its place when it has none."""
    told = text(row, "format_id", limit=60) or ""
    return re.sub(r"[^A-Za-z0-9_-]", "_", told) or str(place)


def _free(name: str, taken: set[str]) -> str:
    numbered = (f"{name}-{number}" for number in range(len(taken) + 1))
    return next(each for each in numbered if each not in taken)
