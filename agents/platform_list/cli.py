"""`clipmill platforms`: prints the installed platforms."""

import asyncio
from collections.abc import Sequence

import click
import msgspec
from rich.table import Table

from agents.platform_list.rows import PlatformRow, platform_rows
from agents.platforms.registry import Platforms
from schemas.codec import MalformedMessageError, decode
from schemas.signals import BREAKER, BreakerState
from streams.cli.errors import readable_errors
from streams.cli.options import bootstrap_option, client_settings
from streams.cli.result_table import open_console, safe_markup
from streams.client import read_signals
from streams.settings import KafkaSettings

QUIET_STATE = "closed"


@click.command()
@bootstrap_option
@click.option("--breakers", is_flag=True, help="Ask Kafka for the states of their breakers.")
@click.option("--json", "as_json", is_flag=True, help="One platform per line.")
def platforms(bootstrap: str | None, breakers: bool, as_json: bool) -> None:
    """List the installed platforms: kinds of posts, login, hosts, breakers."""
    settings = client_settings(bootstrap)
    with readable_errors():
        states = asyncio.run(_states(settings.kafka)) if breakers or bootstrap else None
        installed = Platforms.load(settings.platforms)
    rows = platform_rows(installed, settings.auth.cookie_files, states)
    if as_json:
        for row in rows:
            click.echo(msgspec.json.encode(row))
    else:
        open_console().print(platforms_table(rows))


async def _states(kafka: KafkaSettings) -> list[BreakerState]:
    return [
        state
        for value in (await read_signals(kafka, BREAKER)).values()
        if (state := _decode(value)) is not None
    ]


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


def _summary(row: PlatformRow) -> str:
    """Return the breakers that are not closed."""
    if row.breakers is None:
        return ""
    notable = [f"{name} {state}" for name, state in row.breakers.items() if state != QUIET_STATE]
    return ", ".join(notable) or QUIET_STATE
