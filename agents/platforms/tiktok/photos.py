"""Maps the ``images`` that our extractor adds to yt-dlp's dictionary to picture formats."""

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from agents.platforms.fields import Fields, https_url, integer, objects
from schemas.video import VideoFormat

MAX_PICTURES = 100
"""TikTok permits 35 in a post; the extractor returns no more than this."""

HOSTS_PER_PICTURE = 2
"""TikTok lists two or three; one suffices as long as it works."""

_CONTAINER = re.compile(r"\.(jpe?g|png|webp|heic|heif|avif|gif)$")
_DEFAULT_CONTAINER = "jpeg"


class Picture(NamedTuple):
    """One source of a picture: its format and its URL."""

    format: VideoFormat
    url: str


def read_pictures(fields: Fields) -> list[Picture]:
    """Return the pictures in order, each before its motion file if it is a live photo.

    A picture of two hosts is two formats of one `VideoFormat.picture`, ``image-01`` and
    ``image-01-2``, so that the second host is the fallback of the first. Motion files are
    ``motion-01`` and ``motion-01-2``.

    Args:
        fields: yt-dlp's dictionary with ``images``: ``{"urls": […], "width": …, "height": …,
            "motion": […]}``. A picture without a URL keeps its number.
    """
    images = objects(fields, "images", limit=MAX_PICTURES)
    return [
        each for number, image in enumerate(images, start=1) for each in _sources(image, number)
    ]


def missing_pictures(fields: Fields) -> tuple[int, ...]:
    """Return the numbers, from 1, of the pictures for which the page has no URL."""
    images = objects(fields, "images", limit=MAX_PICTURES)
    return tuple(number for number, image in enumerate(images, start=1) if not _urls(image, "urls"))


def _sources(image: Fields, number: int) -> Iterator[Picture]:
    for format_id, url in _with_ids(f"image-{number:02}", _urls(image, "urls")):
        still = VideoFormat(
            format_id=format_id,
            container=_container(url),
            width=integer(image, "width", minimum=1),
            height=integer(image, "height", minimum=1),
            picture=number,
        )
        yield Picture(still, url)
    for format_id, url in _with_ids(f"motion-{number:02}", _urls(image, "motion")):
        motion = VideoFormat(
            format_id=format_id, container="mp4", video_codec="h264", picture=number, motion=True
        )
        yield Picture(motion, url)


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
