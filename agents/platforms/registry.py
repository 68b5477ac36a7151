"""The registry of platforms: plug-ins (``clipmill.platforms``) and sites of the settings.

Looks up the platform of a name or URL. A plug-in that fails to load is recorded and does not stop
the process.
"""

import logging
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, runtime_checkable

from agents.platforms.configured import ConfiguredPlatform, PlatformOnMoreHosts, Site
from agents.platforms.interface import Platform, ShortLink, Target
from agents.platforms.pasted import find_links
from agents.platforms.urls import invalid_link, parse_link, shorten
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import ListingRef

GROUP = "clipmill.platforms"
"""Entry-point group of `Platform` classes whose constructors need no arguments."""

PARSED_LINKS = 1_024
"""Parsed links that are cached, for videos that are requested again and again: a link takes 30 us
to parse."""

PARSED_CHARACTERS = 256
"""Length of cached links; clients may send any."""

_log = logging.getLogger(__name__)


@runtime_checkable
class SupportsMediaHosts(Protocol):
    """A platform whose media hosts can be extended by the settings."""

    def with_media_hosts(self, suffixes: tuple[str, ...]) -> Platform:
        """Return a copy that also permits downloads from hosts with these suffixes."""
        ...


class Platforms:
    """The installed platforms, by name and by URL.

    Args:
        platforms: platforms with unique names and page hosts.
        broken: plug-ins that could not be loaded, with the reason, by entry-point name.

    Raises:
        ClipmillError: ``system.config``; two platforms claim one name or one host.
    """

    def __init__(
        self, platforms: Iterable[Platform], *, broken: Mapping[str, str] | None = None
    ) -> None:
        listed = tuple(platforms)
        capabilities = [platform.get_capabilities() for platform in listed]
        _check_unique("name", ((each.name, each.name) for each in capabilities))
        hosts = ((host, each.name) for each in capabilities for host in set(each.page_hosts))
        _check_unique("host", hosts)
        pairs = list(zip(listed, capabilities, strict=True))
        self._by_name = {each.name: platform for platform, each in pairs}
        self._by_host = {host: platform for platform, each in pairs for host in each.page_hosts}
        self.broken: Mapping[str, str] = dict(broken or {})
        self._parse_cached = lru_cache(PARSED_LINKS)(self._parse_link)

    @classmethod
    def load(cls, sites: Mapping[str, Site] | None = None) -> "Platforms":
        """Load every platform; plug-ins that fail to load are in `broken`.

        Args:
            sites: sites of the settings, by platform name. A site without extractors adds its
                ``hosts`` and ``media_hosts`` to the installed platform of that name.

        Raises:
            ClipmillError: ``system.config``; two platforms claim one name or one host, or a
                platform that gets hosts is not installed or does not support ``media_hosts``.
        """
        return cls.from_entry_points(entry_points(group=GROUP), sites)

    @classmethod
    def from_entry_points(
        cls, points: Iterable[EntryPoint], sites: Mapping[str, Site] | None = None
    ) -> "Platforms":
        """Load the platforms of these entry points and sites; see `load`."""
        configured = (sites or {}).items()
        platforms: list[Platform] = [
            ConfiguredPlatform(name, site) for name, site in configured if site.extractors
        ]
        broken: dict[str, str] = {}
        for point in points:
            try:
                platforms.append(_load(point))
            except Exception as error:  # noqa: BLE001 - foreign code may raise anything
                _log.exception("platform plug-in %s (%s) is broken", point.name, point.value)
                broken[point.name] = f"{point.value}: {type(error).__name__}: {error}"
        added = {name: site for name, site in configured if not site.extractors}
        return cls(_with_hosts(platforms, added, broken), broken=broken)

    @property
    def names(self) -> tuple[str, ...]:
        """Sorted names of the platforms that were loaded."""
        return tuple(sorted(self._by_name))

    @property
    def extractors(self) -> tuple[str, ...]:
        """Names of all extractors that the platforms use, for the engine to preload."""
        named = (each.get_capabilities().extractors for each in self._by_name.values())
        return tuple(sorted({extractor for extractors in named for extractor in extractors}))

    def by_name(self, name: str) -> Platform:
        """Return the platform of a name.

        Raises:
            ClipmillError: ``system.config``; the platform is not installed, or failed to load.
        """
        if name in self._by_name:
            return self._by_name[name]
        why = self.broken.get(name, "no installed package provides it")
        raise ClipmillError(
            ErrorCode.SYSTEM_CONFIG,
            f"Platform {name!r} is not available ({why}); available: {', '.join(self.names)}.",
            platform=name,
        )

    def find(self, text: object) -> tuple[Platform, Target | ShortLink]:
        """Parse a link, or a text that contains links; return the platform and the target.

        Of several links, the first one of a post is used, or the first one of a listing if there is
        no post. An unresolved short link is treated as a link of a post.

        Raises:
            ClipmillError: as `for_url` and `Platform.parse_url`; for a text, of its first link.
        """
        try:
            return self._parse(text)
        except ClipmillError as refused:
            refusal = refused
        if refusal.code is ErrorCode.REQUEST_TOO_LARGE or not isinstance(text, str):
            raise refusal
        return self._find_in_text(text, refusal)

    def _find_in_text(
        self, text: str, refusal: ClipmillError
    ) -> tuple[Platform, Target | ShortLink]:
        refusals, listing = list[ClipmillError](), None
        for link in find_links(text, self._by_host):
            try:
                found = self._parse(link)
            except ClipmillError as refused:
                refusals.append(refused)
                continue
            if not isinstance(found[1], ListingRef):
                return found
            listing = listing or found
        if listing is not None:
            return listing
        raise _most_specific(refusal, refusals, text)

    def _parse(self, link: object) -> tuple[Platform, Target | ShortLink]:
        is_short = isinstance(link, str) and len(link) <= PARSED_CHARACTERS
        return self._parse_cached(link) if is_short else self._parse_link(link)

    def _parse_link(self, link: object) -> tuple[Platform, Target | ShortLink]:
        platform = self.for_url(link)
        return platform, platform.parse_url(str(link))

    def for_url(self, url: object) -> Platform:
        """Return the platform that is responsible for a URL.

        Raises:
            ClipmillError: ``request.invalid`` or ``request.too_large`` from `parse_link`;
                ``content.unsupported``, its host belongs to no platform.
        """
        link = parse_link(url, known_hosts=self._by_host)
        if link.host in self._by_host:
            return self._by_host[link.host]
        reason = f"no platform has the host {shorten(link.host)}"
        message = (
            f"{shorten(link.url)} is not supported: {reason}; supported: {self._list_names()}."
        )
        raise ClipmillError(ErrorCode.CONTENT_UNSUPPORTED, message, field="url", reason=reason)

    def _list_names(self) -> str:
        broken = tuple(f"{name} (broken)" for name in sorted(self.broken))
        return ", ".join(self.names + broken) or "none"


def _most_specific(
    refusal: ClipmillError, refusals: list[ClipmillError], text: str
) -> ClipmillError:
    """Return the more specific error: that of the whole text, or that of the first link in it."""
    words = text.split()
    if len(words) == 1 and (not refusals or words[0][0].isalnum()):
        return refusal
    if refusals:
        return refusals[0]
    return invalid_link("it is a text without a link", text) if words else refusal


def _load(point: EntryPoint) -> Platform:
    platform: Platform = point.load()()
    platform.get_capabilities()
    return platform


def _with_hosts(
    platforms: list[Platform], added: Mapping[str, Site], broken: Mapping[str, str]
) -> list[Platform]:
    """Return the platforms, with the page hosts and media hosts of the settings added."""
    by_name = {platform.get_capabilities().name: platform for platform in platforms}
    for name, site in added.items():
        extended = _extended(by_name.get(name), site)
        if extended is not None:
            by_name[name] = extended
        elif name not in broken:
            raise ClipmillError(
                ErrorCode.SYSTEM_CONFIG,
                f"platforms.{name} only adds hosts, and no installed platform of that name takes"
                " them; a platform without code needs hosts, extractors and media_hosts.",
            )
    return [by_name.pop(each.get_capabilities().name, each) for each in platforms]


def _extended(platform: Platform | None, site: Site) -> Platform | None:
    """Return the platform with the added hosts, None if it does not support them."""
    if platform is not None and site.media_hosts:
        if not isinstance(platform, SupportsMediaHosts):
            return None
        platform = platform.with_media_hosts(site.media_hosts)
    if platform is not None and site.hosts:
        platform = PlatformOnMoreHosts(platform, site.hosts)
    return platform


def _check_unique(what: str, claims: Iterable[tuple[str, str]]) -> None:
    """Check that every value is claimed once; a claim is the value and its platform."""
    owners: dict[str, list[str]] = {}
    for value, platform in claims:
        owners.setdefault(value, []).append(platform)
    twice = [
        f"{value} ({' and '.join(sorted(names))})"
        for value, names in sorted(owners.items())
        if len(names) > 1
    ]
    if twice:
        raise ClipmillError(
            ErrorCode.SYSTEM_CONFIG,
            f"Two platforms claim the {what} {', '.join(twice)}; uninstall one of them,"
            " or remove it from the settings.",
        )
