"""Platform of Streamable: single videos, read by yt-dlp's stock extractor."""

from agents.platforms.base import BasePlatform
from agents.platforms.interface import Capabilities, ShortLink, Target
from agents.platforms.streamable.errors import SITE, TABLE
from agents.platforms.streamable.urls import HOSTS, NAME, read_url

EXTRACTOR = "yt_dlp.extractor.streamable:StreamableIE"

MEDIA_HOSTS = (".streamable.com",)
"""Suffix of CDN hosts such as ``cdn-cf-east.streamable.com``."""


class Streamable(BasePlatform):
    """Single videos of Streamable. Stateless."""

    site = SITE
    failures = TABLE
    capabilities = Capabilities(
        name=NAME,
        page_hosts=HOSTS,
        link_hosts=(),
        media_hosts=MEDIA_HOSTS,
        extractors=(EXTRACTOR,),
    )

    def parse_url(self, url: str) -> Target | ShortLink:
        """Return the canonical video.

        Raises:
            ClipmillError: ``request.invalid``, ``request.too_large`` or ``content.unsupported``.
        """
        return read_url(url)
