"""`clipmill watch`: follow one request or batch from its first record to its outcome."""

import asyncio
import json
from typing import Any

import click

from schemas.redaction import printable
from streams.cli.errors import interruptible, readable_errors
from streams.cli.options import bootstrap_option, client_settings
from streams.cli.progress_bars import ProgressBars
from streams.cli.result_table import SECONDS_CHARACTERS, open_console, result_line
from streams.cli.status import audit_detail
from streams.cli.waiting import FAILED_STATUS
from streams.client import is_about, member_ids, members_of
from streams.cluster.topic_reader import Received, TopicReader
from streams.history.audit_lookup import history_start
from streams.settings import KafkaSettings
from streams.topics import AUDIT, PROGRESS, RESULTS


class OutcomeTracker:
    """Tracks the results of a request, and of the members of a batch or listing.

    Attributes:
        statuses: status of each result so far, by request.
    """

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._expected = {request_id}
        self.statuses: dict[str, str] = {}

    def record(self, result: dict[str, Any]) -> bool:
        """Record a result; return False for a duplicate."""
        name = result["request_id"]
        if name in self.statuses:
            return False
        self.statuses[name] = str(result.get("status"))
        if name == self._request_id:
            # Result of a single request or of a listing, whose members follow, or end of a batch.
            self._expected = {name} | members_of(result)
        elif self._request_id not in self.statuses and result.get("batch_size"):
            self._expected = member_ids(self._request_id, result["batch_size"])
        return True

    @property
    def is_complete(self) -> bool:
        """Whether no further result is expected."""
        return self._expected <= self.statuses.keys()

    @property
    def is_success(self) -> bool:
        """Whether all is completed; for a batch its members count, not its summary."""
        members = {status for name, status in self.statuses.items() if name != self._request_id}
        return (members or set(self.statuses.values())) == {"completed"}


@click.command()
@click.argument("request_id")
@bootstrap_option
@click.option("--json", "as_json", is_flag=True, help="One record per line, with its topic.")
@click.option("--timeout", type=float, help="Timeout in seconds; default: none.")
@click.pass_context
def watch(
    context: click.Context,
    *,
    request_id: str,
    bootstrap: str | None,
    as_json: bool,
    timeout: float | None,
) -> None:
    """Print the audit history of a request or a batch, and follow it until its outcome.

    Exit status 0: completed, with all members; 2: another outcome; 1: no outcome within --timeout.
    """
    kafka = client_settings(bootstrap).kafka
    watcher = RequestWatcher(request_id, as_json=as_json)
    with interruptible(), readable_errors():
        asyncio.run(watcher.run(kafka, timeout))
    if not watcher.outcomes.is_success:
        context.exit(FAILED_STATUS)


class RequestWatcher:
    """Prints the records of one request.

    Attributes:
        outcomes: the results so far.
    """

    def __init__(self, request_id: str, *, as_json: bool) -> None:
        self._request_id = request_id
        self._as_json = as_json
        self.outcomes = OutcomeTracker(request_id)

    async def run(self, kafka: KafkaSettings, limit: float | None) -> None:
        """Print the history, then new records until the request is decided.

        Raises:
            ClickException: it is not decided after ``limit`` seconds.
        """
        try:
            async with (
                asyncio.timeout(limit),
                TopicReader(kafka, AUDIT, RESULTS, PROGRESS) as reader,
            ):
                await self._print_history(kafka, reader)
                if not self.outcomes.is_complete:
                    await self._follow(reader)
        except TimeoutError:
            raise click.ClickException(
                f"no outcome of {self._request_id} within {limit:.0f} s"
            ) from None

    async def _print_history(self, kafka: KafkaSettings, reader: TopicReader) -> None:
        begin = await history_start(kafka, self._request_id)
        if begin is None:
            await reader.seek_to_beginning(AUDIT, RESULTS)
        else:
            await reader.rewind_to(begin, AUDIT, RESULTS)
        history = [
            each
            async for each in reader.records(to_end=True)
            if each.topic != PROGRESS and is_about(each.key, self._request_id)
        ]
        for each in sorted(history, key=_sort_key):
            self._print(each)
        if not history:
            click.echo(f"no record of {self._request_id} yet", err=True)

    async def _follow(self, reader: TopicReader) -> None:
        with ProgressBars.display(open_console(errors=True), 1) as bars:
            async for each in reader.records(until=lambda: self.outcomes.is_complete):
                if is_about(each.key, self._request_id):
                    self._print(each, bars)
        # No order across partitions: the end of a batch may be read before its members' results.
        async for each in reader.records(to_end=True):
            if each.topic == RESULTS and is_about(each.key, self._request_id):
                self._print(each)

    def _print(self, received: Received, bars: ProgressBars | None = None) -> None:
        topic, _, message = received
        if topic == RESULTS and not self.outcomes.record(message):
            return
        if bars is not None and topic == PROGRESS:
            bars.update(message)
        if bars is not None and topic == RESULTS:
            bars.complete(message)
        if self._as_json:
            click.echo(json.dumps({"topic": topic.name, "message": message}))
        elif topic == RESULTS:
            click.echo(result_line(message))
        elif topic == AUDIT:
            click.echo(_audit_line(message))


def _sort_key(received: Received) -> tuple[bool, str]:
    """Sort a history: the transitions by time, then the results."""
    message = received.message
    return received.topic == RESULTS, str(message.get("at") or message.get("finished_at"))


def _audit_line(record: dict[str, Any]) -> str:
    at = record["at"][:SECONDS_CHARACTERS]
    words = (at, f"{record['transition']:<9}", record["request_id"], record["step"])
    return "  ".join(map(printable, (*words, audit_detail(record))))
