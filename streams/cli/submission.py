"""One run of `clipmill submit`: publishes lines as they are read, collects results meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime

import click

from streams.cli.progress_bars import ProgressBars
from streams.cli.request_files import display_name, read_blocks
from streams.cli.result_table import open_console
from streams.cli.waiting import MISSING_NAMED, ResultOutput, missing_results
from streams.client import Client, Outstanding
from streams.new_requests import InputError, LineSplitter, NewRequest, RequestBuilder, RequestLine
from streams.settings import KafkaSettings
from streams.topics import PROGRESS, RESULTS

Sources = tuple[Sequence[str], Sequence[str]]
"""URLs, and names of files."""


class Submission:
    """Publishes requests and optionally waits for their results.

    Memory grows with the number of outstanding requests, not with the input.

    Attributes:
        results: the results received.
    """

    def __init__(self, kafka: KafkaSettings, builder: RequestBuilder, *, as_json: bool) -> None:
        self._kafka = kafka
        self._builder = builder
        self._as_json = as_json
        self._published_count = 0
        self._is_complete = False
        self._outstanding = Outstanding()
        self.results = ResultOutput(as_json=as_json)

    async def publish_only(self, sources: Sources) -> None:
        """Publish all requests and print their ids.

        Raises:
            ClickException: a line is unusable.
        """
        async with Client(self._kafka) as client:
            await self._publish(client, sources, on_published=self._print)

    async def publish_and_wait(
        self, sources: Sources, limit: float, known_since: datetime | None
    ) -> None:
        """Publish all requests and print their results.

        Args:
            sources: URLs and files.
            limit: seconds to wait after the last request is published.
            known_since: set if the requests may have been published before; results since then
                are read too.

        Raises:
            ClickException: a line is unusable, or a result is missing at the end.
        """
        try:
            async with Client(self._kafka) as client:
                await self._publish_and_collect(client, sources, limit, known_since)
        finally:
            self.results.close()
        if self._outstanding:
            raise missing_results(
                self._outstanding.sample(MISSING_NAMED), len(self._outstanding), limit
            )

    async def _publish_and_collect(
        self, client: Client, sources: Sources, limit: float, known_since: datetime | None
    ) -> None:
        with ProgressBars.display(open_console(errors=True)) as bars:
            collecting = asyncio.create_task(self._collect(client, bars))
            publishing = asyncio.create_task(
                self._publish(client, sources, before=lambda new: self._expect(new, bars))
            )
            try:
                await _wait_published(publishing, collecting)
                self._is_complete = True
                if self._outstanding and known_since is not None:
                    await client.reader.rewind_to(known_since, RESULTS)
                if self._outstanding:
                    await asyncio.wait({collecting}, timeout=limit)
                    _raise_failures(collecting)
            finally:
                await _cancel(publishing, collecting)

    async def _publish(
        self,
        client: Client,
        sources: Sources,
        *,
        before: Callable[[NewRequest], None] = lambda _: None,
        on_published: Callable[[NewRequest], None] = lambda _: None,
    ) -> None:
        try:
            async for group in self._groups(sources):
                for new in group:
                    before(new)
                await client.publish([new.body for new in group])
                self._published_count += len(group)
                for new in group:
                    on_published(new)
        except InputError as error:
            raise click.ClickException(self._abort_message(error)) from None

    async def _groups(self, sources: Sources) -> AsyncIterator[list[NewRequest]]:
        """Iterate over the requests in groups that are published together.

        Raises:
            InputError: a line is unusable; the requests before it have been yielded.
        """
        async for lines in _lines(*sources):
            group: list[NewRequest] = []
            try:
                for line in lines:
                    group += self._builder.add(line)
            except InputError:
                yield group
                raise
            yield group
        yield list(self._builder.flush())

    def _abort_message(self, error: InputError) -> str:
        if not self._published_count:
            return f"{error}; nothing was published"
        return (
            f"{error}\n{self._published_count} requests before it are published. "
            f"Correct it and submit all again with --id {self._builder.run_id}: "
            "no request is processed twice."
        )

    def _expect(self, new: NewRequest, bars: ProgressBars) -> None:
        self._outstanding.add(new.id, new.members)
        bars.add_expected(new.members or 1)

    async def _collect(self, client: Client, bars: ProgressBars) -> None:
        async for topic, _, message in client.records():
            if topic == PROGRESS:
                if self._outstanding.includes(message["request_id"]):
                    bars.update(message)
            elif self._outstanding.record(message):
                self.results.add(message)
                bars.complete(message)
                if self._is_complete and not self._outstanding:
                    return

    def _print(self, new: NewRequest) -> None:
        if self._as_json:
            field, value = ("url", new.url) if new.members == 0 else ("batch_size", new.members)
            click.echo(json.dumps({"request_id": new.id, field: value}))
        else:
            click.echo(f"{new.id}  {f'{new.members} URLs' if new.members else new.url}")


async def _lines(urls: Sequence[str], files: Sequence[str]) -> AsyncIterator[Iterator[RequestLine]]:
    """Iterate over the lines of all sources, block by block."""
    yield iter([RequestLine(f"URL {number}", url) for number, url in enumerate(urls, 1)])
    for name in files:
        splitter = LineSplitter(display_name(name))
        async for block in read_blocks(name):
            yield splitter.feed(block)
        yield splitter.flush()


async def _wait_published(publishing: asyncio.Task[None], collecting: asyncio.Task[None]) -> None:
    """Wait until everything is published; raise the error of either task."""
    await asyncio.wait({publishing, collecting}, return_when=asyncio.FIRST_COMPLETED)
    _raise_failures(publishing, collecting)


def _raise_failures(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        if task.done():
            task.result()


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
