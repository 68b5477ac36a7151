"""Waiting for what comes of a request or an order, and showing it."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

import click

from streams.cli.progress_bars import follow
from streams.cli.result_table import open_console, results_table
from streams.client import Client, members_of, wait_for

FAILED_STATUS = 2
"""Exit status when something was not completed."""

ROWS_MAX = 1_000
"""Rows of a table; more results are counted only. JSON lines have no such limit."""

MISSING_NAMED = 10
"""Missing requests that an error names."""

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
        raise no_result(missing, len(missing), limit)
    return results


def no_result(missing: Sequence[str], count: int, limit: float) -> click.ClickException:
    """Return the error that so many requests, some of them named, had no result in time."""
    named = missing[:MISSING_NAMED]
    more = f" and {count - len(named)} more" if count > len(named) else ""
    return click.ClickException(
        f"no result within {limit:.0f} s for {', '.join(named)}{more}; "
        f"look with `clipmill status {named[0]}`"
    )


class ResultOutput:
    """Prints results: one line of JSON each as they come, or one table of them at the end."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._rows: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()

    def add(self, result: dict[str, Any]) -> None:
        """Print or keep a result."""
        self.counts[result["status"]] += 1
        if self._as_json:
            click.echo(json.dumps(result))
        elif len(self._rows) < ROWS_MAX:
            self._rows.append(result)

    def close(self) -> None:
        """Print the table."""
        print_results(self._rows, as_json=self._as_json)
        if not self._as_json and self.counts.total() > len(self._rows):
            counts = ", ".join(f"{count} {status}" for status, count in self.counts.most_common())
            click.echo(f"the first {ROWS_MAX} of {self.counts.total()}: {counts}")


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
