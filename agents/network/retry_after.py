"""Parses the ``Retry-After`` header. Pure."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_SECONDS = 3_600.0
"""Upper bound: a retry after an hour, although the server asks for more, because a bogus value must
not delay a request for a day. No backoff of the retry policy is longer either."""

_SECONDS = re.compile(r"[0-9]{1,18}")


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds to wait, 0 to `MAX_SECONDS`; None when absent or invalid.

    Accepts both forms of RFC 9110, section 10.2.3: seconds and HTTP date. ``now`` has a time zone.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), MAX_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((zoned - now).total_seconds(), 0.0), MAX_SECONDS)
