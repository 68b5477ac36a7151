"""Base class of platforms whose posts hold one video, or several videos and pictures.

Several files are a playlist of yt-dlp. They are described as the files of a photo post: one for
each position, in the author's order.
"""

from urllib.parse import urlsplit

from msgspec.structs import replace

from agents.platforms import formats
from agents.platforms.base import BasePlatform
from agents.platforms.fields import Fields, decode_raw, https_url, integer, objects, text
from agents.platforms.formats import media_headers
from schemas.video import (
    Cookie,
    Extraction,
    MediaSource,
    VideoFormat,
    VideoInfo,
    VideoRef,
    container_of,
)

MAX_FILES = 100
"""Files per post; Instagram permits 20, X four."""

MAX_SIZES = 50
"""Sizes of a picture that are compared."""

_PICTURES = frozenset({"jpeg", "png", "webp", "heic", "avif", "gif"})

_DEFAULT_PICTURE = "jpeg"


class PostPlatform(BasePlatform):
    """A `Platform` of posts: a single video is selected by size, several files are all fetched."""

    def check_page(self, fields: Fields, video: VideoRef) -> None:
        """Verify that the post has a file.

        Raises:
            ClipmillError: ``content.no_formats``, it has none; ``content.unsupported``, it
                refers to another page.
        """
        if not is_post_of_files(fields):
            super().check_page(fields, video)
        elif not read_files(fields):
            raise formats.no_formats_error(fields, video, self.site)

    def get_media_sources(self, extraction: Extraction) -> tuple[MediaSource, ...]:
        fields = decode_raw(extraction.raw)
        if is_post_of_files(fields):
            return read_files(fields, extraction.cookies)
        return super().get_media_sources(extraction)

    def read_info(
        self, fields: Fields, video: VideoRef, offered: tuple[VideoFormat, ...]
    ) -> VideoInfo:
        info = super().read_info(fields, video, offered)
        if not is_post_of_files(fields):
            return info
        return replace(info, content="photos", missing_pictures=missing_files(fields))


def is_post_of_files(fields: Fields) -> bool:
    """Return whether the dictionary describes several files of one post."""
    return text(fields, "_type", limit=20) == "playlist"


def read_files(fields: Fields, cookies: tuple[Cookie, ...] = ()) -> tuple[MediaSource, ...]:
    """Return one file for each position of the post that has one.

    A video is its largest whole file: the files of a post are not selected by size, and streams
    would have to be joined. A picture is its largest size.
    """
    entries = enumerate(objects(fields, "entries", limit=MAX_FILES), start=1)
    found = (_read_file(entry, number, cookies) for number, entry in entries)
    return tuple(each for each in found if each is not None)


def missing_files(fields: Fields) -> tuple[int, ...]:
    """Return the positions, from 1, for which the page has no file that can be fetched."""
    entries = enumerate(objects(fields, "entries", limit=MAX_FILES), start=1)
    return tuple(number for number, entry in entries if _read_file(entry, number, ()) is None)


def _read_file(entry: Fields, number: int, cookies: tuple[Cookie, ...]) -> MediaSource | None:
    if entry.get("formats") or entry.get("url"):
        return _read_video(entry, number, cookies)
    return _read_picture(entry, number, cookies)


def _read_video(entry: Fields, number: int, cookies: tuple[Cookie, ...]) -> MediaSource | None:
    whole = (each for each in formats.read_sources(entry, cookies) if _is_whole(each.format))
    best = max(whole, key=lambda each: _size(each.format), default=None)
    if best is None:
        return None
    described = replace(best.format, format_id=f"video-{number:02}", picture=number, motion=True)
    return replace(best, format=described)


def _is_whole(each: VideoFormat) -> bool:
    return (
        each.protocol == "https" and each.video_codec is not None and each.audio_codec is not None
    )


def _size(each: VideoFormat) -> tuple[int, int]:
    return each.smaller_side, each.bits_per_second or 0


def _read_picture(entry: Fields, number: int, cookies: tuple[Cookie, ...]) -> MediaSource | None:
    sizes = [
        (integer(each, "width") or 0, url)
        for each in objects(entry, "thumbnails", limit=MAX_SIZES)
        if (url := https_url(each, "url"))
    ]
    if not sizes:
        return None
    # Of equal sizes the last: yt-dlp lists pictures from the worst to the best.
    width, url = max(reversed(sizes), key=lambda size: size[0])
    described = VideoFormat(
        format_id=f"image-{number:02}",
        container=_picture_container(url),
        width=width or None,
        picture=number,
    )
    return MediaSource(
        format=described, url=url, headers=dict(media_headers(entry)), cookies=cookies
    )


def _picture_container(url: str) -> str:
    extension = urlsplit(url).path.rpartition(".")[2].lower().replace("jpg", "jpeg")
    return container_of(extension) if extension in _PICTURES else _DEFAULT_PICTURE
