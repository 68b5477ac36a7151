"""`clipmill requests`: list requests by state, error, platform, URL and time."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import click
import orjson
from rich.table import Table

from streams.cli.errors import interruptible, readable_errors
from streams.cli.options import bootstrap_option, client_settings
from streams.cli.result_table import COLOURS, open_console, safe_markup, shorten
from streams.history.follower import HistoryFollower
from streams.history.rows import (
    REQUEST_STATES,
    CriterionError,
    RequestFilter,
    RequestRow,
    check_filter,
    format_time,
    row_to_json,
)
from streams.history.store import FILE_NAME, HistoryStore
from streams.moments import parse_past
from streams.settings import Settings

LIMIT = 50
LIMIT_MAX = 1_000_000


@click.command()
@bootstrap_option
@click.option("--state", type=click.Choice(REQUEST_STATES, case_sensitive=False))
@click.option("--error", help="Error code of the last failure, such as rate_limit.api.")
@click.option("--platform", help="Name of the platform.")
@click.option("--video", help="Key of the post, <platform>:<id>.")
@click.option("--url", help="URL as the client gave it.")
@click.option("--batch", help="Id of the batch, for its members.")
@click.option("--retry-of", help="Id of a request, for its retries and replays.")
@click.option("--since", help="Received since: RFC 3339, or 2h or 3d for a time ago.")
@click.option("--limit", type=click.IntRange(1, LIMIT_MAX), default=LIMIT, show_default=True)
@click.option(
    "--counts", is_flag=True, help="Print the number of matching requests by state instead."
)
@click.option("--json", "as_json", is_flag=True, help="One request per line, with all fields.")
def requests(
    *,
    bootstrap: str | None,
    since: str | None,
    limit: int,
    counts: bool,
    as_json: bool,
    **criteria: str | None,
) -> None:
    """List requests, newest first.

    The first call reads the audit topic into DATA_DIR/history.db, later ones its new records.
    """
    settings = client_settings(bootstrap)
    wanted = _filter(criteria, since)
    with interruptible(), readable_errors(), HistoryStore(settings.data_dir / FILE_NAME) as store:
        asyncio.run(_catch_up(settings, store))
        _check(lambda: store.check_error(wanted.error))
        if counts:
            _print_counts(store.counts(wanted), as_json=as_json)
            return
        rows = store.requests(wanted, limit)
    if as_json:
        for row in rows:
            click.echo(orjson.dumps(row_to_json(row)))
    elif rows:
        open_console().print(_table(rows))
    else:
        click.echo("no request matches", err=True)


async def _catch_up(settings: Settings, store: HistoryStore) -> None:
    async with HistoryFollower(settings.kafka, store, settings.history) as follower:
        await follower.catch_up()


def _filter(criteria: dict[str, str | None], since: str | None) -> RequestFilter:
    for name, value in criteria.items():
        if value is not None and not value.isprintable():
            raise click.BadParameter(
                "contains control characters, which no request has", param_hint=f"--{name}"
            )
    wanted = RequestFilter(**criteria, since=_epoch(since))
    _check(lambda: check_filter(wanted))
    return wanted


def _check(check: Callable[[], None]) -> None:
    try:
        check()
    except CriterionError as error:
        raise click.BadParameter(str(error), param_hint=f"--{error.field}") from None


def _epoch(since: str | None) -> float | None:
    if since is None:
        return None
    try:
        return parse_past(since, datetime.now(UTC)).timestamp()
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--since") from None


def _print_counts(counts: dict[str, int], *, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(counts))
        return
    for state, number in sorted(counts.items(), key=lambda each: -each[1]):
        click.echo(f"{number:8,}  {state}")


def _table(rows: Sequence[RequestRow]) -> Table:
    table = Table("received", "request", "state", "step", "error", "next attempt")
    for row in rows:
        colour = COLOURS.get(row.state, "white")
        lines = [safe_markup(row.id), f"[dim]{safe_markup(shorten(row.subject))}[/]"]
        if row.title is not None:
            lines.insert(1, safe_markup(shorten(row.title)))
        table.add_row(
            _moment(row.received_at),
            "\n".join(lines),
            f"[{colour}]{safe_markup(row.state)}[/]",
            safe_markup(row.step or ""),
            safe_markup(row.error or ""),
            "" if row.due is None else _moment(row.due),
        )
    return table


def _moment(seconds: float) -> str:
    return format_time(seconds)[:19]
