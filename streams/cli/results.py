"""`clipmill results`: print the results topic, and follow it on demand."""

import asyncio
import json
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, get_args

import click
import msgspec

from schemas.results import PublishedResult
from streams.cli.errors import interruptible, readable_errors
from streams.cli.options import bootstrap_option, client_settings
from streams.cli.result_table import result_line
from streams.cluster.topic_reader import TopicReader
from streams.moments import parse_past
from streams.settings import KafkaSettings
from streams.topics import RESULTS

STATUSES = tuple(str(kind.__struct_config__.tag) for kind in get_args(PublishedResult))

BEGINNING, END = "beginning", "end"


class ResultFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Filter of results; an empty criterion matches everything.

    Attributes:
        ids: ids of requests, including their members; ``*`` matches any characters.
        statuses: accepted statuses.
    """

    ids: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()

    def matches(self, result: dict[str, Any]) -> bool:
        names = (result["request_id"], result["request_id"].rpartition("/")[0])
        return (not self.statuses or result.get("status") in self.statuses) and (
            not self.ids or any(fnmatchcase(name, each) for name in names for each in self.ids)
        )


@click.command()
@bootstrap_option
@click.option("--follow", "-f", is_flag=True, help="Print further results as they arrive.")
@click.option(
    "--from",
    "start",
    help="beginning, end, or a time: RFC 3339, or 2h or 3d for a time ago."
    " Default: the beginning, with --follow the end.",
)
@click.option("--status", "statuses", multiple=True, type=click.Choice(STATUSES))
@click.option(
    "--id",
    "ids",
    multiple=True,
    help="Id of a request, includes its members; * matches any characters.",
)
@click.option("--json", "as_json", is_flag=True, help="One result per line, with all fields.")
def results(
    *,
    bootstrap: str | None,
    follow: bool,
    start: str | None,
    statuses: tuple[str, ...],
    ids: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print results, in the order of each partition; Ctrl-C ends --follow."""
    start_at = _parse_start(start or (END if follow else BEGINNING))
    wanted = ResultFilter(ids=ids, statuses=statuses)
    kafka = client_settings(bootstrap).kafka
    with interruptible(), readable_errors():
        asyncio.run(_show(kafka, wanted, start_at, follow=follow, as_json=as_json))


def _parse_start(text: str) -> str | datetime:
    if text in {BEGINNING, END}:
        return text
    try:
        return parse_past(text, datetime.now(UTC))
    except ValueError as error:
        raise click.BadParameter(f"{error}, nor beginning or end", param_hint="--from") from None


async def _show(
    kafka: KafkaSettings,
    wanted: ResultFilter,
    start_at: str | datetime,
    *,
    follow: bool,
    as_json: bool,
) -> None:
    async with TopicReader(kafka, RESULTS) as reader:
        if isinstance(start_at, datetime):
            await reader.rewind_to(start_at)
        elif start_at == BEGINNING:
            await reader.seek_to_beginning()
        async for _, _, result in reader.records(to_end=not follow):
            if wanted.matches(result):
                click.echo(json.dumps(result) if as_json else result_line(result))
