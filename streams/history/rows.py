"""Requests and their transitions as JSON."""

from datetime import UTC, datetime

from streams.history.changes import Event
from streams.history.store import RequestRow


def row_to_json(row: RequestRow) -> dict[str, object]:
    """Return the fields of a request; times are RFC 3339."""
    fields = ((name, getattr(row, name)) for name in RequestRow.__struct_fields__)
    return {
        name: format_time(value) if isinstance(value, float) else value for name, value in fields
    }


def event_to_json(event: Event) -> dict[str, object]:
    return {
        "at": format_time(event.at),
        "step": event.step,
        "transition": event.transition,
        "detail": event.detail,
    }


def format_time(seconds: float) -> str:
    """Return a time as RFC 3339 in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
