"""Descriptions of the installed platforms. Pure."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import msgspec

from agents.engine.javascript_support import JavaScriptSupport
from agents.network.addresses import is_permitted
from agents.platforms.configured.handler import ConfiguredPlatform
from agents.platforms.interface import Capabilities
from agents.platforms.registry import Platforms
from schemas.signals import BreakerState
from streams.media_host_waits import WaitingHost


class SharedStates(msgspec.Struct, frozen=True, kw_only=True):
    """What all workers share about platforms: breakers, and hosts that videos wait for."""

    breakers: tuple[BreakerState, ...] = ()
    hosts: tuple[WaitingHost, ...] = ()


class PlatformRow(msgspec.Struct, frozen=True, kw_only=True):
    """A platform, as printed by ``--json``.

    Attributes:
        name: first part of its video keys.
        by: how it was added; ``broken`` for a plug-in that cannot be loaded.
        content: supported kinds of posts.
        listings: supported kinds of listings.
        extractors: see `agents.platforms.interface.Capabilities`.
        page_hosts: hosts of its links.
        media_hosts: suffixes of the hosts of its files.
        login: whether the settings name accounts.
        breakers: state of its breakers by operation and egress; None when Kafka was not asked.
        waiting: number of videos that wait for a media host which it does not list, by host; None
            when Kafka was not asked.
        javascript: whether its programs are run, or what is missing; None if it needs none.
        error: why it cannot be loaded.
    """

    name: str
    by: Literal["code", "settings", "broken"]
    content: tuple[str, ...] = ()
    listings: tuple[str, ...] = ()
    extractors: tuple[str, ...] = ()
    page_hosts: tuple[str, ...] = ()
    media_hosts: tuple[str, ...] = ()
    login: bool = False
    breakers: Mapping[str, str] | None = None
    waiting: Mapping[str, int] | None = None
    javascript: JavaScriptSupport | None = None
    error: str | None = None


def platform_rows(
    platforms: Platforms,
    accounts: Collection[str],
    shared: SharedStates | None,
    *,
    javascript: JavaScriptSupport | None = None,
) -> list[PlatformRow]:
    """Describe the platforms, by name.

    Args:
        platforms: the installed ones.
        accounts: names of the platforms with accounts in the settings.
        shared: states of all workers; None when Kafka was not asked.
        javascript: what runs programs of pages.
    """
    rows = [_row(platforms, name, accounts, shared, javascript) for name in platforms.names]
    broken = [
        PlatformRow(name=name, by="broken", error=error) for name, error in platforms.broken.items()
    ]
    return sorted([*rows, *broken], key=lambda row: row.name)


def _row(
    platforms: Platforms,
    name: str,
    accounts: Collection[str],
    shared: SharedStates | None,
    javascript: JavaScriptSupport | None,
) -> PlatformRow:
    platform = platforms.by_name(name)
    found = platform.get_capabilities()
    return PlatformRow(
        name=name,
        by="settings" if isinstance(platform, ConfiguredPlatform) else "code",
        content=found.content,
        listings=found.listings,
        extractors=found.extractors,
        page_hosts=found.page_hosts,
        media_hosts=found.media_hosts,
        login=name in accounts,
        breakers=None if shared is None else _breakers(name, shared.breakers),
        waiting=None if shared is None else _waiting(found, shared.hosts),
        javascript=javascript if found.javascript else None,
    )


def _waiting(capabilities: Capabilities, hosts: Sequence[WaitingHost]) -> dict[str, int]:
    """Return the unknown hosts, without those that these settings permit already."""
    return {
        each.host: each.videos
        for each in hosts
        if each.platform == capabilities.name
        and not is_permitted(each.host, capabilities.media_hosts)
    }


def _breakers(name: str, states: Sequence[BreakerState]) -> dict[str, str]:
    return {
        f"{state.operation}:{state.egress}": state.state
        for state in sorted(states, key=lambda state: state.name)
        if state.platform == name
    }
