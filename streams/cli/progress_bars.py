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

from streams.cli.result_table import safe_markup
from streams.client import Client, members_of, wait_for

ALL = "requests"
"""Description of the bar that counts requests; all others count bytes."""


class ProgressBars:
    """Progress bars of outstanding requests; nothing is drawn without a terminal."""

    def __init__(self, bars: Progress, requests: int = 0) -> None:
        self._bars = bars
        self._requests = requests
        self._total_task = bars.add_task(ALL, total=requests)
        self._tasks: dict[str, TaskID] = {}

    @classmethod
    @contextmanager
    def display(cls, console: Console, requests: int = 0) -> Iterator[Self]:
        """Draw the bars while the context is open."""
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            _Amount(),
            console=console,
            transient=True,
            # Standard output goes above the bars on a shared terminal; redirected to a file, it
            # must not go to the bars' stream.
            redirect_stdout=sys.stdout.isatty(),
            disable=not console.is_terminal,
        ) as bars:
            yield cls(bars, requests)

    def add_expected(self, requests: int) -> None:
        """Raise the number of expected requests."""
        self._requests += requests
        self._bars.update(self._total_task, total=self._requests)

    def update(self, progress: dict[str, Any]) -> None:
        """Apply a progress record of a download."""
        request_id = progress["request_id"]
        if request_id not in self._tasks:
            self._tasks[request_id] = self._bars.add_task(safe_markup(progress["video_key"]))
        self._bars.update(
            self._tasks[request_id], completed=progress["bytes"], total=progress["total_bytes"]
        )

    def complete(self, result: dict[str, Any]) -> None:
        """Count a result, and add the members of a listing to the expected requests."""
        self.add_expected(len(members_of(result)))
        task = self._tasks.pop(result["request_id"], None)
        if task is not None:
            self._bars.remove_task(task)
        self._bars.advance(self._total_task)


class _Amount(ProgressColumn):
    """The completed amount, in the unit of the bar."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = DownloadColumn()

    def render(self, task: Task) -> Text:
        if task.description == ALL:
            return Text(f"{task.completed:.0f} of {task.total:.0f}")
        return self._bytes.render(task)


async def follow(
    client: Client, request_ids: set[str], seconds: float, console: Console
) -> list[dict[str, Any]]:
    """Collect the results of requests in order of arrival, with progress bars on a terminal.

    Returns fewer results after the timeout of ``seconds``.
    """
    results: list[dict[str, Any]] = []
    with ProgressBars.display(console, len(request_ids)) as bars, suppress(TimeoutError):
        async for message in wait_for(client, request_ids, seconds, bars.update):
            results.append(message)
            bars.complete(message)
    return results
