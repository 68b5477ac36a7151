"""Waits for the results of requests and for the effect of commands, and prints results."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

import click

from streams.cli.progress_bars import follow
from streams.cli.result_table import files_folder, open_console, results_table, safe_markup
from streams.client import Client, members_of, wait_for

FAILED_STATUS = 2
"""Exit status if a request was not completed."""

ROWS_MAX = 1_000
"""Rows of a table; further results are only counted. JSON lines have no such limit."""

MISSING_NAMED = 10
"""Missing requests that an error names."""

CONFIRM_SECONDS = 10.0
"""Timeout in seconds until the effect of a command is visible in the shared state."""


async def wait_and_print(
    client: Client, request_ids: set[str], limit: float, *, as_json: bool
) -> Sequence[dict[str, Any]]:
    """Wait for the results of requests, print and return them.

    Raises:
        ClickException: a result is missing after ``limit`` seconds.
    """
    results = await follow(client, request_ids, limit, open_console(errors=True))
    print_results(results, as_json=as_json)
    expected = request_ids.union(*map(members_of, results))
    missing = sorted(expected - {result["request_id"] for result in results})
    if missing:
        raise missing_results(missing, len(missing), limit)
    return results


def missing_results(missing: Sequence[str], count: int, limit: float) -> click.ClickException:
    """Return the error that ``count`` requests had no result in time; some are named."""
    named = missing[:MISSING_NAMED]
    more = f" and {count - len(named)} more" if count > len(named) else ""
    return click.ClickException(
        f"no result within {limit:.0f} s for {', '.join(named)}{more}; "
        f"see `clipmill status {named[0]}`"
    )


class ResultOutput:
    """Prints results: one line of JSON each on arrival, or one table at the end."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._rows: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()

    def add(self, result: dict[str, Any]) -> None:
        """Print a result, or buffer it for the table."""
        self.counts[result["status"]] += 1
        if self._as_json:
            click.echo(json.dumps(result))
        elif len(self._rows) < ROWS_MAX:
            self._rows.append(result)

    def close(self) -> None:
        print_results(self._rows, as_json=self._as_json)
        if not self._as_json and self.counts.total() > len(self._rows):
            counts = ", ".join(f"{count} {status}" for status, count in self.counts.most_common())
            click.echo(f"the first {ROWS_MAX} of {self.counts.total()}: {counts}")


async def first_result(
    client: Client, request_ids: set[str], limit: float
) -> dict[str, Any] | None:
    """Wait for the first result of any of these requests, None on timeout."""
    try:
        async with aclosing(wait_for(client, request_ids, limit)) as results:
            return await anext(results)
    except TimeoutError:
        return None


def print_results(results: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print results: one line of JSON each, or a table."""
    if as_json:
        for result in results:
            click.echo(json.dumps(result))
    elif results:
        console = open_console()
        console.print(results_table(list(results)))
        if folder := files_folder(results):
            console.print(f"The files are in {safe_markup(folder)}", soft_wrap=True)


async def wait_applied(client: Client, command_id: str, is_applied: Callable[[], bool]) -> None:
    """Wait until the effect of a command is visible.

    Raises:
        ClickException: the command was rejected, or had no visible effect in time.
    """
    refusal = asyncio.create_task(first_result(client, {command_id}, CONFIRM_SECONDS))
    try:
        while not is_applied():
            if refusal.done():
                raise click.ClickException(_failure_reason(refusal.result()))
            await asyncio.sleep(POLL_SECONDS)
    finally:
        refusal.cancel()
        await asyncio.gather(refusal, return_exceptions=True)


POLL_SECONDS = 0.02


def _failure_reason(refused: dict[str, Any] | None) -> str:
    if refused is None:
        return (
            f"the command had no visible effect within {CONFIRM_SECONDS:.0f} s; "
            "are the stages `commands`, `monitor` and `ledger` running?"
        )
    return str(refused["error"]["user_message"])
