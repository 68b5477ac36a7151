"""`clipmill breakers`: list circuit breakers, force one open, reset one."""

import asyncio
from datetime import datetime

import click
from rich.table import Table

from schemas.codec import MalformedMessageError, decode, encode
from schemas.commands import OpenBreaker, ResetBreaker
from schemas.signals import BREAKER, BreakerState
from streams.cli.errors import readable_errors
from streams.cli.options import bootstrap_option, client_settings, operator
from streams.cli.result_table import open_console, safe_markup
from streams.cli.waiting import wait_applied
from streams.client import Client, read_signals
from streams.cluster.shared_state import SharedState, open_shared_state
from streams.new_requests import new_id
from streams.settings import KafkaSettings

COLOURS = {"closed": "green", "half_open": "yellow", "open": "red", "forced_open": "red"}


@click.group(invoke_without_command=True)
@bootstrap_option
@click.option("--json", "as_json", is_flag=True, help="One breaker per line.")
@click.pass_context
def breakers(context: click.Context, bootstrap: str | None, as_json: bool) -> None:
    """Show all circuit breakers, or open or reset one (PLATFORM:OPERATION:EGRESS)."""
    if context.invoked_subcommand is not None:
        return
    kafka = client_settings(bootstrap).kafka
    with readable_errors():
        found = asyncio.run(read_signals(kafka, BREAKER))
    states = sorted(filter(None, map(_decode_state, found.values())), key=lambda state: state.name)
    if as_json:
        for state in states:
            click.echo(encode(state))
    elif states:
        open_console().print(breakers_table(states))
    else:
        click.echo("no circuit breaker has recorded an attempt yet")


@breakers.command(name="open")
@click.argument("name")
@bootstrap_option
def open_one(name: str, bootstrap: str | None) -> None:
    """Force a breaker open: it rejects all attempts until it is reset."""
    kafka = client_settings(bootstrap).kafka
    with readable_errors():
        asyncio.run(_send(kafka, OpenBreaker(id=new_id(), breaker=name, by=operator())))
    click.echo(f"{name} is open")


@breakers.command()
@click.argument("name")
@bootstrap_option
def reset(name: str, bootstrap: str | None) -> None:
    """Close a breaker and clear its counts."""
    kafka = client_settings(bootstrap).kafka
    with readable_errors():
        asyncio.run(_send(kafka, ResetBreaker(id=new_id(), breaker=name, by=operator())))
    click.echo(f"{name} is closed")


async def _send(kafka: KafkaSettings, command: OpenBreaker | ResetBreaker) -> None:
    assert command.id is not None
    wanted = "forced_open" if isinstance(command, OpenBreaker) else "closed"
    async with Client(kafka) as client, open_shared_state(kafka) as shared_state:
        await client.send_command(command)
        await wait_applied(
            client, command.id, lambda: _current_state(shared_state, command.breaker) == wanted
        )


def _current_state(shared_state: SharedState, name: str) -> str | None:
    state = shared_state.read(f"{BREAKER}{name}", BreakerState)
    return None if state is None else state.state


def _decode_state(value: bytes) -> BreakerState | None:
    try:
        return decode(value, BreakerState)
    except MalformedMessageError:
        return None


def breakers_table(states: list[BreakerState]) -> Table:
    table = Table("breaker", "state", "reason", "since", "next trial", "by")
    for state in states:
        table.add_row(
            safe_markup(state.name),
            f"[{COLOURS[state.state]}]{state.state}[/]",
            state.reason or "",
            _moment(state.since),
            _moment(state.until),
            safe_markup(state.by or ""),
        )
    return table


def _moment(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"
