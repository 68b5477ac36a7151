"""Signed media URLs: how they are issued and verified."""

import functools
import hashlib
import re
import time
from dataclasses import dataclass
from urllib.parse import quote

from tests.standin.posts import Post
from tests.standin.wire import Request

# Two hosts serve each format; those under tiktok.com require the cookie of the page.
VIDEO_HOSTS = ("v16-webapp-prime.tiktok.com", "v19-webapp-prime.us.tiktok.com")
DOWNLOAD_HOST = "v19.tiktokcdn.com"
AUDIO_HOST = "sf16-ies-music.tiktokcdn.com"
IMAGE_HOSTS = ("p16-sign-va.tiktokcdn.com", "p19-sign-va.tiktokcdn.com")
# Serves no picture at all.
DEAD_IMAGE_HOST = "p77-sign-va.tiktokcdn.com"
TOKEN_COOKIE = "tt_chain_token"
_PATH = re.compile(r"/(?P<id>\d{1,20})/(?P<format>[a-z0-9_]{1,40})(?:[/~]|$)", re.ASCII)
# Pre-encoded: encoding it for the fifteen URLs of a page would cost more than the page.
_UNCHANGING = (
    "a=1988&bti=ODszNWYuMDE6&ch=0&cr=3&dr=0&lr=all&cd=0%7C0%7C0%7C&cv=1"
    "&ft=4KJMyMzm8Zmo0apOi94jV94rdpWrKsd.&rc=Mzs6ZTc5Ojk1ZTMzNzczM0BpanN1ajU6Zm"
    "&btag=e000b8000&ply_type=2&policy=2"
)
_SUFFIX = "~tplv-photomode-image"


@dataclass(frozen=True, slots=True)
class MediaAddress:
    """The media file of a request."""

    video_id: str
    format_id: str


@dataclass(frozen=True, slots=True)
class Issue:
    """Signing context of links.

    Attributes:
        now: Unix time of issue.
        marker: The user name's case, passed on to the media request.
        page: The number of the page among those of its video.
    """

    now: float
    marker: str = ""
    page: int = 1


def media_url(post: Post, host: str, format_id: str, issue: Issue) -> str:
    """A signed URL of video or audio.

    Args:
        post: The post of the media.
        host: One of the hosts of this module; the post's own host overrides it.
        format_id: Of the media.
        issue: Signing context.
    """
    kind, mime = ("music", "audio_mp4") if format_id == "audio" else ("video", "video_mp4")
    tail = "media-video-hvc1/" if post.is_mute(format_id) else ""
    path = f"/{kind}/tos/maliva/tos-maliva-ve-0068c799-us/{post.video_id}/{format_id}/{tail}"
    expire = int(issue.now) + post.link_seconds
    return (
        f"https://{post.media_host or host}{path}?{_UNCHANGING}&mime_type={mime}&expire={expire}"
        f"&l={_log_id(int(issue.now))}&signature={_signature(path, expire)}"
        f"&tk={TOKEN_COOKIE}{_marked(issue)}"
    )


def image_url(post: Post, host: str, format_id: str, issue: Issue) -> str:
    """A signed URL of a picture, at one of the hosts of this module."""
    path = f"/tos-maliva-i-photomode-us/{post.video_id}/{format_id}{_SUFFIX}.{post.image_extension}"
    expire = int(issue.now) + post.link_seconds
    signed = f"x-expires={expire}&x-signature={_signature(path, expire)}"
    return f"https://{post.media_host or host}{path}?{signed}{_marked(issue)}"


def media_address(path: str) -> MediaAddress | None:
    """The media file of a path, if any."""
    match = _PATH.search(path)
    return MediaAddress(match["id"], match["format"]) if match else None


def page_of(request: Request) -> int:
    """The number of the page that issued a link."""
    number = request.query.get("page", "")
    return int(number) if number.isdecimal() else 0


def refusal(request: Request, now: float) -> str | None:
    """The reason for a 403 response to a media request, None when the link is valid."""
    query = request.query
    expire = query.get("expire") or query.get("x-expires") or ""
    signature = query.get("signature") or query.get("x-signature")
    if not expire.isdecimal() or signature != _signature(request.path, int(expire)):
        return "bad signature"
    if int(expire) <= now:
        return "link expired"
    if request.host.endswith(".tiktok.com") and not request.cookies.get(TOKEN_COOKIE):
        return f"cookie {TOKEN_COOKIE} missing"
    return None


@functools.lru_cache(maxsize=4)
def _log_id(now: int) -> str:
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(now)) + "0A1B2C3D4E5F60718293"


def _marked(issue: Issue) -> str:
    marker = f"&sc={quote(issue.marker)}" if issue.marker else ""
    return f"{marker}&page={issue.page}"


def _signature(path: str, expire: int) -> str:
    return hashlib.blake2s(f"{path}|{expire}".encode(), key=b"stand-in").hexdigest()[:32]
