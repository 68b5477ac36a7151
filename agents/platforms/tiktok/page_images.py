"""The pictures of a photo post, which yt-dlp leaves out."""

from collections.abc import Iterator, Mapping
from typing import Any

IMAGES_MAX = 100
"""Pictures of one post that are read; TikTok takes up to 35 in one."""

URLS_MAX = 10
"""Addresses of one picture that are read; pages have two or three."""

SIDE_MAX = 100_000
"""Pixels; a side that is said to be longer is not believed."""

_URL_CHARACTERS_MAX = 4_096
_SCHEMES = ("https://", "http://")


def read_images(item: Any) -> list[dict[str, Any]]:
    """Return the pictures of an ``itemStruct`` in their order, as far as they have an address.

    Each is ``{"urls": [str, …], "width": int | None, "height": int | None}``, the sides in
    pixels. Everything in a page is foreign: what has another form than expected is left out.
    """
    images = _at(item, "imagePost", "images")
    if not isinstance(images, list):
        return []
    return [image for image in map(_read_image, images[:IMAGES_MAX]) if image["urls"]]


def _read_image(image: Any) -> dict[str, Any]:
    return {
        "urls": list(_urls(_at(image, "imageURL", "urlList"))),
        "width": _side(_at(image, "imageWidth")),
        "height": _side(_at(image, "imageHeight")),
    }


def _urls(urls: Any) -> Iterator[str]:
    for url in urls[:URLS_MAX] if isinstance(urls, list) else ():
        if isinstance(url, str) and len(url) <= _URL_CHARACTERS_MAX and url.startswith(_SCHEMES):
            yield url


def _side(pixels: Any) -> int | None:
    # In JSON a truth value is no number; in Python it is.
    is_number = isinstance(pixels, int) and not isinstance(pixels, bool)
    return pixels if is_number and 0 < pixels <= SIDE_MAX else None


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
