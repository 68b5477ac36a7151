"""What the rows of all caches have in common: the moment after which nobody may use them."""

import msgspec

from schemas.codec import MalformedMessageError, decode


class _Life(msgspec.Struct, frozen=True):
    expires_at: float


def is_over(row: bytes, now: float) -> bool:
    """Return whether a row's ``expires_at`` (epoch seconds) has come, or the row is unreadable."""
    try:
        return decode(row, _Life).expires_at <= now
    except MalformedMessageError:
        return True
