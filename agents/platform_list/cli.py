"""`clipmill platforms`: prints the installed platforms."""

import asyncio
import sys
from collections.abc import Iterator, Sequence

import click
import msgspec
from rich.table import Table

from agents.engine.javascript_support import DISABLED, JavaScriptSupport, find_support
from agents.platform_list.rows import PlatformRow, SharedStates, platform_rows
from agents.platforms.registry import Platforms
from schemas.codec import MalformedMessageError, decode
from schemas.redaction import printable
from schemas.signals import BREAKER, MEDIA_HOST, BreakerState
from streams.cli.errors import readable_errors
from streams.cli.options import bootstrap_option, client_settings
from streams.cli.result_table import open_console, safe_markup
from streams.client import read_signals
from streams.media_host_waits import read_waiting_hosts, setting_of, videos_wait
from streams.settings import KafkaSettings
from streams.settings.worker import EngineSettings

QUIET_STATE = "closed"
ASK = "Ask Kafka for the states of their breakers, and for media hosts that videos wait for."


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
