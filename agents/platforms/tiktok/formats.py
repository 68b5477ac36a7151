"""Lists the formats of a TikTok post, from our extractor's dictionary, and their links' expiry.

Files are yt-dlp's ``formats``; the pictures of a photo post are the ``images`` that our extractor
adds.
"""

import re
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from msgspec.structs import replace

from agents.platforms import formats
from agents.platforms.fields import Fields, https_url, integer, objects, seconds, text
from agents.platforms.formats import bits_per_second, format_id_of, media_headers, unique_ids
from schemas.video import Cookie, MediaSource, VideoFormat, container_of

MAX_FORMATS = 200
"""Formats per post; real posts have about two dozen."""

MAX_PICTURES = 100
"""TikTok permits 35 in a post; the extractor returns no more than this."""

HOSTS_PER_PICTURE = 2
"""TikTok lists two or three; one suffices as long as it works."""

_CODECS = {"bytevc1": "h265", "hevc": "h265", "h265": "h265", "avc": "h264", "h264": "h264"}
"""TikTok's and yt-dlp's names. Missing: ``bytevc2``, H.266, which no common player supports."""

_UNPLAYABLE = "bytevc2"

_SONG = "audio"
"""Format id of ``music.playUrl`` in yt-dlp: the whole song, of which a video uses a part."""

_VIDEO_ONLY = re.compile(r"/media-video-[a-z0-9]+/?$", re.ASCII)
"""Path suffix of files without audio: yt-dlp checks for that of H.265 only, and not every URL."""

_PATH_TIME = re.compile(r"/[0-9a-f]{32}/(?P<time>[0-9a-f]{8})/", re.ASCII)

_CONTAINER = re.compile(r"\.(jpe?g|png|webp|heic|heif|avif|gif)$")
_DEFAULT_CONTAINER = "jpeg"


def read_sources(fields: Fields, cookies: tuple[Cookie, ...] = ()) -> tuple[MediaSource, ...]:
    """Return every format with its URL: pictures first, then files in the extractor's order.

    A format of two hosts is two formats, ``…-0`` and ``…-1``, as yt-dlp lists them, so that the
    second host is the fallback of the first. For pictures see `read_pictures`.

    Args:
        fields: yt-dlp's dictionary, as `TikTokIE` returns it.
        cookies: cookies that the page set. They are filtered by host at the time of a request.
    """
    sources = [*read_pictures(fields, cookies), *_files(fields, cookies)]
    ids = unique_ids([source.format.format_id for source in sources])
    pairs = zip(sources, ids, strict=True)
    return tuple(replace(each, format=replace(each.format, format_id=name)) for each, name in pairs)


def read_expiry(sources: Iterable[MediaSource]) -> float | None:
    """Return the epoch second at which the first link expires, None when no link carries it."""
    ends = (formats.read_expiry([source]) or _path_time(source.url) for source in sources)
    return min((end for end in ends if end), default=None)


def _files(fields: Fields, cookies: tuple[Cookie, ...]) -> Iterator[MediaSource]:
    entries = objects(fields, "formats", limit=MAX_FORMATS)
    headers = media_headers(fields)
    for index, entry in enumerate(each for each in entries if https_url(each, "url")):
        yield MediaSource(
            format=_format(entry, index),
            url=str(entry["url"]),
            headers={**headers, **media_headers(entry)},
            cookies=cookies,
        )


def _format(entry: Fields, index: int) -> VideoFormat:
    video_codec = _codec(entry, "vcodec")
    note = (text(entry, "format_note", limit=100) or "").lower()
    url = str(entry["url"])
    is_video_only = "/media-video-" in url and _VIDEO_ONLY.search(urlsplit(url).path)
    return VideoFormat(
        format_id=format_id_of(entry, index),
        container=container_of(text(entry, "ext", limit=10)),
        video_codec=video_codec,
        audio_codec=None if is_video_only else _codec(entry, "acodec"),
        width=integer(entry, "width", minimum=1) if video_codec else None,
        height=integer(entry, "height", minimum=1) if video_codec else None,
        bits_per_second=bits_per_second(entry),
        bytes=integer(entry, "filesize", minimum=1),
        duration_seconds=None if video_codec else seconds(entry, "duration"),
        watermarked="watermark" in note,
        playable=video_codec != _UNPLAYABLE and "unplayable" not in note,
        song=entry.get("format_id") == _SONG,
    )


def _codec(entry: Fields, name: str) -> str | None:
    value = (text(entry, name, limit=40) or "none").lower()
    return None if value == "none" else _CODECS.get(value, value)


def _path_time(url: str) -> float | None:
    """Return the expiry time of a link of the older kind, which has it in its path."""
    found = _PATH_TIME.search(urlsplit(url).path)
    return float(int(found["time"], 16)) if found else None


def read_pictures(fields: Fields, cookies: tuple[Cookie, ...] = ()) -> list[MediaSource]:
    """Return the pictures in order, each before its motion file if it is a live photo.

    A picture of two hosts is two formats of one `VideoFormat.picture`, ``image-01`` and
    ``image-01-2``, so that the second host is the fallback of the first. Motion files are
    ``motion-01`` and ``motion-01-2``.

    Args:
        fields: yt-dlp's dictionary with ``images``: ``{"urls": […], "width": …, "height": …,
            "motion": […]}``. A picture without a URL keeps its number.
        cookies: see `read_sources`.
    """
    headers = dict(media_headers(fields))
    images = objects(fields, "images", limit=MAX_PICTURES)
    return [
        MediaSource(format=described, url=url, headers=headers, cookies=cookies)
        for number, image in enumerate(images, start=1)
        for described, url in _picture(image, number)
    ]


def missing_pictures(fields: Fields) -> tuple[int, ...]:
    """Return the numbers, from 1, of the pictures for which the page has no URL."""
    images = objects(fields, "images", limit=MAX_PICTURES)
    return tuple(number for number, image in enumerate(images, start=1) if not _urls(image, "urls"))


def _picture(image: Fields, number: int) -> Iterator[tuple[VideoFormat, str]]:
    """Yield the formats of a picture and of its motion file, each with its URL."""
    for format_id, url in _with_ids(f"image-{number:02}", _urls(image, "urls")):
        still = VideoFormat(
            format_id=format_id,
            container=_container(url),
            width=integer(image, "width", minimum=1),
            height=integer(image, "height", minimum=1),
            picture=number,
        )
        yield still, url
    for format_id, url in _with_ids(f"motion-{number:02}", _urls(image, "motion")):
        motion = VideoFormat(
            format_id=format_id, container="mp4", video_codec="h264", picture=number, motion=True
        )
        yield motion, url


def _with_ids(name: str, urls: list[str]) -> Iterator[tuple[str, str]]:
    for number, url in enumerate(urls, start=1):
        yield (name if number == 1 else f"{name}-{number}"), url


def _urls(image: Fields, name: str) -> list[str]:
    """Return the first URL of each host, at most `HOSTS_PER_PICTURE`."""
    value = image.get(name)
    listed = value if isinstance(value, list) else []
    valid = [url for each in listed if (url := https_url({"url": each}, "url"))]
    by_host: dict[str, str] = {}
    for url in valid:
        by_host.setdefault(urlsplit(url).hostname or "", url)
    return list(by_host.values())[:HOSTS_PER_PICTURE]


def _container(url: str) -> str:
    found = _CONTAINER.search(urlsplit(url).path.lower())
    return found[1].replace("jpg", "jpeg") if found else _DEFAULT_CONTAINER
