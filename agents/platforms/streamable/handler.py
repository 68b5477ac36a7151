"""Platform of Streamable: single videos, read by yt-dlp's stock extractor."""

from agents.platforms.base import BasePlatform
from agents.platforms.failure_predicates import FailureRow, message_contains
from agents.platforms.failures import failure_table
from agents.platforms.interface import Capabilities, ShortLink, Target
from agents.platforms.streamable.urls import HOSTS, NAME, read_url
from schemas.errors import ErrorCode

SITE = "Streamable"

CAPABILITIES = Capabilities(
    name=NAME,
    page_hosts=HOSTS,
    link_hosts=(),
    # CDN hosts such as ``cdn-cf-east.streamable.com``.
    media_hosts=(".streamable.com",),
    extractors=("yt_dlp.extractor.streamable:StreamableIE",),
)

FAILURES = failure_table(
    SITE,
    platform_rows=(
        # yt-dlp does not report the status: 0 is being uploaded, 1 being processed, 3 failed.
        FailureRow(
            "not_ready",
            ErrorCode.CONTENT_NOT_FOUND,
            message_contains("currently unavailable"),
            "it is still being processed, or its upload failed; ask again later",
        ),
    ),
)


class Streamable(BasePlatform):
    """Single videos of Streamable."""

    capabilities = CAPABILITIES
    site = SITE
    failures = FAILURES

    def parse_url(self, url: str) -> Target | ShortLink:
        return read_url(url)
