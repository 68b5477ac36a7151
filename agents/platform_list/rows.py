"""Descriptions of the installed platforms. Pure."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import msgspec

from agents.platforms.configured.handler import ConfiguredPlatform
from agents.platforms.registry import Platforms
from schemas.signals import BreakerState


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
    error: str | None = None


def platform_rows(
    platforms: Platforms, accounts: Collection[str], states: Sequence[BreakerState] | None
) -> list[PlatformRow]:
    """Describe the platforms, by name.

    Args:
        platforms: the installed ones.
        accounts: names of the platforms with accounts in the settings.
        states: of all breakers; None when Kafka was not asked.
    """
    rows = [_row(platforms, name, accounts, states) for name in platforms.names]
    broken = [
        PlatformRow(name=name, by="broken", error=error) for name, error in platforms.broken.items()
    ]
    return sorted([*rows, *broken], key=lambda row: row.name)


def _row(
    platforms: Platforms,
    name: str,
    accounts: Collection[str],
    states: Sequence[BreakerState] | None,
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
        breakers=None if states is None else _breakers(name, states),
    )


def _breakers(name: str, states: Sequence[BreakerState]) -> dict[str, str]:
    return {
        f"{state.operation}:{state.egress}": state.state
        for state in sorted(states, key=lambda state: state.name)
        if state.platform == name
    }
