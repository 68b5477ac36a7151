"""The pictures of a photo post, from what our extractor adds to yt-dlp's dictionary."""

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from agents.platforms.fields import Fields, integer, rows, web_url
from schemas.video import VideoFormat

MAX_PICTURES = 100
"""TikTok takes 35 in a post; the extractor notes no more than this."""

HOSTS_PER_PICTURE = 2
"""TikTok names two or three; one is enough as long as it works."""

_CONTAINER = re.compile(r"\.(jpe?g|png|webp|heic|heif|avif|gif)$")
_DEFAULT_CONTAINER = "jpeg"


class Picture(NamedTuple):
    """One way to a picture: its format, and the address of its bytes."""

    format: VideoFormat
    url: str


def read_pictures(fields: Fields) -> list[Picture]:
    """Return the pictures in their order, each before its motion file if it is a live photo.

    A picture that two hosts offer is two formats of one `VideoFormat.picture`, ``image-01`` and
    ``image-01-2``, so that the second host is there when the first one fails. Motion files are
    ``motion-01`` and ``motion-01-2``.

    Args:
        fields: yt-dlp's dictionary with ``images``: ``{"urls": […], "width": …, "height": …,
            "motion": […]}``. One without an address has its place all the same.
    """
    listed = rows(fields, "images", limit=MAX_PICTURES)
    return [each for place, row in enumerate(listed, start=1) for each in _ways(row, place)]


def missing_pictures(fields: Fields) -> tuple[int, ...]:
    """Return the places of the pictures that the page has no address for."""
    listed = rows(fields, "images", limit=MAX_PICTURES)
    return tuple(place for place, row in enumerate(listed, start=1) if not _urls(row, "urls"))


def _ways(row: Fields, place: int) -> Iterator[Picture]:
    for name, url in _named(f"image-{place:02}", _urls(row, "urls")):
        found = VideoFormat(
            format_id=name,
            container=_container(url),
            width=integer(row, "width", least=1),
            height=integer(row, "height", least=1),
            picture=place,
        )
        yield Picture(found, url)
    for name, url in _named(f"motion-{place:02}", _urls(row, "motion")):
        found = VideoFormat(
            format_id=name, container="mp4", video_codec="h264", picture=place, motion=True
        )
        yield Picture(found, url)


def _named(name: str, urls: list[str]) -> Iterator[tuple[str, str]]:
    for number, url in enumerate(urls, start=1):
        yield (name if number == 1 else f"{name}-{number}"), url


def _urls(row: Fields, name: str) -> list[str]:
    """Return the first address at each host."""
    told = row.get(name)
    given = told if isinstance(told, list) else []
    usable = [url for each in given if (url := web_url({"url": each}, "url"))]
    by_host: dict[str, str] = {}
    for url in usable:
        by_host.setdefault(urlsplit(url).hostname or "", url)
    return list(by_host.values())[:HOSTS_PER_PICTURE]


def _container(url: str) -> str:
    found = _CONTAINER.search(urlsplit(url).path.lower())
    return found[1].replace("jpg", "jpeg") if found else _DEFAULT_CONTAINER
