"""`clipmill watch`: the story of one request or batch, from its first record to its outcome."""

import asyncio
import json
from typing import Any

import click

from streams.cli.errors import interruptible, readable_errors
from streams.cli.options import bootstrap_option, client_settings
from streams.cli.progress_bars import ProgressBars
from streams.cli.result_table import SECONDS_CHARACTERS, open_console, printable, result_line
from streams.cli.status import audit_detail
from streams.cli.waiting import FAILED_STATUS
from streams.client import is_about, member_ids, members_of
from streams.cluster.topic_reader import Received, TopicReader
from streams.history import begin_of_history
from streams.settings import KafkaSettings
from streams.topics import AUDIT, PROGRESS, RESULTS


class Decision:
    """What is decided of a request, or of a batch or listing and its members.

    Attributes:
        statuses: of the results so far, by request.
    """

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._expected = {request_id}
        self.statuses: dict[str, str] = {}

    def note(self, result: dict[str, Any]) -> bool:
        """Note a result; return whether it is no copy of one that is known."""
        name = result["request_id"]
        if name in self.statuses:
            return False
        self.statuses[name] = str(result.get("status"))
        if name == self._request_id:
            # Of a single request, of a listing whose members follow, or the end of a batch.
            self._expected = {name} | members_of(result)
        elif self._request_id not in self.statuses and result.get("batch_size"):
            self._expected = member_ids(self._request_id, result["batch_size"])
        return True

    @property
    def is_complete(self) -> bool:
        """Whether nothing more will come."""
        return self._expected <= self.statuses.keys()

    @property
    def is_success(self) -> bool:
        """Whether all that was asked for is there; of a batch its members count."""
        members = {status for name, status in self.statuses.items() if name != self._request_id}
        return (members or set(self.statuses.values())) == {"completed"}


@click.command()
@click.argument("request_id")
@bootstrap_option
@click.option("--json", "as_json", is_flag=True, help="One record per line, with its topic.")
@click.option("--timeout", type=float, help="Seconds to wait at most; default: no limit.")
@click.pass_context
def watch(
    context: click.Context,
    *,
    request_id: str,
    bootstrap: str | None,
    as_json: bool,
    timeout: float | None,
) -> None:
    """Show what happened to a request or a batch, and what happens until it has its outcome.

    Exit status 0: completed, with all members; 2: decided otherwise; 1: nothing decided in time.
    """
    kafka = client_settings(bootstrap).kafka
    story = Story(request_id, as_json=as_json)
    with interruptible(), readable_errors():
        asyncio.run(story.tell(kafka, timeout))
    if not story.decision.is_success:
        context.exit(FAILED_STATUS)


class Story:
    """Prints the records of one request.

    Attributes:
        decision: what is decided so far.
    """

    def __init__(self, request_id: str, *, as_json: bool) -> None:
        self._request_id = request_id
        self._as_json = as_json
        self.decision = Decision(request_id)

    async def tell(self, kafka: KafkaSettings, limit: float | None) -> None:
        """Print what was and what comes, until all is decided.

        Raises:
            ClickException: it is not, after so many seconds.
        """
        try:
            async with (
                asyncio.timeout(limit),
                TopicReader(kafka, AUDIT, RESULTS, PROGRESS) as reader,
            ):
                await self._tell_history(kafka, reader)
                if not self.decision.is_complete:
                    await self._tell_news(reader)
        except TimeoutError:
            raise click.ClickException(
                f"{self._request_id} is not decided after {limit:.0f} s"
            ) from None

    async def _tell_history(self, kafka: KafkaSettings, reader: TopicReader) -> None:
        begin = await begin_of_history(kafka, self._request_id)
        if begin is None:
            await reader.from_beginning(AUDIT, RESULTS)
        else:
            await reader.back_to(begin, AUDIT, RESULTS)
        history = [
            each
            async for each in reader.records(to_end=True)
            if each.topic != PROGRESS and is_about(each.key, self._request_id)
        ]
        for each in sorted(history, key=_order):
            self._print(each)
        if not history:
            click.echo(f"nothing is known of {self._request_id} yet", err=True)

    async def _tell_news(self, reader: TopicReader) -> None:
        with ProgressBars.shown(open_console(errors=True), 1) as bars:
            async for each in reader.records(until=lambda: self.decision.is_complete):
                if is_about(each.key, self._request_id):
                    self._print(each, bars)
        # The end of a batch may be read before results that are in other partitions.
        async for each in reader.records(to_end=True):
            if each.topic == RESULTS and is_about(each.key, self._request_id):
                self._print(each)

    def _print(self, received: Received, bars: ProgressBars | None = None) -> None:
        topic, _, message = received
        if topic == RESULTS and not self.decision.note(message):
            return
        if bars is not None and topic == PROGRESS:
            bars.moved(message)
        if bars is not None and topic == RESULTS:
            bars.finished(message)
        if self._as_json:
            click.echo(json.dumps({"topic": topic.name, "message": message}))
        elif topic == RESULTS:
            click.echo(result_line(message))
        elif topic == AUDIT:
            click.echo(_audit_line(message))


def _order(received: Received) -> tuple[bool, str]:
    """Order a history: the transitions by their time, then the results."""
    message = received.message
    return received.topic == RESULTS, str(message.get("at") or message.get("finished_at"))


def _audit_line(record: dict[str, Any]) -> str:
    at = record["at"][:SECONDS_CHARACTERS]
    words = (at, f"{record['transition']:<9}", record["request_id"], record["step"])
    return "  ".join(map(printable, (*words, audit_detail(record))))
