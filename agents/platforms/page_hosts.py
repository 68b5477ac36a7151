"""A platform whose links may be on further hosts, which the settings name.

A link on such a host is read as the same path on the first host of the platform. Extractors, short
links and accounts so see the platform's own hosts only, and an added host receives no request.
"""

from msgspec.structs import replace

from agents.platforms.interface import Capabilities, Platform, ShortLink, Target
from agents.platforms.urls import parse_link
from schemas.errors import ClipmillError


class PlatformOnMoreHosts:
    """A `Platform` that also accepts links on added page hosts.

    Args:
        platform: the installed platform.
        hosts: further page hosts, lower case; its own ones among them change nothing.
    """

    def __init__(self, platform: Platform, hosts: tuple[str, ...]) -> None:
        own = platform.get_capabilities()
        self._parse_own_url = platform.parse_url
        self._is_own_url = platform.is_valid_url
        self._host = own.page_hosts[0]
        self._added = tuple(host for host in dict.fromkeys(hosts) if host not in own.page_hosts)
        self._capabilities = replace(own, page_hosts=own.page_hosts + self._added)
        self.get_video_info = platform.get_video_info
        self.get_listing = platform.get_listing
        self.get_media_sources = platform.get_media_sources
        self.describe = platform.describe
        self.get_expiry_seconds = platform.get_expiry_seconds
        self.download_video = platform.download_video

    def get_capabilities(self) -> Capabilities:
        return self._capabilities

    def is_valid_url(self, url: str) -> bool:
        try:
            return self._is_own_url(self._on_own_host(url))
        except ClipmillError:
            return False

    def parse_url(self, url: str) -> Target | ShortLink:
        """Return the target of a link; one on an added host is parsed as one on the first host.

        Raises:
            ClipmillError: see `Platform.parse_url`; the message names the platform's own host.
        """
        return self._parse_own_url(self._on_own_host(url))

    def _on_own_host(self, url: str) -> str:
        link = parse_link(url, known_hosts=self._capabilities.page_hosts)
        if link.host not in self._added:
            return url
        return replace(link, scheme="https", host=self._host).url
