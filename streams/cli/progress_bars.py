"""Progress bars: one for all requests, one for each running download."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.text import Text

from streams.cli.result_table import plain
from streams.client import Client, members_of, wait_for

ALL = "requests"
"""The bar that counts requests; all others count bytes."""


class ProgressBars:
    """The bars of requests that are waited for; on a terminal only."""

    def __init__(self, bars: Progress, requests: int = 0) -> None:
        self._bars = bars
        self._requests = requests
        self._all = bars.add_task(ALL, total=requests)
        self._tasks: dict[str, TaskID] = {}

    @classmethod
    @contextmanager
    def shown(cls, console: Console, requests: int = 0) -> Iterator[Self]:
        """Show bars while the context lasts."""
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            _Amount(),
            console=console,
            transient=True,
            # Lines of standard output go above the bars on one terminal, never into the bars' own
            # stream when they are written to a file.
            redirect_stdout=sys.stdout.isatty(),
            disable=not console.is_terminal,
        ) as bars:
            yield cls(bars, requests)

    def expect(self, requests: int) -> None:
        """Count so many requests more."""
        self._requests += requests
        self._bars.update(self._all, total=self._requests)

    def moved(self, progress: dict[str, Any]) -> None:
        """Show how far a download is."""
        request_id = progress["request_id"]
        if request_id not in self._tasks:
            self._tasks[request_id] = self._bars.add_task(plain(progress["video_key"]))
        self._bars.update(
            self._tasks[request_id], completed=progress["bytes"], total=progress["total_bytes"]
        )

    def finished(self, result: dict[str, Any]) -> None:
        """Count a result, and expect those of a listing's members."""
        self.expect(len(members_of(result)))
        task = self._tasks.pop(result["request_id"], None)
        if task is not None:
            self._bars.remove_task(task)
        self._bars.advance(self._all)


class _Amount(ProgressColumn):
    """How much is done, in the unit of the bar."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = DownloadColumn()

    def render(self, task: Task) -> Text:
        """Return the text beside the bar."""
        if task.description == ALL:
            return Text(f"{task.completed:.0f} of {task.total:.0f}")
        return self._bytes.render(task)


async def follow(
    client: Client, request_ids: set[str], seconds: float, console: Console
) -> list[dict[str, Any]]:
    """Return the results of requests in the order in which they come.

    These may be fewer than asked for when the time is over. On a terminal, bars show how far it is.
    """
    results: list[dict[str, Any]] = []
    with ProgressBars.shown(console, len(request_ids)) as bars, suppress(TimeoutError):
        async for message in wait_for(client, request_ids, seconds, bars.moved):
            results.append(message)
            bars.finished(message)
    return results
