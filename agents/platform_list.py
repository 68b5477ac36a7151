"""`clipmill platforms`: the installed platforms and what they support."""

import asyncio
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal

import click
import msgspec
from rich.table import Table

from agents.engine.javascript_support import DISABLED, JavaScriptSupport, find_support
from agents.network.addresses import is_permitted
from agents.platforms.configured import ConfiguredPlatform
from agents.platforms.interface import Capabilities
from agents.platforms.registry import Platforms
from schemas.codec import MalformedMessageError, decode
from schemas.redaction import printable
from schemas.signals import BREAKER, MEDIA_HOST, BreakerState
from streams.cli.errors import readable_errors
from streams.cli.options import bootstrap_option, client_settings
from streams.cli.result_table import open_console, safe_markup
from streams.client import read_signals
from streams.media_host_waits import WaitingHost, read_waiting_hosts, setting_of, videos_wait
from streams.settings import KafkaSettings
from streams.settings.worker import EngineSettings

QUIET_STATE = "closed"

ASK = "Ask Kafka for the states of their breakers, and for media hosts that videos wait for."


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


@click.command()
@bootstrap_option
@click.option("--breakers", is_flag=True, help=ASK)
@click.option("--json", "as_json", is_flag=True, help="One platform per line.")
def platforms(bootstrap: str | None, breakers: bool, as_json: bool) -> None:
    """List the installed platforms: kinds of posts, login, hosts, breakers."""
    settings = client_settings(bootstrap)
    with readable_errors():
        shared = asyncio.run(_states(settings.kafka)) if breakers or bootstrap else None
        installed = Platforms.load(settings.platforms)
    rows = platform_rows(
        installed, settings.auth.cookie_files, shared, javascript=_javascript(settings.engine)
    )
    if as_json:
        for row in rows:
            click.echo(msgspec.json.encode(row))
        return
    open_console().print(platforms_table(rows))
    for line in hints(rows):
        click.echo(line)


async def _states(kafka: KafkaSettings) -> SharedStates:
    signals = await read_signals(kafka, BREAKER, MEDIA_HOST)
    breakers = (_decode(value) for key, value in signals.items() if key.startswith(BREAKER))
    hosts = [each for each in signals.items() if each[0].startswith(MEDIA_HOST)]
    return SharedStates(
        breakers=tuple(each for each in breakers if each is not None),
        hosts=tuple(read_waiting_hosts(hosts)),
    )


def _decode(value: bytes) -> BreakerState | None:
    try:
        return decode(value, BreakerState)
    except MalformedMessageError:
        return None


def platforms_table(rows: Sequence[PlatformRow]) -> Table:
    table = Table("platform", "by", "posts", "listings", "login", "hosts", "files at", "breakers")
    for row in rows:
        texts = (
            row.name,
            row.by,
            ", ".join(row.content),
            ", ".join(row.listings),
            "yes" if row.login else "no",
            ", ".join(row.page_hosts),
            ", ".join(row.media_hosts),
            row.error or _summary(row),
        )
        table.add_row(*map(safe_markup, texts))
    return table


def _javascript(engine: EngineSettings) -> JavaScriptSupport:
    """Return what the engine's processes can use."""
    if not engine.javascript:
        return DISABLED
    first = () if engine.packages_dir is None else (str(engine.packages_dir),)
    return find_support([*first, *sys.path])


def hints(rows: Sequence[PlatformRow]) -> Iterator[str]:
    """Yield a line for each media host that videos wait for, and for missing JavaScript."""
    for row in rows:
        if row.javascript is not None and not row.javascript.is_available:
            yield printable(f"{row.name}: JavaScript is {row.javascript.summary}")
        for host, count in (row.waiting or {}).items():
            yield printable(
                f"{videos_wait(count)} for media at {host}, which is not a host of {row.name};"
                f' if it is one, add ".{host}" to {setting_of(row.name)} and restart the workers'
            )


def _summary(row: PlatformRow) -> str:
    """Return the breakers that are not closed."""
    if row.breakers is None:
        return ""
    notable = [f"{name} {state}" for name, state in row.breakers.items() if state != QUIET_STATE]
    return ", ".join(notable) or QUIET_STATE


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
