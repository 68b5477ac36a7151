"""What has to be said about a site for it to be a platform, without a line of code."""

from typing import Protocol

from agents.engine.interface import YT_DLP
from agents.platforms.interface import Capabilities


class Site(Protocol):
    """A site as the settings describe it."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts of its pages, lower case."""
        ...

    @property
    def short_hosts(self) -> tuple[str, ...]:
        """Hosts that hold nothing but short links, lower case."""
        ...

    @property
    def extractors(self) -> tuple[str, ...]:
        """Names of yt-dlp's extractors that read its pages; at least one."""
        ...

    @property
    def media_hosts(self) -> tuple[str, ...]:
        """Suffixes of the hosts that its files come from, each with its leading dot."""
        ...


def capabilities_of(name: str, site: Site) -> Capabilities:
    """Return what a platform of this name can do with a site."""
    return Capabilities(
        name=name,
        page_hosts=site.hosts + site.short_hosts,
        link_hosts=site.short_hosts,
        media_hosts=site.media_hosts,
        extractors=(extractor_of(site),),
    )


def extractor_of(site: Site) -> str:
    """Return the name under which the engine has exactly the site's extractors."""
    return f"{YT_DLP}:{','.join(site.extractors)}"
