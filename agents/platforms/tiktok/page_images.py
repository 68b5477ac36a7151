"""Reads the pictures of a photo post from the page's data, which yt-dlp omits."""

from collections.abc import Iterator, Mapping
from typing import Any

IMAGES_MAX = 100
"""Pictures read per post; TikTok permits up to 35."""

URLS_MAX = 10
"""URLs read per picture; pages have two or three."""

SIDE_MAX = 100_000
"""Pixels; a longer side is treated as missing."""

BITRATES_MAX = 50
"""Encodings read per motion file of a live photo."""

_MOTION_KEYS = ("video", "livePhoto", "motionPhoto", "live_photo")
_URL_CHARACTERS_MAX = 4_096
_SCHEMES = ("https://", "http://")


def read_images(item: Any) -> list[dict[str, Any]]:
    """Return the pictures of an ``itemStruct``, in the order of the post.

    Each is ``{"urls": [str, …], "width": int | None, "height": int | None, "motion": [str, …]}``,
    the sides in pixels, ``motion`` the URLs of a live photo's motion file. Page data is untrusted:
    a picture of an unexpected form has no URLs, and keeps its position.
    """
    images = _get(item, "imagePost", "images")
    return [*map(_read_image, images[:IMAGES_MAX])] if isinstance(images, list) else []


def _read_image(image: Any) -> dict[str, Any]:
    return {
        "urls": list(_urls(_get(image, "imageURL", "urlList"))),
        "width": _side(_get(image, "imageWidth")),
        "height": _side(_get(image, "imageHeight")),
        "motion": _motion(image),
    }


def _motion(image: Any) -> list[str]:
    """Return the URLs of a live photo's motion file.

    It has the form of a post's video: the best of ``bitrateInfo``, then ``playAddr``. In the app's
    responses its key is ``video``; no public page has shown the key, hence the other names.
    """
    for name in _MOTION_KEYS:
        motion = _get(image, name)
        video = _get(motion, "video") or motion
        urls = [*_best_bitrate(video), *_read_urls(_get(video, "playAddr")), *_read_urls(video)]
        if urls:
            return urls[:URLS_MAX]
    return []


def _best_bitrate(video: Any) -> list[str]:
    listed = _get(video, "bitrateInfo")
    encodings = listed[:BITRATES_MAX] if isinstance(listed, list) else []
    encodings.sort(key=lambda each: _side(_get(each, "PlayAddr", "Width")) or 0, reverse=True)
    candidates = (_read_urls(_get(each, "PlayAddr")) for each in encodings)
    return next((urls for urls in candidates if urls), [])


def _read_urls(value: Any) -> list[str]:
    """Return the URLs of a string, or of an object with a list of them."""
    if isinstance(value, str):
        return list(_urls([value]))
    return [url for name in ("urlList", "UrlList") for url in _urls(_get(value, name))]


def _urls(urls: Any) -> Iterator[str]:
    for url in urls[:URLS_MAX] if isinstance(urls, list) else ():
        if isinstance(url, str) and len(url) <= _URL_CHARACTERS_MAX and url.startswith(_SCHEMES):
            yield url


def _side(pixels: Any) -> int | None:
    # bool is a subclass of int in Python, but no number in JSON.
    is_number = isinstance(pixels, int) and not isinstance(pixels, bool)
    return pixels if is_number and 0 < pixels <= SIDE_MAX else None


def _get(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
