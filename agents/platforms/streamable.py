"""Platform of Streamable: single videos, read by yt-dlp's stock extractor."""

import re

from agents.platforms.base import BasePlatform
from agents.platforms.failure_predicates import FailureRow, message_contains
from agents.platforms.failures import failure_table
from agents.platforms.interface import Capabilities
from agents.platforms.urls import SiteLinks
from schemas.errors import ErrorCode
from schemas.video import VideoRef

NAME = "streamable"
SITE = "Streamable"
LINKS = SiteLinks(
    site=SITE,
    hosts=("streamable.com", "www.streamable.com"),
    supported="clipmill fetches single videos, such as https://streamable.com/moo",
)

RESERVED_PATHS = frozenset(
    {
        "about",
        "contact",
        "dmca",
        "documentation",
        "jobs",
        "login",
        "pricing",
        "privacy",
        "recover",
        "settings",
        "signup",
        "support",
        "terms",
        "upload",
        "videos",
    }
)
"""First path segments that look like a video id, but are pages of the site itself."""

_VIDEO_PATH = re.compile(r"/(?:[eos]/)?(?P<id>[A-Za-z0-9]{1,32})(?:/[A-Za-z0-9]*)?/?", re.ASCII)
"""``/e/`` is the embedded player, ``/o/`` has no controls, ``/s/`` is shared with a second code."""


class Streamable(BasePlatform):
    """Single videos of Streamable."""

    site = SITE
    capabilities = Capabilities(
        name=NAME,
        page_hosts=LINKS.hosts,
        link_hosts=(),
        # CDN hosts such as ``cdn-cf-east.streamable.com``.
        media_hosts=(".streamable.com",),
        extractors=("yt_dlp.extractor.streamable:StreamableIE",),
    )
    failures = failure_table(
        SITE,
        platform_rows=(
            # yt-dlp does not report the status: 0 is being uploaded, 1 being processed, 3 failed.
            FailureRow(
                "not_ready",
                ErrorCode.CONTENT_NOT_FOUND,
                message_contains("currently unavailable"),
                "it is still being processed, or its upload failed; submit it again later",
            ),
        ),
    )

    def parse_url(self, url: str) -> VideoRef:
        link = LINKS.read(url)
        found = _VIDEO_PATH.fullmatch(link.path)
        if found is None or found["id"] in RESERVED_PATHS:
            raise LINKS.unsupported(link, "this is not a page of a single video")
        return VideoRef(platform=NAME, id=found["id"], url=f"https://streamable.com/{found['id']}")
