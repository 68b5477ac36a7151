"""`clipmill submit`: ask for videos from the command line."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, get_args

import click

from schemas.listing import LISTED_MAX
from schemas.request import Action, Quality
from streams.cli.errors import readable_errors
from streams.cli.options import bootstrap_option, client_settings, new_id
from streams.cli.waiting import FAILED_STATUS, results_of
from streams.client import Client, request_body
from streams.settings import KafkaSettings


@click.command()
@click.argument("urls", nargs=-1, required=True)
@bootstrap_option
@click.option("--action", type=click.Choice(get_args(Action)), default="download")
@click.option("--quality", type=click.Choice(get_args(Quality)), help="Largest size wanted.")
@click.option(
    "--limit",
    type=click.IntRange(1, LISTED_MAX),
    help="Posts of a profile, collection or playlist.",
)
@click.option("--wait", is_flag=True, help="Wait for the results.")
@click.option("--json", "as_json", is_flag=True, help="One result (or request) per line.")
@click.option("--timeout", default=600.0, show_default=True, help="Seconds to wait at most.")
@click.pass_context
def submit(
    context: click.Context,
    *,
    urls: tuple[str, ...],
    bootstrap: str | None,
    action: str,
    quality: str | None,
    limit: int | None,
    wait: bool,
    as_json: bool,
    timeout: float,
) -> None:
    """Publish a request for each of URLS.

    Exit status 0: all published and, with --wait, completed; 2: at least one was not completed.
    """
    kafka = client_settings(bootstrap).kafka
    told = {"quality": quality, "limit": limit}
    options = {name: value for name, value in told.items() if value is not None}
    requests = {new_id(): {"url": url, "action": action, "options": options} for url in urls}
    with readable_errors():
        results = asyncio.run(_submit(kafka, requests, wait=wait, as_json=as_json, seconds=timeout))
    if wait and any(result["status"] != "completed" for result in results):
        context.exit(FAILED_STATUS)


async def _submit(
    kafka: KafkaSettings,
    requests: dict[str, dict[str, Any]],
    *,
    wait: bool,
    as_json: bool,
    seconds: float,
) -> Sequence[dict[str, Any]]:
    async with Client(kafka) as client:
        await client.publish(
            [request_body(id=request_id, **fields) for request_id, fields in requests.items()]
        )
        if not wait:
            _print_requests(requests, as_json=as_json)
            return []
        return await results_of(client, set(requests), seconds, as_json=as_json)


def _print_requests(requests: dict[str, dict[str, Any]], *, as_json: bool) -> None:
    for request_id, fields in requests.items():
        line = {"request_id": request_id, "url": fields["url"]}
        click.echo(json.dumps(line) if as_json else f"{request_id}  {fields['url']}")
