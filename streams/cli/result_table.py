"""Formats results for the terminal."""

from collections.abc import Iterable
from pathlib import PurePath
from posixpath import commonpath
from typing import Any
from urllib.parse import unquote, urlsplit

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from schemas.redaction import printable
from streams.client import BATCH_FINISHED

URL_CHARACTERS = 46
"""Characters of a URL in a table, enough for the host and the id."""

ID_CHARACTERS = 32
"""Characters of a request's id in a table."""

PLAIN_WIDTH = 130
"""Characters of a line without a terminal, whose width would be used."""

FILES_SHOWN = 3
"""Files of one result that are named; for more files, only their number is printed."""

SECONDS_CHARACTERS = 19
"""Characters of an RFC 3339 timestamp up to its seconds."""

COLOURS = {"completed": "green", "failed": "red", "rejected": "yellow", "expired": "yellow"}


def open_console(*, errors: bool = False) -> Console:
    """Open a Rich console as wide as the terminal, or `PLAIN_WIDTH` without one."""
    console = Console(stderr=errors)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def results_table(results: list[dict[str, Any]]) -> Table:
    """Return a table with one row per URL."""
    table = Table("request", "status", "s", "attempts", "result")
    for result in results:
        colour = COLOURS.get(result["status"], "white")
        name, url = result["request_id"][:ID_CHARACTERS], shorten(result.get("url", ""))
        table.add_row(
            f"{safe_markup(name)}\n[dim]{safe_markup(url)}[/]",
            f"[{colour}]{result['status']}[/]",
            f"{sum(result.get('timings', {}).values()):.2f}",
            str(result.get("attempts", "")),
            safe_markup(describe(result)),
        )
    return table


def files_folder(results: Iterable[dict[str, Any]]) -> str | None:
    """Return the folder that has the files of all results, None without files."""
    uris = [file["uri"] for result in results for file in result.get("files", ())]
    if not uris:
        return None
    folders = [uri.rpartition("/")[0] for uri in uris]
    folder = commonpath([urlsplit(each).path or "/" for each in folders])
    first = urlsplit(folders[0])
    return unquote(folder) if first.scheme == "file" else f"{first.scheme}://{first.netloc}{folder}"


def safe_markup(text: str) -> str:
    """Neutralise Rich markup and terminal control characters in untrusted text."""
    return escape(printable(text))


def describe(result: dict[str, Any]) -> str:
    """Summarise a result in a few words."""
    if result["status"] == BATCH_FINISHED:
        counts = (f"{number} {status}" for status, number in result["counts"].items() if number)
        return f"batch of {result['batch_size']}: {', '.join(counts)}"
    if "error" in result:
        return f"{result['error']['error_type']}: {result['error']['user_message']}"
    if result.get("listing"):
        return _describe_listing(result)
    files = result.get("files", [])
    if len(files) > FILES_SHOWN:
        size = sum(file["bytes"] for file in files)
        return f"{len(files)} files ({size / 1e6:.1f} MB)"
    if not files:
        video = result.get("video")
        return f"“{video['title']}”, {len(video['formats'])} formats" if video else ""
    return ", ".join(
        f"{PurePath(file['uri']).name} ({file['bytes'] / 1e6:.1f} MB{_notes(file, result)})"
        for file in files
    )


def result_line(result: dict[str, Any]) -> str:
    """Format a result as one line with time, status, id and summary."""
    at = str(result.get("finished_at", ""))[:SECONDS_CHARACTERS]
    words = (at, f"{result.get('status'):<9}", result["request_id"], describe(result))
    return "  ".join(map(printable, words))


def _describe_listing(result: dict[str, Any]) -> str:
    listing = result["listing"]
    more = "" if listing["complete"] else " (truncated)"
    requests = f"; {result['members']} requests created" if result["members"] else ""
    return f"{listing['kind']} of {len(listing['entries'])} posts{more}{requests}"


def _notes(file: dict[str, Any], result: dict[str, Any]) -> str:
    notes = [", already stored"] if file["reused"] else []
    failures = [attempt["code"] for attempt in result["recovery"]]
    return "".join(notes) + (f", retried after {', '.join(failures)}" if failures else "")


def shorten(url: str) -> str:
    """Truncate a URL or a title to `URL_CHARACTERS`, without scheme and ``www.``."""
    text = url.removeprefix("https://").removeprefix("www.")
    return text if len(text) <= URL_CHARACTERS else text[: URL_CHARACTERS - 1] + "…"
