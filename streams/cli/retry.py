"""`clipmill retry`: submit a decided request again, optionally with other options."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, get_args

import click
from msgspec import UNSET

from schemas.commands import OptionChanges, Retry
from schemas.request import Quality
from streams.cli.errors import readable_errors
from streams.cli.options import bootstrap_option, client_settings, operator
from streams.cli.waiting import FAILED_STATUS, wait_and_print
from streams.client import Client
from streams.new_requests import new_id
from streams.settings import KafkaSettings


@click.command()
@click.argument("request_id")
@bootstrap_option
@click.option("--quality", type=click.Choice(get_args(Quality)), help="Maximum size.")
@click.option("--container", type=click.Choice(("any", "mp4", "webm")), help="File type.")
@click.option("--codec", type=click.Choice(("any", "h264", "h265")), help="Video codec.")
@click.option("--allow-watermark", is_flag=True, help="Accept a watermarked file.")
@click.option("--refresh", is_flag=True, help="Ignore cached results and stored files.")
@click.option("--wait", is_flag=True, help="Wait for the result.")
@click.option("--json", "as_json", is_flag=True, help="The result (or the new id) as JSON.")
@click.option("--timeout", default=600.0, show_default=True, help="Timeout in seconds.")
@click.pass_context
def retry(
    context: click.Context,
    *,
    request_id: str,
    bootstrap: str | None,
    quality: Any,
    container: Any,
    codec: Any,
    allow_watermark: bool,
    refresh: bool,
    wait: bool,
    as_json: bool,
    timeout: float,
) -> None:
    """Create a new request from one that has ended, optionally with other options.

    Exit status 0: the command is published and, with --wait, the request completed; 2: it did not.
    """
    changes = OptionChanges(
        quality=quality or UNSET,
        container=container or UNSET,
        codec=codec or UNSET,
        watermark="allow" if allow_watermark else UNSET,
        refresh=refresh or UNSET,
    )
    name = new_id()
    command = Retry(id=name, new_id=name, request_id=request_id, options=changes, by=operator())
    kafka = client_settings(bootstrap).kafka
    limit = timeout if wait else None
    with readable_errors():
        results = asyncio.run(_retry(kafka, command, limit, as_json=as_json))
    if any(result["status"] != "completed" for result in results):
        context.exit(FAILED_STATUS)


async def _retry(
    kafka: KafkaSettings, command: Retry, limit: float | None, *, as_json: bool
) -> Sequence[dict[str, Any]]:
    assert command.new_id is not None
    async with Client(kafka) as client:
        await client.send_command(command)
        if limit is not None:
            return await wait_and_print(client, {command.new_id}, limit, as_json=as_json)
    line = {"request_id": command.new_id, "retry_of": command.request_id}
    text = f"{command.new_id}  retry of {command.request_id}"
    click.echo(json.dumps(line) if as_json else text)
    return []
