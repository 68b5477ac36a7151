"""Platform of Douyin: videos and photo posts, read by yt-dlp's extractor.

Douyin answers visitors without a browser's cookies with nothing: an account of clipmill is needed,
which need not be logged in.
"""

import re
from urllib.parse import parse_qsl

from agents.platforms.failure_predicates import FailureRow, fact_contains, message_contains
from agents.platforms.failures import failure_table
from agents.platforms.interface import Capabilities, ShortLink
from agents.platforms.post_platform import PostPlatform
from agents.platforms.urls import SiteLinks
from schemas.errors import ErrorCode
from schemas.video import VideoRef

NAME = "douyin"
SITE = "Douyin"
SHORT_HOST = "v.douyin.com"
LINKS = SiteLinks(
    site=SITE,
    hosts=("douyin.com", "www.douyin.com", "m.douyin.com", "www.iesdouyin.com", SHORT_HOST),
    supported="clipmill fetches single posts, such as https://www.douyin.com/video/ID",
)

_POST_PATH = re.compile(r"/(?:share/)?(?:video|note|slides)/(?P<id>[0-9]{1,20})/?", re.ASCII)
_SHORT_PATH = re.compile(r"/[A-Za-z0-9_-]{1,32}/?", re.ASCII)
_ID = re.compile(r"[0-9]{1,20}", re.ASCII)


class Douyin(PostPlatform):
    """Videos and photo posts."""

    site = SITE
    capabilities = Capabilities(
        name=NAME,
        page_hosts=LINKS.hosts,
        link_hosts=LINKS.hosts,
        media_hosts=(".douyin.com", ".douyinvod.com", ".douyinpic.com", ".zjcdn.com"),
        content=("video", "photos"),
        extractors=("agents.platforms.douyin_extractor:DouyinIE",),
    )
    failures = failure_table(
        SITE,
        platform_rows=(
            FailureRow(
                "private",
                ErrorCode.CONTENT_PRIVATE,
                fact_contains("filter_reason", "self_see", "private", "friend"),
                "its author restricts who can see it",
            ),
            FailureRow(
                "gone",
                ErrorCode.CONTENT_NOT_FOUND,
                message_contains("Douyin withholds the post"),
                "it was deleted or taken down",
            ),
            FailureRow(
                "cookies",
                ErrorCode.CONTENT_LOGIN_REQUIRED,
                message_contains("Fresh cookies"),
                f"{SITE} shows it with cookies of a browser only",
            ),
        ),
    )

    def parse_url(self, url: str) -> VideoRef | ShortLink:
        link = LINKS.read(url)
        if link.host == SHORT_HOST and _SHORT_PATH.fullmatch(link.path):
            return ShortLink(url=f"https://{SHORT_HOST}{link.path.rstrip('/')}/")
        found = _POST_PATH.fullmatch(link.path)
        # A post that was opened on a page of many.
        post = found["id"] if found else dict(parse_qsl(link.query)).get("modal_id", "")
        if link.host == SHORT_HOST or not _ID.fullmatch(post):
            raise LINKS.unsupported(link, "this is not a page of a single post")
        return VideoRef(platform=NAME, id=post, url=f"https://www.douyin.com/video/{post}")
