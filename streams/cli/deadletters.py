"""`clipmill deadletters`: list, show, replay or resolve dead letters."""

import asyncio
import getpass
import json
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.table import Column, Table

from schemas.deadletters import DeadLetterStatus
from schemas.redaction import printable
from streams.cli.errors import readable_errors
from streams.cli.options import bootstrap_option, client_settings
from streams.cli.result_table import open_console, safe_markup
from streams.deadletters import operations
from streams.deadletters.dead_letter import STATES, DeadLetterRecord, Filter, NewestDeadLetters
from streams.deadletters.operations import DEFAULT_RATE, open_store
from streams.deadletters.plan import DryRun, ReplayPlan, Totals
from streams.deadletters.presentation import (
    advice,
    dead_letter_fields,
    format_value,
    shown_headers,
    shown_key,
)
from streams.deadletters.store import require_all
from streams.moments import parse_past
from streams.settings import KafkaSettings, Settings

LIST_LIMIT = 100

SHARED = (
    click.option(
        "--code", "codes", multiple=True, help="Error code, or a family of codes: network."
    ),
    click.option("--platform", help="Name of the platform."),
    click.option("--step", help="Stage that failed."),
    click.option("--since", help="Failed since: RFC 3339, or 2h or 3d for a time ago."),
    click.option("--until", help="Failed until: RFC 3339, or 2h or 3d for a time ago."),
    click.option("--engine", help="Version of yt-dlp."),
    click.option("--state", type=click.Choice(STATES), help="Replay state."),
    click.option("--max-replays", type=click.IntRange(1), help="Failed replays until parked."),
    bootstrap_option,
)
"""Options of both `list` and `replay`."""


def filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `Filter` to a command."""
    for option in reversed(SHARED):
        command = option(command)
    return command


def _filter(settings: Settings, ids: tuple[str, ...] = (), **given: Any) -> Filter:
    now = datetime.now(UTC)
    try:
        moments: dict[str, Any] = {
            name: parse_past(text, now)
            for name in ("since", "until")
            if (text := given.pop(name)) is not None
        }
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    replays_max = given.pop("max_replays") or settings.deadletters.replays
    return Filter(ids=frozenset(ids), replays_max=replays_max, **given, **moments)


@click.group()
def deadletters() -> None:
    """List, show, replay or resolve dead letters: records that no stage could handle."""


@deadletters.command("list")
@filter_options
@click.option("--limit", default=LIST_LIMIT, show_default=True, help="Maximum number.")
@click.option("--json", "as_json", is_flag=True, help="One dead letter per line.")
def list_dead_letters(*, bootstrap: str | None, limit: int, as_json: bool, **given: Any) -> None:
    """List dead letters, newest first."""
    settings = client_settings(bootstrap)
    wanted = _filter(settings, **given)
    newest: NewestDeadLetters[DeadLetterRecord] = NewestDeadLetters(wanted, limit)
    with readable_errors():
        asyncio.run(_newest(settings.kafka, newest))
    dead_letters = newest.newest_first()
    if as_json:
        for dead_letter in dead_letters:
            click.echo(json.dumps(dead_letter_fields(dead_letter, wanted.replays_max)))
        return
    open_console().print(_table(dead_letters, wanted.replays_max))
    click.echo(f"{len(dead_letters)} of {newest.count}")


def _table(dead_letters: Sequence[DeadLetterRecord], replays_max: int) -> Table:
    """Return a table with one row per dead letter."""
    table = Table(Column("id", no_wrap=True), "failed", "state", "step", "code", "request", "why")
    for dead_letter in dead_letters:
        metadata = dead_letter.metadata
        texts = (metadata.step, metadata.code, metadata.request_id, metadata.reason)
        failed_at = metadata.failed_at.isoformat(timespec="seconds")[:19]
        table.add_row(
            dead_letter.id, failed_at, dead_letter.state(replays_max), *map(safe_markup, texts)
        )
    return table


async def _newest(kafka: KafkaSettings, newest: NewestDeadLetters[DeadLetterRecord]) -> None:
    async for dead_letter in (await open_store(kafka)).dead_letters():
        newest.add(dead_letter)


@deadletters.command()
@click.argument("dead_letter_id", metavar="ID")
@bootstrap_option
def show(dead_letter_id: str, bootstrap: str | None) -> None:
    """Show one dead letter with its headers and value; secrets are masked."""
    settings = client_settings(bootstrap)
    with readable_errors():
        [dead_letter] = asyncio.run(_find(settings.kafka, {dead_letter_id}))
    click.echo(dead_letter_text(dead_letter, settings.deadletters.replays))


def dead_letter_text(dead_letter: DeadLetterRecord, replays_max: int) -> str:
    """Return all of a dead letter as text, with the values of cookies masked."""
    fields = dead_letter_fields(dead_letter, replays_max)
    state = dead_letter.state(replays_max)
    headers = [f"  {name}: {text}" for name, text in shown_headers(dead_letter)]
    lines = [
        *(f"{name}: {printable(str(value))}" for name, value in fields.items()),
        f"key: {shown_key(dead_letter)}",
        *["headers:", *headers],
        "value:",
        format_value(dead_letter.value),
        "",
        advice(dead_letter, state),
    ]
    return "\n".join(lines)


async def _find(kafka: KafkaSettings, ids: Collection[str]) -> list[DeadLetterRecord]:
    return await (await open_store(kafka)).find(ids)


@deadletters.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@filter_options
@click.option("--all", "replay_all", is_flag=True, help="Replay all that match.")
@click.option("--limit", type=click.IntRange(1), help="Maximum number.")
@click.option(
    "--rate",
    type=click.FloatRange(0.01),
    default=DEFAULT_RATE,
    show_default=True,
    help="Per second.",
)
@click.option("--force", is_flag=True, help="Include parked and resolved ones.")
@click.option("--dry-run", is_flag=True, help="List what would be replayed; publish nothing.")
@click.option("--by", default=getpass.getuser, help="Author of the action; default: the user.")
def replay(
    *,
    ids: tuple[str, ...],
    bootstrap: str | None,
    replay_all: bool,
    limit: int | None,
    rate: float,
    force: bool,
    dry_run: bool,
    by: str,
    **given: Any,
) -> None:
    """Replay dead letters: publish the original records again, as new requests.

    Requires an ID, a filter option, or --all.
    """
    if not (replay_all or dry_run or ids or any(given.values())):
        raise click.UsageError(
            "select dead letters by ID, by a filter option such as --code, or with --all"
        )
    settings = client_settings(bootstrap)
    plan = ReplayPlan(_filter(settings, ids, **given), force=force, limit=limit, by=by)
    with readable_errors():
        if dry_run:
            totals = asyncio.run(_dry_run(settings.kafka, plan))
        else:
            totals = asyncio.run(operations.replay(settings.kafka, plan, rate, _report_progress))
    click.echo(_summary(totals, dry_run=dry_run))
    with readable_errors():
        require_all(plan.criteria.ids, totals.seen)


async def _dry_run(kafka: KafkaSettings, plan: ReplayPlan) -> Totals:
    dry_run = DryRun(plan)
    async for dead_letter in (await open_store(kafka)).dead_letters():
        if dry_run.is_complete:
            break
        if dry_run.add(dead_letter):
            metadata = dead_letter.metadata
            click.echo(f"{dead_letter.id}  {metadata.step}  {metadata.code}  {metadata.request_id}")
    return dry_run.totals


def _report_progress(totals: Totals) -> None:
    click.echo(f"{totals.replayed} replayed so far", err=True)


def _summary(totals: Totals, *, dry_run: bool) -> str:
    parts = [f"{totals.replayed} {'would be ' if dry_run else ''}replayed"]
    parts += [f"{count} skipped: {reason}" for reason, count in totals.skipped.most_common()]
    return "; ".join(parts)


@deadletters.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@bootstrap_option
@click.option("--note", default="", help="Reason, as free text.")
@click.option("--by", default=getpass.getuser, help="Author of the action; default: the user.")
def resolve(ids: tuple[str, ...], bootstrap: str | None, note: str, by: str) -> None:
    """Mark dead letters as resolved: no further action is needed."""
    kafka = client_settings(bootstrap).kafka
    mark = DeadLetterStatus(state="resolved", by=by, at=datetime.now(UTC), note=note)
    with readable_errors():
        asyncio.run(_resolve(kafka, set(ids), mark))
    click.echo(f"{len(set(ids))} resolved")


async def _resolve(kafka: KafkaSettings, ids: set[str], mark: DeadLetterStatus) -> None:
    await operations.require_resolving(kafka)
    await operations.resolve(kafka, await _find(kafka, ids), mark)
