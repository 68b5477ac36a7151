"""What the settings add to the installed platforms: sites without code, and further page hosts.

Pages of a site without code are read by yt-dlp's extractors, and the results by the general
readers. The id that an extractor uses is defined by regular expressions of yt-dlp, which is not
imported where links are parsed: the engine may run another release than this process has,
third-party patterns would run on hostile input without a timeout, and every process would pay 16 MB
and 0.2 s. A page's id is therefore a digest of its canonical URL. Two links that differ in more
than escapes, parameter order and tracking are two videos, which costs a second download at worst;
one video is never taken for another.
"""

import hashlib
import re
from collections.abc import Callable, Collection
from datetime import datetime
from operator import itemgetter
from typing import Protocol
from urllib.parse import quote, quote_plus, unquote_plus

from msgspec.structs import replace

from agents.engine.interface import YT_DLP
from agents.platforms.base import BasePlatform, utc_now
from agents.platforms.failures import failure_table
from agents.platforms.interface import Capabilities, Platform, ShortLink, Target
from agents.platforms.urls import Link, parse_link, shorten
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoRef

TRACKING_PARAMETERS = frozenset({"fbclid", "gclid", "igshid", "mc_cid", "mc_eid", "msclkid"})

TRACKING_PREFIX = "utm_"
"""Parameters that record where a visitor came from, without effect on the page."""

SLUG_CHARACTERS = 32

DIGEST_CHARACTERS = 20
"""80 bits: the chance of a collision among a billion pages is 4 in 10 million."""

_PATH_SAFE = "/%:@!$&'()*+,;=~-._"
"""Characters that a path may hold unescaped (RFC 3986, section 3.3), and the ``%`` of escapes."""

_QUERY_SAFE = _PATH_SAFE + "?"
"""The same for a query (section 3.4)."""


class Site(Protocol):
    """A site as the settings describe it; without extractors, further hosts of a platform."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Page hosts, lower case."""
        ...

    @property
    def short_hosts(self) -> tuple[str, ...]:
        """Hosts that serve short links only, lower case."""
        ...

    @property
    def extractors(self) -> tuple[str, ...]:
        """Names of the yt-dlp extractors that read the pages."""
        ...

    @property
    def media_hosts(self) -> tuple[str, ...]:
        """Suffixes of hosts that serve media, each with its leading dot."""
        ...


class ConfiguredPlatform(BasePlatform):
    """Single videos of a site that the settings describe.

    Args:
        name: name of the platform.
        site: hosts and extractors of the platform.
        clock: time source of ``extracted_at``.
    """

    def __init__(self, name: str, site: Site, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(clock)
        self.site = name
        self.capabilities = Capabilities(
            name=name,
            page_hosts=site.hosts + site.short_hosts,
            link_hosts=site.short_hosts,
            media_hosts=site.media_hosts,
            extractors=(f"{YT_DLP}:{','.join(site.extractors)}",),
        )
        self.failures = failure_table(name)
        self._settings = site

    def parse_url(self, url: str) -> VideoRef | ShortLink:
        """Return the page, or the short link that has to be resolved first.

        Only extraction can find out whether the page has a video.

        Raises:
            ClipmillError: ``request.invalid``, ``request.too_large`` or ``content.unsupported``.
        """
        link = parse_link(url, known_hosts=self.capabilities.page_hosts)
        if link.host not in self.capabilities.page_hosts:
            raise _unsupported_link(link, f"{link.host} is not a host of {self.site}")
        video = read_page_link(link, self.site, self._settings.hosts)
        return ShortLink(url=video.url) if link.host in self._settings.short_hosts else video


class PlatformOnMoreHosts:
    """A `Platform` that also accepts links on added page hosts.

    A link on such a host is read as the same path on the first host of the platform. Extractors,
    short links and accounts so see the platform's own hosts only, and an added host receives no
    request.

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


def read_page_link(link: Link, name: str, hosts: Collection[str]) -> VideoRef:
    """Return the video of a link to a page of the site.

    Raises:
        ClipmillError: ``content.unsupported``; the page is the site's home page.
    """
    path = quote(link.path, safe=_PATH_SAFE)
    if not path.strip("/"):
        raise _unsupported_link(link, "this is the home page")
    query = _canonical_query(link.query)
    return VideoRef(
        platform=name,
        id=_page_id(_without_www(link.host, hosts), path, query),
        url=f"https://{link.host}{path}{'?' if query else ''}{query}",
    )


def _unsupported_link(link: Link, reason: str) -> ClipmillError:
    message = f"{shorten(link.url)} is not supported: {reason}."
    return ClipmillError(ErrorCode.CONTENT_UNSUPPORTED, message, field="url", reason=reason)


def _canonical_query(query: str) -> str:
    """Return a query without tracking parameters, escaped uniformly and sorted by name.

    Parameters of one name keep their order, which may matter to the site.
    """
    encoded = quote(query, safe=_QUERY_SAFE)
    pairs = (part.partition("=") for part in encoded.split("&") if part)
    parameters = ((_reencoded(name), equals, _reencoded(value)) for name, equals, value in pairs)
    kept = (each for each in parameters if not _is_tracking(each[0].lower()))
    return "&".join("".join(each) for each in sorted(kept, key=itemgetter(0)))


def _reencoded(text: str) -> str:
    """Return a text with the minimal escapes.

    Latin-1 maps every byte to one character: sites need not use UTF-8.
    """
    return quote_plus(unquote_plus(text, encoding="latin-1"), encoding="latin-1")


def _is_tracking(name: str) -> bool:
    return name in TRACKING_PARAMETERS or name.startswith(TRACKING_PREFIX)


def _without_www(host: str, hosts: Collection[str]) -> str:
    """Return the host without ``www.`` if the site has that host too."""
    bare = host.removeprefix("www.")
    return bare if bare in hosts else host


def _page_id(host: str, path: str, query: str) -> str:
    page = f"{host}{path.rstrip('/')}?{query}"
    digest = hashlib.sha256(page.encode()).hexdigest()[:DIGEST_CHARACTERS]
    last = path.rstrip("/").rpartition("/")[2]
    # The slug is for people who browse files; the digest alone identifies the page.
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", last)[:SLUG_CHARACTERS].strip("-_")
    return f"{slug}-{digest}" if slug else digest
