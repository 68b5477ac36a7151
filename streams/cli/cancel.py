"""`clipmill cancel`: cancel a request or a batch."""

import asyncio
from typing import Any

import click

from schemas.commands import Cancel
from streams.cli.errors import readable_errors
from streams.cli.options import bootstrap_option, client_settings, operator
from streams.cli.waiting import FAILED_STATUS, first_result, print_results
from streams.client import Client
from streams.new_requests import new_id
from streams.settings import KafkaSettings


@click.command()
@click.argument("request_id")
@bootstrap_option
@click.option("--wait", is_flag=True, help="Wait for the outcome; not for a batch.")
@click.option("--json", "as_json", is_flag=True, help="The outcome as a line of JSON.")
@click.option("--timeout", default=30.0, show_default=True, help="Timeout in seconds.")
@click.pass_context
def cancel(
    context: click.Context,
    *,
    request_id: str,
    bootstrap: str | None,
    wait: bool,
    as_json: bool,
    timeout: float,
) -> None:
    """Cancel a request, or a batch with all its members.

    Exit status 0: the command is published and, with --wait, the request is cancelled; 2: the
    request had another outcome before, or is unknown.
    """
    kafka = client_settings(bootstrap).kafka
    command = Cancel(id=new_id(), request_id=request_id, by=operator())
    with readable_errors():
        result = asyncio.run(_cancel(kafka, command, timeout if wait else None))
    if result is None:
        click.echo(f"{request_id}: cancellation requested")
        return
    print_results([result], as_json=as_json)
    if result["status"] != "cancelled":
        context.exit(FAILED_STATUS)


async def _cancel(
    kafka: KafkaSettings, command: Cancel, limit: float | None
) -> dict[str, Any] | None:
    assert command.id is not None
    async with Client(kafka) as client:
        await client.send_command(command)
        if limit is None:
            return None
        result = await first_result(client, {command.request_id, command.id}, limit)
    if result is None:
        raise click.ClickException(
            f"no result within {limit:.0f} s; the request may have been decided before: "
            f"see `clipmill status {command.request_id}`"
        )
    return result
