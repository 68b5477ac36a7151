"""Markdown of the reference pages: heads, tables, code, links to source files."""

import inspect
import textwrap
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]

LINE = 120
"""Characters per line of running text."""


def head(title: str, *paragraphs: str) -> str:
    """Return the title of a page, where it comes from, and its introduction."""
    origin = "Generated from the code by `python -m docs.generate`: change the code, not this page."
    return "\n\n".join((f"# {title}", *map(_filled, paragraphs), origin))


def _filled(paragraph: str) -> str:
    return textwrap.fill(paragraph, LINE, break_long_words=False, break_on_hyphens=False)


def page(*parts: str) -> str:
    return "\n\n".join(parts) + "\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a pipe in a cell is escaped, a line break becomes a space."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """Return text as inline code, nothing for an empty text."""
    return f"`{text}`" if text else ""


def codes(texts: Iterable[str]) -> str:
    return ", ".join(map(code, texts))


def source(thing: Any) -> str:
    """Return a link from a reference page to the file that defines a class or module."""
    file = Path(inspect.getfile(thing)).resolve().relative_to(PROJECT).as_posix()
    return f"[`{file}`](../../{file})"


def duration(seconds: float | timedelta) -> str:
    """Return a duration in its largest whole unit."""
    total = seconds.total_seconds() if isinstance(seconds, timedelta) else float(seconds)
    for name, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if total and total % length == 0:
            return f"{total / length:g} {name}"
    return f"{total:g} s"
