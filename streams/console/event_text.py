"""Server-sent events, as text of a stream, and their ids: ``<generation>.<revision>``. Pure."""

from collections.abc import Mapping, Sequence

import msgspec
import orjson

from schemas.events import Progress
from streams.console.queries import QueryError
from streams.console.rendering import format_progress
from streams.history.changes import RequestEvent
from streams.history.rows import RequestRow, Revision, event_to_json, row_to_json

HEARTBEAT = b":\n\n"

RECONNECT_MILLISECONDS = 2_000

DIGITS_MAX = 18
"""A number of SQLite has 63 bits."""


def format_id(revision: Revision) -> str:
    return f"{revision.generation}.{revision.number}"


def parse_id(text: str, field: str) -> Revision:
    """Parse what `format_id` returned, in a parameter or header.

    Raises:
        QueryError: it is something else.
    """
    parts = text.split(".")
    if len(parts) != 2 or not all(  # noqa: PLR2004  (generation and number)
        each.isascii() and each.isdecimal() and len(each) <= DIGITS_MAX for each in parts
    ):
        raise QueryError(field, f"{text[:40]!r} is not the id of an event")
    return Revision(*map(int, parts))


def opening(revision: Revision) -> bytes:
    """Return the start of a stream: its id lets a client resume even if no event follows."""
    return f"retry: {RECONNECT_MILLISECONDS}\nid: {format_id(revision)}\n\n".encode()


def requests_event(revision: Revision, rows: Sequence[RequestRow], *, more: bool) -> bytes:
    body = {"requests": list(map(row_to_json, rows)), "more": more}
    return _event("requests", body, revision)


def request_event(revision: Revision, row: RequestRow, events: Sequence[RequestEvent]) -> bytes:
    """Return the event of a stream about one request, with its transitions."""
    request = {**row_to_json(row), "events": list(map(event_to_json, events))}
    return _event("requests", {"requests": [request], "more": False}, revision)


def counts_event(counts: Mapping[str, int]) -> bytes:
    """Return the number of requests by state; without an id, as nothing resumes from it."""
    return _event("counts", {"states": counts})


def progress_event(report: Progress) -> bytes:
    """Return the progress of a download; without an id, as nothing resumes from it."""
    body = {"progress": msgspec.to_builtins(report), "text": format_progress(report)}
    return _event("progress", body)


def reset_event(revision: Revision) -> bytes:
    return _event("reset", {}, revision)


def _event(name: str, body: object, revision: Revision | None = None) -> bytes:
    # JSON has no line breaks, which would end a field.
    id_line = b"" if revision is None else f"id: {format_id(revision)}\n".encode()
    return b"%sevent: %s\ndata: %s\n\n" % (id_line, name.encode(), orjson.dumps(body))
