"""Settings of platforms without code: sites whose pages yt-dlp can read."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from streams.settings.kinds import Group

_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"

PlatformName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
"""Prefix of every video key, and name of the storage folder."""

HOST_PATTERN = rf"({_LABEL}\.)+[a-z][a-z0-9-]*[a-z0-9]"

HostName = Annotated[str, Field(max_length=253, pattern=f"^{HOST_PATTERN}$")]
"""Registered name in lower case; no IP address, no port."""

MediaSuffix = Annotated[str, Field(max_length=254, pattern=rf"^\.{HOST_PATTERN}$")]
"""A dot and at least two labels, as ``.com`` alone would allow half of the internet."""

ExtractorName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]

FORBIDDEN_EXTRACTOR = "generic"
"""Extracts any page of any site. The engine rejects the other extractors that do."""


class ConfiguredSite(Group):
    """A platform without code."""

    hosts: tuple[HostName, ...] = Field(min_length=1, description="Hosts of its pages.")
    extractors: tuple[ExtractorName, ...] = Field(
        min_length=1, description="Names of the yt-dlp extractors of its pages."
    )
    media_hosts: tuple[MediaSuffix, ...] = Field(
        min_length=1, description='Suffixes of the hosts of its files, such as ".example.com".'
    )
    short_hosts: tuple[HostName, ...] = Field((), description="Hosts of short links only.")

    @model_validator(mode="after")
    def _check_site(self) -> Self:
        if any(name.lower() == FORBIDDEN_EXTRACTOR for name in self.extractors):
            raise ValueError("the extractor Generic reads pages of any site; it is never allowed")
        hosts = self.hosts + self.short_hosts
        twice = sorted({host for host in hosts if hosts.count(host) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is named twice")
        return self


class AddedHosts(Group):
    """Further hosts of an installed platform; all else is defined by the platform."""

    page_hosts: tuple[HostName, ...] = Field(
        (), description="Further hosts of its pages; their paths are those of its own pages."
    )
    media_hosts: tuple[MediaSuffix, ...] = Field(
        (), description='Suffixes of further hosts of its files, such as ".example.com".'
    )

    @model_validator(mode="after")
    def _check_hosts(self) -> Self:
        for name in sorted(self.model_fields_set):
            if not getattr(self, name):
                raise ValueError(f"{name} names no host")
        return self

    @property
    def hosts(self) -> tuple[str, ...]:
        return self.page_hosts

    @property
    def short_hosts(self) -> tuple[str, ...]:
        return ()

    @property
    def extractors(self) -> tuple[str, ...]:
        return ()


def _read_platform(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    only_adds = value and value.keys() <= AddedHosts.model_fields.keys()
    return (AddedHosts if only_adds else ConfiguredSite).model_validate(value)


PlatformSettings = Annotated[ConfiguredSite | AddedHosts, BeforeValidator(_read_platform)]
"""A platform without code; with ``page_hosts`` or ``media_hosts`` alone, hosts of an installed
platform."""
