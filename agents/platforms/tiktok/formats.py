"""The files that TikTok offers of a post, from yt-dlp's dictionary, and their links' life."""

import re
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from msgspec.structs import replace

from agents.platforms import expiry
from agents.platforms.fields import Fields, integer, rows, seconds, text, web_url
from agents.platforms.formats import bits_per_second, format_id_of, headers_of, unique
from agents.platforms.tiktok.photos import read_pictures
from schemas.containers import container_of
from schemas.video import Cookie, MediaSource, VideoFormat

MAX_FORMATS = 200
"""Far more than the two dozen of real posts."""

_CODECS = {"bytevc1": "h265", "hevc": "h265", "h265": "h265", "avc": "h264", "h264": "h264"}
"""TikTok's and yt-dlp's names; ``bytevc2`` is H.266, which no common player knows."""

_UNPLAYABLE = "bytevc2"

_SONG = "audio"
"""What yt-dlp calls the file of ``music.playUrl``: the whole song, of which a video uses a part."""

_PICTURE_ONLY = re.compile(r"/media-video-[a-z0-9]+/?$", re.ASCII)
"""How the paths of files without sound end: yt-dlp looks for the one of H.265, and not at the
single addresses."""

_PATH_TIME = re.compile(r"/[0-9a-f]{32}/(?P<time>[0-9a-f]{8})/", re.ASCII)


def read_sources(fields: Fields, cookies: tuple[Cookie, ...] = ()) -> tuple[MediaSource, ...]:
    """Return every format with the place of its bytes: pictures, then the extractor's order.

    A format that two hosts offer is two formats, ``…-0`` and ``…-1``, as yt-dlp lists them, so
    that the second host is there when the first one fails. For pictures see `read_pictures`.

    Args:
        fields: yt-dlp's dictionary, as `TikTokIE` returns it.
        cookies: what the page set. Which of them a host may see is decided when it is asked.
    """
    sources = [*_pictures(fields, cookies), *_files(fields, cookies)]
    ids = unique([source.format.format_id for source in sources])
    pairs = zip(sources, ids, strict=True)
    return tuple(replace(each, format=replace(each.format, format_id=name)) for each, name in pairs)


def read_expiry(sources: Iterable[MediaSource]) -> float | None:
    """Return the epoch second at which the first link stops working, None when no link tells."""
    ends = (expiry.read_expiry([source]) or _path_time(source.url) for source in sources)
    return min((end for end in ends if end), default=None)


def _pictures(fields: Fields, cookies: tuple[Cookie, ...]) -> Iterator[MediaSource]:
    headers = dict(headers_of(fields))
    for picture in read_pictures(fields):
        yield MediaSource(format=picture.format, url=picture.url, headers=headers, cookies=cookies)


def _files(fields: Fields, cookies: tuple[Cookie, ...]) -> Iterator[MediaSource]:
    listed = [row for row in rows(fields, "formats", limit=MAX_FORMATS) if web_url(row, "url")]
    headers = headers_of(fields)
    for place, row in enumerate(listed):
        yield MediaSource(
            format=_heard(_format(row, place), str(row["url"])),
            url=str(row["url"]),
            headers={**headers, **headers_of(row)},
            cookies=cookies,
        )


def _format(row: Fields, place: int) -> VideoFormat:
    video_codec = _codec(row, "vcodec")
    note = (text(row, "format_note", limit=100) or "").lower()
    return VideoFormat(
        format_id=format_id_of(row, place),
        container=container_of(text(row, "ext", limit=10)),
        video_codec=video_codec,
        audio_codec=_codec(row, "acodec"),
        width=integer(row, "width", least=1) if video_codec else None,
        height=integer(row, "height", least=1) if video_codec else None,
        bits_per_second=bits_per_second(row),
        bytes=integer(row, "filesize", least=1),
        duration_seconds=None if video_codec else seconds(row, "duration"),
        watermarked="watermark" in note,
        playable=video_codec != _UNPLAYABLE and "unplayable" not in note,
        song=row.get("format_id") == _SONG,
    )


def _heard(told: VideoFormat, url: str) -> VideoFormat:
    """Return a format without the sound that it cannot have, by its address."""
    is_picture_only = "/media-video-" in url and _PICTURE_ONLY.search(urlsplit(url).path)
    return replace(told, audio_codec=None) if is_picture_only else told


def _codec(row: Fields, name: str) -> str | None:
    told = (text(row, name, limit=40) or "none").lower()
    return None if told == "none" else _CODECS.get(told, told)


def _path_time(url: str) -> float | None:
    """Return the end of a link of the older kind, which has it in its path."""
    found = _PATH_TIME.search(urlsplit(url).path)
    return float(int(found["time"], 16)) if found else None
