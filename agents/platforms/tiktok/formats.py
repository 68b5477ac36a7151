"""The files that TikTok offers of a video, from yt-dlp's dictionary, and their links' life."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, urlsplit

from agents.platforms.fields import MAX_COUNT, Fields, integer, number, rows, text, web_url
from schemas.video import Cookie, MediaSource, VideoFormat

MAX_FORMATS = 200
"""Far more than the two dozen of real posts."""

_CODECS = {"bytevc1": "h265", "hevc": "h265", "h265": "h265", "avc": "h264", "h264": "h264"}
"""TikTok's and yt-dlp's names; ``bytevc2`` is H.266, which no common player knows."""

_UNPLAYABLE = "bytevc2"
_HEADERS = ("Referer", "Origin", "User-Agent", "Accept", "Accept-Language")
"""What media hosts look at; everything else is for the fetcher to decide."""

_PATH_TIME = re.compile(r"/[0-9a-f]{32}/(?P<time>[0-9a-f]{8})/", re.ASCII)
_EXPIRY_PARAMETERS = ("expire", "x-expires")
_MAX_HEADER_CHARACTERS = 2_048


def read_sources(fields: Fields, cookies: tuple[Cookie, ...] = ()) -> tuple[MediaSource, ...]:
    """Return every format with the place of its bytes, in the extractor's order.

    A format that two hosts offer is two formats, ``…-0`` and ``…-1``, as yt-dlp lists them, so
    that the second host is there when the first one fails.

    Args:
        fields: yt-dlp's dictionary, as `TikTokIE` returns it.
        cookies: what the page set. Which of them a host may see is decided when it is asked.
    """
    listed = [row for row in rows(fields, "formats", limit=MAX_FORMATS) if web_url(row, "url")]
    ids = _unique([_format_id(row, place) for place, row in enumerate(listed)])
    return tuple(
        MediaSource(
            format=_format(row, format_id),
            url=str(row["url"]),
            headers={**_headers(fields), **_headers(row)},
            cookies=cookies,
        )
        for row, format_id in zip(listed, ids, strict=True)
    )


def read_expiry(sources: Iterable[MediaSource]) -> float | None:
    """Return the epoch second at which the first link stops working, None when no link tells."""
    return min((told for source in sources if (told := _expiry(source.url))), default=None)


def _format(row: Fields, format_id: str) -> VideoFormat:
    video_codec = _codec(row, "vcodec")
    note = (text(row, "format_note", limit=100) or "").lower()
    return VideoFormat(
        format_id=format_id,
        container=_container(row),
        video_codec=video_codec,
        audio_codec=_codec(row, "acodec"),
        width=integer(row, "width", least=1) if video_codec else None,
        height=integer(row, "height", least=1) if video_codec else None,
        bits_per_second=_bits_per_second(row),
        bytes=integer(row, "filesize", least=1),
        watermarked="watermark" in note,
        playable=video_codec != _UNPLAYABLE and "unplayable" not in note,
    )


def _codec(row: Fields, name: str) -> str | None:
    told = (text(row, name, limit=40) or "none").lower()
    return None if told == "none" else _CODECS.get(told, told)


def _container(row: Fields) -> str:
    told = (text(row, "ext", limit=10) or "").lower()
    return told if re.fullmatch(r"[a-z0-9]{1,8}", told, re.ASCII) else "mp4"


def _bits_per_second(row: Fields) -> int | None:
    kilobits = number(row, "tbr")  # yt-dlp's unit: 1000 bits
    return round(kilobits * 1000) if kilobits and 0 < kilobits <= MAX_COUNT / 1000 else None


def _headers(fields: Fields) -> Mapping[str, str]:
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


def _format_id(row: Fields, place: int) -> str:
    told = text(row, "format_id", limit=60) or ""
    return re.sub(r"[^A-Za-z0-9_-]", "_", told) or str(place)


def _unique(ids: list[str]) -> list[str]:
    """Number the ids that occur more than once, from 0, past ids that look so already."""
    counts, taken, unique = Counter(ids), set(ids), list[str]()
    for each in ids:
        fresh = each if counts[each] == 1 else _free(each, taken)
        taken.add(fresh)
        unique.append(fresh)
    return unique


def _free(name: str, taken: set[str]) -> str:
    numbered = (f"{name}-{number}" for number in range(len(taken) + 1))
    return next(each for each in numbered if each not in taken)


def _expiry(url: str) -> float | None:
    """Return the time in a signed link: a parameter, or in older ones a part of the path."""
    parts = urlsplit(url)
    told = dict(parse_qsl(parts.query))
    for name in _EXPIRY_PARAMETERS:
        if re.fullmatch(r"[0-9]{9,11}", told.get(name, ""), re.ASCII):
            return float(told[name])
    found = _PATH_TIME.search(parts.path)
    return float(int(found["time"], 16)) if found else None
