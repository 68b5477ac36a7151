"""Platform of Reddit: videos at v.redd.it, read by yt-dlp's stock extractor.

A post that links to another site is not followed: that site is a platform of its own, or none.
"""

import re

from agents.platforms.base import BasePlatform
from agents.platforms.failure_predicates import FailureRow, message_contains
from agents.platforms.failures import failure_table
from agents.platforms.interface import Capabilities, ShortLink
from agents.platforms.urls import SiteLinks
from schemas.errors import ErrorCode
from schemas.video import VideoRef

NAME = "reddit"
SITE = "Reddit"
MEDIA_HOST = "v.redd.it"
POST_HOST = "redd.it"
WEB_HOSTS = tuple(
    f"{name}reddit.com" for name in ("", "www.", "old.", "new.", "np.", "sh.", "m.", "amp.")
)
LINKS = SiteLinks(
    site=SITE,
    hosts=(*WEB_HOSTS, POST_HOST, MEDIA_HOST),
    supported="clipmill fetches single posts, such as https://www.reddit.com/r/NAME/comments/ID",
)

_POST_PATH = re.compile(
    r"/(?:(?:r|u|user)/[\w.-]{1,64}/)?comments/(?P<id>[a-z0-9]{1,32})(?:/.*)?", re.ASCII
)
_SHORT_PATH = re.compile(
    r"/(?:(?:r|u|user)/[\w.-]{1,64}/s|video)/(?P<code>[A-Za-z0-9]{1,32})/?", re.ASCII
)
_ID_PATH = re.compile(r"/(?P<id>[A-Za-z0-9]{1,32})/?", re.ASCII)


class Reddit(BasePlatform):
    """Videos of posts that Reddit hosts."""

    site = SITE
    capabilities = Capabilities(
        name=NAME,
        page_hosts=LINKS.hosts,
        link_hosts=(*WEB_HOSTS, MEDIA_HOST),
        media_hosts=(".v.redd.it",),
        extractors=("yt_dlp.extractor.reddit:RedditIE",),
    )
    failures = failure_table(
        SITE,
        platform_rows=(
            FailureRow(
                "private_community",
                ErrorCode.CONTENT_PRIVATE,
                message_contains("Private subreddit"),
                "its community is private",
            ),
            FailureRow(
                "banned_community",
                ErrorCode.CONTENT_NOT_FOUND,
                message_contains("reason given: banned"),
                f"{SITE} banned its community",
            ),
            FailureRow(
                "blocked",
                ErrorCode.RATE_LIMIT_IP_BLOCK,
                message_contains("reason given: None", "Your IP address is unable to access"),
                f"{SITE} blocks the address that it was requested from",
            ),
            FailureRow(
                "processing",
                ErrorCode.CONTENT_NOT_FOUND,
                message_contains("This video is processing"),
                "it is still being processed; submit it again later",
            ),
            FailureRow(
                "no_video",
                ErrorCode.CONTENT_NO_FORMATS,
                message_contains("No media found"),
                "its post has no video, or was removed",
            ),
        ),
    )

    def parse_url(self, url: str) -> VideoRef | ShortLink:
        link = LINKS.read(url)
        if link.host == MEDIA_HOST and (found := _ID_PATH.fullmatch(link.path)):
            return ShortLink(url=f"https://{MEDIA_HOST}/{found['id']}")
        if link.host in WEB_HOSTS and _SHORT_PATH.fullmatch(link.path):
            return ShortLink(url=f"https://www.reddit.com{link.path.rstrip('/')}")
        pattern = _ID_PATH if link.host == POST_HOST else _POST_PATH
        found = pattern.fullmatch(link.path) if link.host != MEDIA_HOST else None
        if found is None:
            raise LINKS.unsupported(link, "this is not a page of a single post")
        post = found["id"].lower()
        return VideoRef(platform=NAME, id=post, url=f"https://www.reddit.com/comments/{post}")
