"""yt-dlp's TikTok extractor with faster decoding, photo posts and TikTok's own failure reasons.

Page data is untrusted: any part of it may be missing or of another type.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from yt_dlp.extractor.tiktok import TikTokIE as StockTikTokIE
from yt_dlp.utils import ExtractorError

from agents.platforms.tiktok.base import PageIE
from agents.platforms.tiktok.urls import post_id_of

REDIRECTED_TO = "redirected_to"
"""Key of the result: id of the post to which TikTok redirected the request."""

DETAIL = "webapp.video-detail"

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
_SCRIPT_MARKER = 'id="__UNIVERSAL_DATA_FOR_REHYDRATION__"'
_SCRIPT_TAG = "<script "
_SCRIPT_END = "</script>"

_WITHHELD = (("shop", ("isECVideo", "isEcVideo")), ("ad", ("isAd",)))
"""Flags of posts whose video TikTok withholds from the page and shows in its app only."""


class TikTokIE(PageIE, StockTikTokIE):
    """`yt_dlp.extractor.tiktok.TikTokIE` that records ``status_code`` and ``status_message``.

    The stock extractor reports every status 10204 as a blocked IP address, although the page's
    ``statusMsg`` distinguishes deleted, private and withheld posts. The class has the stock name
    because yt-dlp derives ``IE_NAME`` and ``ie_key()`` from it.

    The result of a photo post also has ``images`` (`read_images`). Only the post's part of the
    page's data is decoded, if the page has the known form.

    A page that describes another post than the requested one is a failure, unless TikTok itself
    redirected to that post: then the result has `REDIRECTED_TO`.
    """

    # The methods pass on any further arguments that the engine's version of yt-dlp has.

    def _get_universal_data(self, webpage: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        data: dict[str, Any] | None = read_post_data(webpage)
        if data is None:
            data = super()._get_universal_data(webpage, *args, **kwargs)
        self._record_status(data.get(DETAIL))
        return data

    def _parse_aweme_video_web(
        self, aweme_detail: Any, webpage_url: str, video_id: str, *args: Any, **kwargs: Any
    ) -> Any:
        redirect = self._check_id(aweme_detail, video_id)
        info = super()._parse_aweme_video_web(aweme_detail, webpage_url, video_id, *args, **kwargs)
        _add_song_duration(info, aweme_detail)
        images = read_images(aweme_detail)
        if not images:
            self._check_withheld(aweme_detail, info.get("formats"))
        return {**info, **({"images": images} if images else {}), **redirect}

    def _check_id(self, item: dict[str, Any], requested: str) -> dict[str, str]:
        """Return the result's entry for a redirect, empty for the requested post.

        Raises:
            ExtractorError: the page describes another post.
        """
        page_id = str(item.get("id") or requested)
        if page_id == requested:
            return {}
        if page_id == post_id_of(self.page_url):
            return {REDIRECTED_TO: page_id}
        self.facts["page_id"] = page_id
        raise ExtractorError("The page describes another post")

    def _check_withheld(self, item: dict[str, Any], formats: Any) -> None:
        """Reject a shop or ad post whose page has audio only.

        Raises:
            ExtractorError: the page withholds the video.
        """
        kinds = [name for name, keys in _WITHHELD if any(_is_set(item.get(key)) for key in keys)]
        if kinds and formats is not None and all(_is_audio(each) for each in formats):
            self.facts["withheld"] = kinds[0]
            raise ExtractorError("The page has no video of a shop or ad post", expected=True)

    def _record_status(self, detail: Any) -> None:
        if not isinstance(detail, dict):
            return
        for fact, key in (("status_code", "statusCode"), ("status_message", "statusMsg")):
            if detail.get(key) is not None:
                self.facts[fact] = str(detail[key])


def _is_set(flag: Any) -> bool:
    return flag is True or (isinstance(flag, int | str) and str(flag) in {"1", "true"})


def _is_audio(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("vcodec") == "none"


def _add_song_duration(info: dict[str, Any], item: Any) -> None:
    """Add the duration of the song to its format, which yt-dlp omits."""
    music = item.get("music") if isinstance(item, dict) else None
    seconds = music.get("duration") if isinstance(music, dict) else None
    for each in info.get("formats") or ():
        if each.get("vcodec") == "none":
            each["duration"] = seconds


class _Scope(msgspec.Struct, frozen=True, gc=False):
    detail: Any = msgspec.field(name=DETAIL)


class _Data(msgspec.Struct, frozen=True, gc=False):
    scope: _Scope = msgspec.field(name="__DEFAULT_SCOPE__")


_decoder = msgspec.json.Decoder(_Data)


def read_post_data(webpage: str) -> dict[str, Any] | None:
    """Return ``{DETAIL: …}`` of a page in the known form, None for every other page.

    A page holds some 300 KB of JSON (translations, settings of the site, the post), and the post is
    a tenth of it. The rest is validated as JSON and skipped, so that a page decodes here only if it
    does in yt-dlp, with the same result; a page that is not in the known form is left to yt-dlp.
    The one exception: an integer of more than 4,300 digits in the skipped part makes Python's
    decoder fail and not this one.

    The known form: the first script element that has the marker begins with it and contains one
    JSON object with `DETAIL` in its place, and nothing that only Python's decoder accepts. Takes
    linear time in the size of the page, whatever it contains.
    """
    text = _script_text(webpage)
    if text is None:
        return None
    try:
        return {DETAIL: _decoder.decode(text).scope.detail}
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _script_text(webpage: str) -> str | None:
    # yt-dlp uses the first element with the marker that an object follows, so only the first marker
    # may be examined here.
    marker = webpage.find(_SCRIPT_MARKER)
    if marker < 0 or not webpage.endswith(_SCRIPT_TAG, 0, marker):
        return None
    start = webpage.find(">", marker) + 1
    end = webpage.find(_SCRIPT_END, start)
    return webpage[start:end] if start and end > 0 and webpage.startswith("{", start) else None


def read_images(item: Any) -> list[dict[str, Any]]:
    """Return the pictures of an ``itemStruct``, which yt-dlp omits, in the order of the post.

    Each is ``{"urls": [str, …], "width": int | None, "height": int | None, "motion": [str, …]}``,
    the sides in pixels, ``motion`` the URLs of a live photo's motion file. A picture of an
    unexpected form has no URLs, and keeps its position.
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
