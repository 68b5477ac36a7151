"""Platform of Facebook: reels and videos, read by yt-dlp's stock extractor.

Every video has a number, whatever page shows it, and is read from the page of that number.
"""

import re
from urllib.parse import parse_qsl

from agents.platforms.failure_predicates import FailureRow, message_contains
from agents.platforms.failures import failure_table
from agents.platforms.interface import Capabilities, ShortLink
from agents.platforms.post_platform import PostPlatform
from agents.platforms.urls import SiteLinks
from schemas.errors import ErrorCode
from schemas.video import VideoRef

NAME = "facebook"
SITE = "Facebook"
SHORT_HOST = "fb.watch"
LINKS = SiteLinks(
    site=SITE,
    hosts=(
        *(f"{name}facebook.com" for name in ("", "www.", "m.", "web.", "mbasic.", "touch.")),
        SHORT_HOST,
    ),
    supported="clipmill fetches reels and videos, such as https://www.facebook.com/reel/ID",
)

_VIDEO_PATH = re.compile(
    r"/(?:reel|[\w.-]{1,80}/videos(?:/[^/]{1,200})?)/(?P<id>[0-9]{1,20})/?", re.ASCII
)
_QUERY_PATH = re.compile(r"/(?:watch(?:/live)?|video\.php|video/embed)/?", re.ASCII)
_SHARE_PATH = re.compile(r"/share/[rv]/[A-Za-z0-9_-]{1,64}/?", re.ASCII)
_SHORT_PATH = re.compile(r"/[A-Za-z0-9_-]{1,64}/?", re.ASCII)
_ID = re.compile(r"[0-9]{1,20}", re.ASCII)


def _number(path: str, query: str) -> str | None:
    if found := _VIDEO_PATH.fullmatch(path):
        return found["id"]
    parameters = dict(parse_qsl(query)) if _QUERY_PATH.fullmatch(path) else {}
    number = parameters.get("v") or parameters.get("video_id") or ""
    return number if _ID.fullmatch(number) else None


class Facebook(PostPlatform):
    """Reels and videos."""

    site = SITE
    capabilities = Capabilities(
        name=NAME,
        page_hosts=LINKS.hosts,
        link_hosts=LINKS.hosts,
        media_hosts=(".fbcdn.net",),
        content=("video", "photos"),
        extractors=("yt_dlp.extractor.facebook:FacebookIE",),
    )
    failures = failure_table(
        SITE,
        platform_rows=(
            FailureRow(
                "unavailable",
                ErrorCode.CONTENT_NOT_FOUND,
                message_contains("The video is not available, Facebook said"),
                "it was deleted, or its author restricts who can see it",
            ),
        ),
    )

    def parse_url(self, url: str) -> VideoRef | ShortLink:
        link = LINKS.read(url)
        if link.host == SHORT_HOST and _SHORT_PATH.fullmatch(link.path):
            return ShortLink(url=f"https://{SHORT_HOST}{link.path.rstrip('/')}/")
        if link.host != SHORT_HOST and _SHARE_PATH.fullmatch(link.path):
            return ShortLink(url=f"https://www.facebook.com{link.path.rstrip('/')}/")
        number = _number(link.path, link.query) if link.host != SHORT_HOST else None
        if number is None:
            raise LINKS.unsupported(link, "this is not a page of a single video")
        return VideoRef(platform=NAME, id=number, url=f"https://www.facebook.com/watch/?v={number}")
