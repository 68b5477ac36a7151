"""The settings that make a site a platform without code."""

from typing import Protocol

from agents.engine.interface import YT_DLP
from agents.platforms.interface import Capabilities


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


def capabilities_of(name: str, site: Site) -> Capabilities:
    return Capabilities(
        name=name,
        page_hosts=site.hosts + site.short_hosts,
        link_hosts=site.short_hosts,
        media_hosts=site.media_hosts,
        extractors=(extractor_of(site),),
    )


def extractor_of(site: Site) -> str:
    """Return the `EngineJob.extractor` that selects exactly the site's extractors."""
    return f"{YT_DLP}:{','.join(site.extractors)}"
