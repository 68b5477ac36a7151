"""Points in time as people write them: RFC 3339, or a time span from now."""

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"(\d{1,5})([smhdw])", re.ASCII)


def parse_past(text: str, now: datetime) -> datetime:
    """Parse a past point in time: RFC 3339 (UTC without a zone), or time ago: ``2h``, ``3d``.

    Raises:
        ValueError: it is neither.
    """
    span = _parse_span(text)
    return _parse_absolute(text) if span is None else now - span


def parse_future(text: str, now: datetime) -> datetime:
    """Parse a future point in time: RFC 3339 (UTC without a zone), or from now: ``2h``, ``3d``.

    Raises:
        ValueError: it is neither.
    """
    span = _parse_span(text)
    return _parse_absolute(text) if span is None else now + span


def _parse_span(text: str) -> timedelta | None:
    match = _SPAN.fullmatch(text.strip())
    return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None


def _parse_absolute(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{text[:80]!r} is neither RFC 3339 (such as 2030-01-31T12:00:00Z) "
            "nor a time span such as 2h or 3d"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
