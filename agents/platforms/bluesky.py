"""Platform of Bluesky: the video of a post, read by yt-dlp's stock extractor.

A post offers its video as HLS, and as the file that its author uploaded, on the author's personal
data server.
"""

import hashlib
import re
from urllib.parse import urlsplit

from agents.network.addresses import is_permitted
from agents.platforms.base import BasePlatform
from agents.platforms.failure_predicates import (
    FailureRow,
    exception_type,
    http_status,
    message_contains,
)
from agents.platforms.failures import failure_table
from agents.platforms.interface import Capabilities
from agents.platforms.urls import SiteLinks
from schemas.errors import ErrorCode
from schemas.video import Extraction, MediaSource, VideoRef

NAME = "bluesky"
SITE = "Bluesky"
LINKS = SiteLinks(
    site=SITE,
    hosts=("bsky.app", "www.bsky.app"),
    supported="clipmill fetches single posts, such as https://bsky.app/profile/NAME/post/ID",
)

DIGEST_CHARACTERS = 20
"""80 bits of the account: ids of posts are unique within an account only."""

_POST_PATH = re.compile(
    r"/profile/(?P<account>[A-Za-z0-9.:%_-]{3,253})/post/(?P<id>[A-Za-z0-9]{1,32})/?", re.ASCII
)


class Bluesky(BasePlatform):
    """Videos of posts."""

    site = SITE
    capabilities = Capabilities(
        name=NAME,
        page_hosts=LINKS.hosts,
        link_hosts=(),
        # Playlists and segments; then the data servers of Bluesky itself. Others are not listed.
        media_hosts=(".bsky.app", ".bsky.network", ".bsky.social"),
        extractors=("yt_dlp.extractor.bluesky:BlueskyIE",),
    )
    failures = failure_table(
        SITE,
        platform_rows=(
            # A deleted post, and one of an account that was deleted or taken down.
            FailureRow(
                "gone",
                ErrorCode.CONTENT_NOT_FOUND,
                http_status(400),
                "it was deleted or never existed",
            ),
            FailureRow(
                "no_video",
                ErrorCode.CONTENT_NO_FORMATS,
                message_contains("No video could be found"),
                "its post has no video",
            ),
            # The answer has no post when the author does not show it to visitors; the extractor
            # reads nothing else that must be there.
            FailureRow(
                "hidden",
                ErrorCode.CONTENT_PRIVATE,
                exception_type("KeyError"),
                "its author does not show it to everybody",
            ),
        ),
    )

    def parse_url(self, url: str) -> VideoRef:
        link = LINKS.read(url)
        found = _POST_PATH.fullmatch(link.path)
        if found is None:
            raise LINKS.unsupported(link, "this is not a page of a single post")
        account = found["account"].lower()
        digest = hashlib.sha256(account.encode()).hexdigest()[:DIGEST_CHARACTERS]
        return VideoRef(
            platform=NAME,
            id=f"{found['id']}-{digest}",
            url=f"https://bsky.app/profile/{account}/post/{found['id']}",
        )

    def get_media_sources(self, extraction: Extraction) -> tuple[MediaSource, ...]:
        """Return the sources at permitted hosts; all of them if none is at one.

        The file of an author with a data server of his own is left out, as HLS is there.
        """
        sources = super().get_media_sources(extraction)
        hosts = self.capabilities.media_hosts
        permitted = (
            each for each in sources if is_permitted(urlsplit(each.url).hostname or "", hosts)
        )
        return tuple(permitted) or sources
