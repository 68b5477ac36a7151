"""Waiting for what comes of a request or an order, and showing it."""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

import click

from streams.cli.result_table import follow, open_console, results_table
from streams.client import Client, members_of, wait_for

FAILED_STATUS = 2
"""Exit status when something was not completed."""

CONFIRM_SECONDS = 10.0
"""An order that is followed is seen to be within this time."""


async def results_of(
    client: Client, request_ids: set[str], limit: float, *, as_json: bool
) -> Sequence[dict[str, Any]]:
    """Return the results of requests, and print them.

    Raises:
        ClickException: one is missing after so many seconds.
    """
    results = await follow(client, request_ids, limit, open_console(errors=True))
    print_results(results, as_json=as_json)
    expected = request_ids.union(*map(members_of, results))
    missing = sorted(expected - {result["request_id"] for result in results})
    if missing:
        raise click.ClickException(
            f"no result within {limit:.0f} s for {', '.join(missing)}; "
            f"look with `clipmill status {missing[0]}`"
        )
    return results


async def first_of(client: Client, request_ids: set[str], limit: float) -> dict[str, Any] | None:
    """Return the first result that comes of any of these, None when none comes in time."""
    try:
        async with aclosing(wait_for(client, request_ids, limit)) as results:
            return await anext(results)
    except TimeoutError:
        return None


def print_results(results: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print results: one line of JSON each, or a table for people."""
    if as_json:
        for result in results:
            click.echo(json.dumps(result))
    elif results:
        open_console().print(results_table(list(results)))


async def confirmed(client: Client, command_id: str, followed: Callable[[], bool]) -> None:
    """Return when an order is seen to be followed.

    Raises:
        ClickException: it was refused, or nothing was seen of it in time.
    """
    refusal = asyncio.create_task(first_of(client, {command_id}, CONFIRM_SECONDS))
    try:
        while not followed():
            if refusal.done():
                raise click.ClickException(_why_not(refusal.result()))
            await asyncio.sleep(POLL_SECONDS)
    finally:
        refusal.cancel()
        await asyncio.gather(refusal, return_exceptions=True)


POLL_SECONDS = 0.02


def _why_not(refused: dict[str, Any] | None) -> str:
    if refused is None:
        return (
            f"nothing was seen of it within {CONFIRM_SECONDS:.0f} s; "
            "are the stages `commands`, `monitor` and `ledger` running?"
        )
    return str(refused["error"]["user_message"])
