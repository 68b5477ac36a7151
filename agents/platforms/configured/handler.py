"""Platform of a site that the settings describe, without code of its own.

Pages are read by yt-dlp's extractors, and the results by the general readers.
"""

from collections.abc import Callable
from datetime import datetime

from agents.platforms.base import BasePlatform, utc_now
from agents.platforms.configured.site import Site, capabilities_of
from agents.platforms.configured.urls import read_page_link, unsupported_link
from agents.platforms.failures import failure_table
from agents.platforms.fields import Fields
from agents.platforms.interface import ShortLink, Target
from agents.platforms.single_video import check_single_video
from agents.platforms.urls import parse_link
from schemas.video import VideoRef


class ConfiguredPlatform(BasePlatform):
    """Single videos of a site that the settings describe.

    Args:
        name: name of the platform.
        site: hosts and extractors of the platform.
        clock: time source of ``extracted_at``.
    """

    def __init__(self, name: str, site: Site, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(clock)
        self.capabilities = capabilities_of(name, site)
        self.site = name
        self.failures = failure_table(name)
        self._hosts = site

    def parse_url(self, url: str) -> Target | ShortLink:
        """Return the page, or the short link that has to be resolved first.

        Only extraction can find out whether the page has a video.

        Raises:
            ClipmillError: ``request.invalid``, ``request.too_large`` or ``content.unsupported``.
        """
        link = parse_link(url, known_hosts=self.capabilities.page_hosts)
        if link.host not in self.capabilities.page_hosts:
            raise unsupported_link(link, f"{link.host} is not a host of {self.site}")
        video = read_page_link(link, self.site, self._hosts.hosts)
        return ShortLink(url=video.url) if link.host in self._hosts.short_hosts else video

    def check_page(self, fields: Fields, video: VideoRef) -> None:
        check_single_video(fields, video)
        super().check_page(fields, video)
