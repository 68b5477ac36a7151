"""`clipmill status`: print the audit history of one request."""

import asyncio
import json
from typing import Any

import click
from rich.table import Table

from streams.cli.errors import readable_errors
from streams.cli.options import bootstrap_option, client_settings
from streams.cli.result_table import open_console, safe_markup
from streams.history.audit_lookup import read_history


@click.command()
@click.argument("request_id")
@bootstrap_option
@click.option("--json", "as_json", is_flag=True, help="One audit record per line.")
def status(request_id: str, bootstrap: str | None, as_json: bool) -> None:
    """Print the audit history of a request, or of a batch and its members."""
    kafka = client_settings(bootstrap).kafka
    with readable_errors():
        history = asyncio.run(read_history(kafka, request_id))
    if not history:
        raise click.ClickException(
            f"no audit record of {request_id}; the request was never accepted, or is older than "
            "the retention of the audit topic"
        )
    if as_json:
        for record in history:
            click.echo(json.dumps(record))
    else:
        open_console().print(_table(history))


def _table(history: list[dict[str, Any]]) -> Table:
    table = Table("time", "request", "step", "transition", "detail")
    for record in history:
        texts = (record["request_id"], record["step"], record["transition"], audit_detail(record))
        table.add_row(record["at"][:23], *map(safe_markup, texts))
    return table


def audit_detail(record: dict[str, Any]) -> str:
    """Format the detail or the outcome of an audit record in one line."""
    outcome = record["outcome"]
    if outcome is None:
        return ", ".join(f"{name}={value}" for name, value in record["detail"].items())
    if "error" in outcome:
        return f"{outcome['status']}: {outcome['error']['user_message']}"
    return ", ".join([outcome["status"], *(file["uri"] for file in outcome["files"])])
