"""The JSON object of one post, `itemStruct`, as in the site's video pages."""

import zlib
from collections.abc import Iterator
from typing import Any

from tests.standin import links
from tests.standin.accounts import sec_uid
from tests.standin.posts import (
    DURATION_SECONDS,
    MOTION,
    RENDITIONS,
    Post,
    Rendition,
    image_ids,
    media_bytes,
)

Json = dict[str, Any]
# The smaller side in pixels; 540p is 576 wide.
_SIDES = {"540p": 576, "720p": 720, "1080p": 1080}
MOTION_SECONDS = 5
_CODEC_TYPES = {"h264": "h264", "bytevc1": "h265_hvc1", "bytevc2": "h266"}


class Links:
    """Builds the media URLs of one post for a page.

    Args:
        post: The post of the media.
        issue: Signing context of the page.
    """

    def __init__(self, post: Post, issue: links.Issue) -> None:
        self._post = post
        self._issue = issue

    def media(self, host: str, format_id: str) -> str:
        return links.media_url(self._post, host, format_id, self._issue)

    def images(self, format_id: str) -> list[str]:
        """The URL at each host."""
        first = (links.DEAD_IMAGE_HOST,) if self._post.dead_host else links.IMAGE_HOSTS[:1]
        hosts = (*first, *links.IMAGE_HOSTS[1:])
        return [links.image_url(self._post, host, format_id, self._issue) for host in hosts]


def item_struct(post: Post, links_of: Links) -> Json:
    """The whole item."""
    counts = _counts(post)
    return {
        "id": post.video_id,
        "desc": post.description,
        "createTime": str(post.created),
        "scheduleTime": 0,
        "video": _video(post, links_of),
        "author": account_fields(post.author),
        "music": _music(post, links_of),
        "stats": counts,
        "statsV2": {name: str(count) for name, count in counts.items()},
        "authorStats": {"followerCount": 5120, "followingCount": 64, "videoCount": 128},
        "isAd": bool(post.promotion),
        "privateItem": False,
        "duetEnabled": True,
        "itemCommentStatus": 0,
        "locationCreated": "US",
        "textLanguage": "en",
    } | _extras(post, links_of)


def _extras(post: Post, links_of: Links) -> Json:
    """Fields that only some items have."""
    shop = {"isECVideo": 1} if post.promotion == "shop" else {}
    return shop | ({"imagePost": _images(post, links_of)} if post.images else {})


def classified_item(post: Post) -> Json:
    """The item of classified content without a login."""
    return {
        "id": post.video_id,
        "desc": post.description,
        "createTime": str(post.created),
        "author": account_fields(post.author),
        "isContentClassified": True,
    }


def account_fields(name: str) -> Json:
    """The fields of an account."""
    return {
        "id": str(6_800_000_000_000_000_000 + zlib.crc32(name.encode())),
        "uniqueId": name,
        "nickname": name.replace(".", " ").title(),
        "secUid": sec_uid(name),
        "verified": False,
        "privateAccount": False,
        "signature": "clips, mostly",
    }


def _counts(post: Post) -> dict[str, int]:
    base = int(post.video_id) % 1000
    return {
        "diggCount": base * 11,
        "shareCount": base,
        "commentCount": base * 2,
        "playCount": base * 97 + 1000,
        "collectCount": base * 3,
    }


def _music(post: Post, links_of: Links) -> Json:
    address = links_of.media(links.AUDIO_HOST, "audio") if post.audio else ""
    return {
        "id": "6961234567890123456",
        "title": "original sound",
        "authorName": post.author,
        "album": "",
        "duration": post.song_seconds,
        "original": True,
        "playUrl": address,
    }


def _video(post: Post, links_of: Links) -> Json:
    if post.images and not post.renditions:
        return {"id": post.video_id, "width": 0, "height": 0, "duration": 0, "ratio": ""}
    return {
        "id": post.video_id,
        "width": post.width,
        "height": post.height,
        "duration": DURATION_SECONDS,
        "ratio": "720p",
        "format": "mp4",
        "codecType": "h264",
        "definition": "720p",
        **dict.fromkeys(("cover", "originCover", "dynamicCover"), links_of.images("cover")[0]),
        "bitrateInfo": [_bitrate(post, item, links_of) for item in post.renditions],
        **dict(_single_addresses(post, links_of)),
    }


def _single_addresses(post: Post, links_of: Links) -> Iterator[tuple[str, str]]:
    if post.play:
        yield "playAddr", links_of.media(links.VIDEO_HOSTS[0], "play")
    if post.download:
        yield "downloadAddr", links_of.media(links.DOWNLOAD_HOST, "download")


def _bitrate(post: Post, rendition: Rendition, links_of: Links) -> Json:
    size = (media_bytes(post, rendition.format_id) or 0) * post.declared_factor
    width, height = dimensions(post, rendition)
    file_id = f"v12044gd0000{zlib.crc32(post.video_id.encode()):08x}"
    addresses = [links_of.media(host, rendition.format_id) for host in links.VIDEO_HOSTS]
    api = f"https://www.tiktok.com/aweme/v1/play/?faid=1988&item_id={post.video_id}&line=0"
    return {
        "Bitrate": rendition.bits_per_second,
        "BitrateFPS": 30,
        "CodecType": _CODEC_TYPES[rendition.codec],
        "Format": "mp4",
        "GearName": f"adapt_lowest_{rendition.resolution.removesuffix('p')}_1",
        "MVMAF": '{"v2.0": {"ori": {"v1080": 84.1, "v720": 89.4, "v540": 92.2}}}',
        "QualityType": 20 + RENDITIONS.index(rendition),
        "PlayAddr": {
            "DataSize": str(size),
            "FileCs": f"c:0-{size}-{zlib.crc32(rendition.format_id.encode()):04x}",
            "FileHash": f"{zlib.crc32(post.video_id.encode()):032x}",
            "Uri": file_id,
            "UrlKey": f"{file_id}_{rendition.format_id}",
            "UrlList": [*addresses, api],
            "Width": width,
            "Height": height,
        },
    }


def dimensions(post: Post, rendition: Rendition) -> tuple[int, int]:
    small = _SIDES[rendition.resolution]
    large = small * max(post.width, post.height) // min(post.width, post.height)
    return (small, large) if post.height > post.width else (large, small)


def _images(post: Post, links_of: Links) -> Json:
    pictures = [_image(links_of.images(name)) for name in image_ids(post)]
    if post.lost_image:
        pictures[post.lost_image - 1]["imageURL"] = {"urlList": []}
    if post.live_image:
        address = links_of.media(links.VIDEO_HOSTS[0], MOTION)
        pictures[post.live_image - 1]["video"] = {"playAddr": address, "duration": MOTION_SECONDS}
    return {
        "images": pictures,
        "cover": pictures[0],
        "shareCover": pictures[0],
        "title": post.description,
    }


def _image(addresses: list[str]) -> Json:
    return {"imageURL": {"urlList": addresses}, "imageWidth": 1080, "imageHeight": 1440}
