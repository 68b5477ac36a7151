"""A finding: what is wrong, and what to do about it; and the words of its sentences. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec

RUNBOOKS = "docs/runbooks"
"""Directory of the runbooks in the repository."""


class FindingLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link beside a finding.

    Attributes:
        page: a page of the console, relative to it.
        query: parameters of the page.
        is_change: the page changes something.
    """

    label: str
    page: str
    query: Mapping[str, str] = {}
    is_change: bool = False


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is wrong.

    Attributes:
        message: what is wrong, one sentence.
        remedy: what to do, one sentence.
        command: a command for it.
        actions: pages of the console for it.
        error: the error code that it is about.
        runbook: the runbook in the repository.
    """

    severity: Literal["critical", "warning"]
    message: str
    remedy: str
    command: str | None = None
    actions: tuple[FindingLink, ...] = ()
    error: str | None = None
    runbook: str | None = None


def change(label: str, page: str, **query: str) -> FindingLink:
    return FindingLink(label=label, page=page, query=query, is_change=True)


def link(label: str, page: str, **query: str) -> FindingLink:
    return FindingLink(label=label, page=page, query=query)


def quantity(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def verb(count: int) -> str:
    return "waits" if count == 1 else "wait"


def at(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def span(seconds: float) -> str:
    """Return a time span in its largest unit."""
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size:
            return quantity(int(seconds // size), unit)
    return quantity(int(seconds), "second")
