"""Platform of a site that the settings describe, without code of its own.

Pages are read by yt-dlp's extractors, and the results by the general readers.
"""

from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlsplit

from agents.platforms.base import BasePlatform, utc_now
from agents.platforms.configured.site import Site, capabilities_of
from agents.platforms.configured.urls import read_page_link, unsupported_link
from agents.platforms.failures import failure_table
from agents.platforms.fields import Fields, text
from agents.platforms.interface import ShortLink, Target
from agents.platforms.urls import parse_link
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoRef

_PLAYLIST_TYPES = frozenset({"playlist", "multi_video"})
_REDIRECT_TYPES = frozenset({"url", "url_transparent"})


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


def check_single_video(fields: Fields, video: VideoRef) -> None:
    """Verify that the dictionary describes a single video.

    Raises:
        ClipmillError: ``content.unsupported``; it is a playlist, or redirects to another page.
    """
    kind = text(fields, "_type", limit=20) or "video"
    if kind in _PLAYLIST_TYPES:
        raise _unsupported(video, "its page has several videos, and single ones are fetched")
    if kind in _REDIRECT_TYPES:
        target = _host(text(fields, "url", limit=2_048) or "")
        raise _unsupported(
            video, f"its page leads to {target}, which no extractor of the platform reads"
        )


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "another page")[:253]
    except ValueError:
        return "another page"


def _unsupported(video: VideoRef, reason: str) -> ClipmillError:
    message = f"{video.platform} video {video.id}: {reason}."
    return ClipmillError(ErrorCode.CONTENT_UNSUPPORTED, message, reason=reason)
