"""The pictures of a photo post, which yt-dlp leaves out."""

from collections.abc import Iterator, Mapping
from typing import Any

IMAGES_MAX = 100
"""Pictures of one post that are read; TikTok takes up to 35 in one."""

URLS_MAX = 10
"""Addresses of one picture that are read; pages have two or three."""

SIDE_MAX = 100_000
"""Pixels; a side that is said to be longer is not believed."""

BITRATES_MAX = 50
"""Encodings of a live photo's moving file that are read."""

_MOTIONS = ("video", "livePhoto", "motionPhoto", "live_photo")
_URL_CHARACTERS_MAX = 4_096
_SCHEMES = ("https://", "http://")


def read_images(item: Any) -> list[dict[str, Any]]:
    """Return the pictures of an ``itemStruct``, each at its place in the post.

    Each is ``{"urls": [str, …], "width": int | None, "height": int | None, "motion": [str, …]}``,
    the sides in pixels, ``motion`` the addresses of a live photo's moving file. Everything in a
    page is foreign: what has another form than expected has no address, and keeps its place.
    """
    images = _at(item, "imagePost", "images")
    return [*map(_read_image, images[:IMAGES_MAX])] if isinstance(images, list) else []


def _read_image(image: Any) -> dict[str, Any]:
    return {
        "urls": list(_urls(_at(image, "imageURL", "urlList"))),
        "width": _side(_at(image, "imageWidth")),
        "height": _side(_at(image, "imageHeight")),
        "motion": _motion(image),
    }


def _motion(image: Any) -> list[str]:
    """Return where a live photo's moving file is.

    It has the form of a post's video: the best of ``bitrateInfo``, then ``playAddr``. It stands in
    ``video``, as in the app's answers; no public page shows its name, hence the others.
    """
    for name in _MOTIONS:
        told = _at(image, name)
        video = _at(told, "video") or told
        found = [*_best_bitrate(video), *_addresses(_at(video, "playAddr")), *_addresses(video)]
        if found:
            return found[:URLS_MAX]
    return []


def _best_bitrate(video: Any) -> list[str]:
    listed = _at(video, "bitrateInfo")
    rows = listed[:BITRATES_MAX] if isinstance(listed, list) else []
    rows.sort(key=lambda row: _side(_at(row, "PlayAddr", "Width")) or 0, reverse=True)
    found = (_addresses(_at(row, "PlayAddr")) for row in rows)
    return next((urls for urls in found if urls), [])


def _addresses(told: Any) -> list[str]:
    """Return addresses that are given as one text, or as a list in an object."""
    if isinstance(told, str):
        return list(_urls([told]))
    return [url for name in ("urlList", "UrlList") for url in _urls(_at(told, name))]


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
