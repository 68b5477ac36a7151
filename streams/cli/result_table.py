"""Results and progress as people see them on a terminal."""

from contextlib import suppress
from pathlib import PurePath
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.table import Table
from rich.text import Text

from streams.client import Client, wait_for

SHORT = 46
"""Characters of a URL in a table: the host and the id fit."""

ID_CHARACTERS = 32
"""Characters of a request's id in a table."""

PLAIN_WIDTH = 130
"""Characters of a line where there is no terminal that says how wide it is."""

FILES_SHOWN = 3
"""Files of one result that are named; of more only the number is told."""

UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"

COLOURS = {"completed": "green", "failed": "red", "rejected": "yellow", "expired": "yellow"}


def open_console(*, errors: bool = False) -> Console:
    """Return the console for people: as wide as the terminal, or wide enough without one."""
    console = Console(stderr=errors)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def results_table(results: list[dict[str, Any]]) -> Table:
    """Return the results as a table, one row per URL."""
    table = Table("request", "status", "s", "tries", "what came of it")
    for result in results:
        colour = COLOURS.get(result["status"], "white")
        table.add_row(
            f"{plain(result['request_id'][:ID_CHARACTERS])}\n[dim]{plain(shorten(result['url']))}[/]",
            f"[{colour}]{result['status']}[/]",
            f"{sum(result['timings'].values()):.2f}",
            str(result["attempts"]),
            plain(describe(result)),
        )
    return table


def plain(text: str) -> str:
    """Return foreign text so that nothing in it means anything to Rich or to the terminal."""
    return escape("".join(char if char.isprintable() else UNPRINTABLE for char in text))


def describe(result: dict[str, Any]) -> str:
    """Return what came of a request in one line."""
    if "error" in result:
        return f"{result['error']['error_type']}: {result['error']['user_message']}"
    if result.get("listing"):
        return _describe_listing(result)
    if len(result["files"]) > FILES_SHOWN:
        size = sum(file["bytes"] for file in result["files"])
        return f"{len(result['files'])} files ({size / 1e6:.1f} MB)"
    if not result["files"]:
        return f"“{result['video']['title']}”, {len(result['video']['formats'])} formats"
    return ", ".join(
        f"{PurePath(file['uri']).name} ({file['bytes'] / 1e6:.1f} MB{_notes(file, result)})"
        for file in result["files"]
    )


def _describe_listing(result: dict[str, Any]) -> str:
    listing = result["listing"]
    more = "" if listing["complete"] else " and more"
    requests = f"; {result['members']} requests of their own" if result["members"] else ""
    return f"{listing['kind']} of {len(listing['entries'])} posts{more}{requests}"


def _notes(file: dict[str, Any], result: dict[str, Any]) -> str:
    notes = [", already there"] if file["reused"] else []
    failures = [attempt["code"] for attempt in result["recovery"]]
    return "".join(notes) + (f", after {', '.join(failures)}" if failures else "")


def shorten(url: str) -> str:
    """Return a URL that fits into a table."""
    text = url.removeprefix("https://").removeprefix("www.")
    return text if len(text) <= SHORT else text[: SHORT - 1] + "…"


async def follow(
    client: Client, request_ids: set[str], seconds: float, console: Console
) -> list[dict[str, Any]]:
    """Return the results of requests in the order in which they come.

    These may be fewer than asked for when the time is over. On a terminal, bars show how far it is.
    """
    results: list[dict[str, Any]] = []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        _Amount(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bars:
        board = _Board(bars, len(request_ids))
        with suppress(TimeoutError):
            async for message in wait_for(client, request_ids, seconds, board.moved):
                results.append(message)
                board.finished(message)
    return results


ALL = "requests"
"""The bar that counts requests; all others count bytes."""


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


class _Board:
    """The bars: one for all requests, one for each running download."""

    def __init__(self, bars: Progress, requests: int) -> None:
        self._bars = bars
        self._requests = requests
        self._all = bars.add_task(ALL, total=requests)
        self._tasks: dict[str, TaskID] = {}

    def moved(self, progress: dict[str, Any]) -> None:
        request_id = progress["request_id"]
        if request_id not in self._tasks:
            self._tasks[request_id] = self._bars.add_task(plain(progress["video_key"]))
        self._bars.update(
            self._tasks[request_id], completed=progress["bytes"], total=progress["total_bytes"]
        )

    def finished(self, result: dict[str, Any]) -> None:
        self._requests += result.get("members", 0)
        self._bars.update(self._all, total=self._requests)
        task = self._tasks.pop(result["request_id"], None)
        if task is not None:
            self._bars.remove_task(task)
        self._bars.advance(self._all)
