"""Platform of Instagram: reels and posts, read by yt-dlp's extractor, with a login or without."""

import re

from agents.platforms.failure_predicates import FailureRow, message_contains
from agents.platforms.failures import failure_table
from agents.platforms.interface import Capabilities, ShortLink
from agents.platforms.post_platform import PostPlatform
from agents.platforms.urls import SiteLinks
from schemas.errors import ErrorCode
from schemas.video import VideoRef

NAME = "instagram"
SITE = "Instagram"
LINKS = SiteLinks(
    site=SITE,
    hosts=("instagram.com", "www.instagram.com", "m.instagram.com", "instagr.am"),
    supported="clipmill fetches single posts, such as https://www.instagram.com/reel/CODE",
)

_POST_PATH = re.compile(
    r"/(?:(?!share/)[\w.]{1,64}/)?(?:p|tv|reels?)/(?P<code>[A-Za-z0-9_-]{5,64})/?", re.ASCII
)
_SHARE_PATH = re.compile(r"/share/(?:(?:p|tv|reel)/)?[A-Za-z0-9_-]{5,64}/?", re.ASCII)


class Instagram(PostPlatform):
    """Reels and posts."""

    site = SITE
    capabilities = Capabilities(
        name=NAME,
        page_hosts=LINKS.hosts,
        link_hosts=LINKS.hosts,
        media_hosts=(".cdninstagram.com", ".fbcdn.net"),
        content=("video", "photos"),
        extractors=("agents.platforms.instagram_extractor:InstagramIE",),
    )
    failures = failure_table(
        SITE,
        platform_rows=(
            FailureRow(
                "followers_only",
                ErrorCode.CONTENT_PRIVATE,
                message_contains("registered users who follow this account"),
                "its author shows it to followers only",
            ),
            FailureRow(
                "limited",
                ErrorCode.RATE_LIMIT_API,
                message_contains("exceeded the rate-limit"),
                f"{SITE} shows its login page instead of more posts",
            ),
            # An answer without the post: Instagram gives visitors no reason.
            FailureRow(
                "empty",
                ErrorCode.CONTENT_LOGIN_REQUIRED,
                message_contains("sent an empty media response"),
                f"{SITE} does not show it without a login; or it is private or deleted",
            ),
        ),
    )

    def parse_url(self, url: str) -> VideoRef | ShortLink:
        link = LINKS.read(url)
        if _SHARE_PATH.fullmatch(link.path):
            return ShortLink(url=f"https://www.instagram.com{link.path.rstrip('/')}/")
        found = _POST_PATH.fullmatch(link.path)
        if found is None:
            raise LINKS.unsupported(link, "this is not a page of a single post")
        code = found["code"]
        return VideoRef(platform=NAME, id=code, url=f"https://www.instagram.com/p/{code}")
