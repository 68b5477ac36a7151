"""Platform of X: the videos and GIFs of posts, read by yt-dlp's extractor.

Visitors are read by a guest token; when X limits its rate, by the API of embedded posts.
"""

import re

from agents.platforms.failure_predicates import FailureRow, any_of, message_contains
from agents.platforms.failures import failure_table
from agents.platforms.interface import Capabilities
from agents.platforms.post_platform import PostPlatform
from agents.platforms.urls import SiteLinks
from schemas.errors import ErrorCode
from schemas.video import VideoRef

NAME = "x"
SITE = "X"
LINKS = SiteLinks(
    site=SITE,
    hosts=tuple(
        f"{name}{domain}"
        for domain in ("x.com", "twitter.com")
        for name in ("", "www.", "m.", "mobile.")
    ),
    supported="clipmill fetches single posts, such as https://x.com/NAME/status/ID",
)

_POST_PATH = re.compile(
    r"/(?:(?:i/web|\w{1,32})/status|statuses)/(?P<id>[0-9]{1,20})(?:/(?:video|photo)/[0-9]{1,2})?/?",
    re.ASCII,
)


class X(PostPlatform):
    """Videos and GIFs of posts."""

    site = SITE
    capabilities = Capabilities(
        name=NAME,
        page_hosts=LINKS.hosts,
        link_hosts=(),
        media_hosts=(".twimg.com",),
        content=("video", "photos"),
        extractors=("agents.platforms.x_extractor:TwitterIE",),
    )
    failures = failure_table(
        SITE,
        platform_rows=(
            FailureRow(
                "protected",
                ErrorCode.CONTENT_PRIVATE,
                message_contains("protected tweet", "limits who can view their"),
                "its author restricts who can see it",
            ),
            FailureRow(
                "gone",
                ErrorCode.CONTENT_NOT_FOUND,
                any_of(
                    message_contains("The post does not exist", "No status found with that ID"),
                    message_contains("was deleted", "suspended account", "Suspended"),
                    message_contains("account that no longer exists"),
                ),
                "it was deleted, its account is suspended, or it never existed",
            ),
            FailureRow(
                "withheld",
                ErrorCode.CONTENT_GEO_BLOCKED,
                message_contains("withheld in"),
                "it is withheld in the region that it was requested from",
            ),
            FailureRow(
                "no_video",
                ErrorCode.CONTENT_NO_FORMATS,
                message_contains("No video could be found"),
                "its post has no video",
            ),
        ),
    )

    def parse_url(self, url: str) -> VideoRef:
        link = LINKS.read(url)
        found = _POST_PATH.fullmatch(link.path)
        if found is None:
            raise LINKS.unsupported(link, "this is not a page of a single post")
        return VideoRef(platform=NAME, id=found["id"], url=f"https://x.com/i/status/{found['id']}")
