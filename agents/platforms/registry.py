"""Which platforms there are: plug-ins (``clipmill.platforms``) and sites of the settings."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points

from agents.platforms.configured.handler import ConfiguredPlatform
from agents.platforms.configured.site import Site
from agents.platforms.interface import Platform
from agents.platforms.urls import parse_link, shorten
from schemas.errors import ClipmillError, ErrorCode

GROUP = "clipmill.platforms"
"""Entry points of this group name classes that need no arguments and are a `Platform`."""

_log = logging.getLogger(__name__)


class Platforms:
    """The installed platforms, by name and by URL.

    Args:
        platforms: each with a name and hosts that no other has.
        broken: plug-ins that could not be loaded: entry-point name and what went wrong.

    Raises:
        ClipmillError: ``system.config``; two platforms claim one name or one host.
    """

    def __init__(
        self, platforms: Iterable[Platform], *, broken: Mapping[str, str] | None = None
    ) -> None:
        listed = tuple(platforms)
        capabilities = [platform.get_capabilities() for platform in listed]
        _check_unique("name", [known.name for known in capabilities])
        _check_unique("host", [host for known in capabilities for host in set(known.page_hosts)])
        pairs = list(zip(listed, capabilities, strict=True))
        self._by_name = {known.name: platform for platform, known in pairs}
        self._by_host = {host: platform for platform, known in pairs for host in known.page_hosts}
        self.broken: Mapping[str, str] = dict(broken or {})

    @classmethod
    def load(cls, sites: Mapping[str, Site] | None = None) -> "Platforms":
        """Return every platform; the plug-ins that cannot be loaded are in `broken`.

        Args:
            sites: what the settings describe, by the name of the platform.

        Raises:
            ClipmillError: ``system.config``; two platforms claim one name or one host.
        """
        return cls.from_entry_points(entry_points(group=GROUP), sites)

    @classmethod
    def from_entry_points(
        cls, points: Iterable[EntryPoint], sites: Mapping[str, Site] | None = None
    ) -> "Platforms":
        """Return the platforms of these entry points and sites; see `load`."""
        described = (sites or {}).items()
        platforms: list[Platform] = [ConfiguredPlatform(name, site) for name, site in described]
        broken: dict[str, str] = {}
        for point in points:
            try:
                platforms.append(_load(point))
            except Exception as error:  # noqa: BLE001 - foreign code may raise anything
                _log.exception("platform plug-in %s (%s) is broken", point.name, point.value)
                broken[point.name] = f"{point.value}: {type(error).__name__}: {error}"
        return cls(platforms, broken=broken)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the platforms that work, sorted."""
        return tuple(sorted(self._by_name))

    @property
    def extractors(self) -> tuple[str, ...]:
        """What the platforms have the engine run, to be loaded beforehand."""
        named = (each.get_capabilities().extractors for each in self._by_name.values())
        return tuple(sorted({extractor for extractors in named for extractor in extractors}))

    def by_name(self, name: str) -> Platform:
        """Return the platform of that name.

        Raises:
            ClipmillError: ``system.config``; it is not installed, or broken.
        """
        if name in self._by_name:
            return self._by_name[name]
        why = self.broken.get(name, "no installed package offers it")
        raise ClipmillError(
            ErrorCode.SYSTEM_CONFIG,
            f"Platform {name!r} is not available ({why}); available: {', '.join(self.names)}.",
            platform=name,
        )

    def for_url(self, url: object) -> Platform:
        """Return the platform that is responsible for a URL.

        Raises:
            ClipmillError: ``request.invalid`` or ``request.too_large`` from `parse_link`;
                ``content.unsupported``, no platform knows its host.
        """
        link = parse_link(url, known_hosts=self._by_host)
        if link.host in self._by_host:
            return self._by_host[link.host]
        reason = f"no platform is responsible for {shorten(link.host)}"
        message = f"{shorten(link.url)} is not supported: {reason}; there are: {self._offer()}."
        raise ClipmillError(ErrorCode.CONTENT_UNSUPPORTED, message, field="url", reason=reason)

    def _offer(self) -> str:
        broken = tuple(f"{name} (broken)" for name in sorted(self.broken))
        return ", ".join(self.names + broken) or "none"


def _load(point: EntryPoint) -> Platform:
    platform: Platform = point.load()()
    platform.get_capabilities()
    return platform


def _check_unique(what: str, values: list[str]) -> None:
    twice = sorted(value for value, count in Counter(values).items() if count > 1)
    if twice:
        raise ClipmillError(
            ErrorCode.SYSTEM_CONFIG,
            f"Two platforms claim the {what} {', '.join(twice)}; uninstall one of them,"
            " or take it out of the settings.",
        )
