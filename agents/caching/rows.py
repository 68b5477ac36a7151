"""What rows that are remembered for a while have in common: their end, and how many are kept."""

from collections.abc import Mapping

import msgspec

from schemas.codec import MalformedMessageError, decode

ROW_OVERHEAD_BYTES = 200
"""Of memory for each row beside its bytes: keys, and entries of two dictionaries. Measured."""


class _Life(msgspec.Struct, frozen=True):
    expires_at: float


def end_of(row: bytes) -> float:
    """Return a row's ``expires_at`` (epoch seconds), 0 when nobody can read it."""
    try:
        return decode(row, _Life).expires_at
    except MalformedMessageError:
        return 0.0


def is_over(row: bytes, now: float) -> bool:
    """Return whether a row's ``expires_at`` (epoch seconds) has come, or the row is unreadable."""
    return end_of(row) <= now


def no_longer_kept(rows: Mapping[str, bytes], now: float, bytes_max: int) -> list[str]:
    """Return the keys of rows that are over and, of too many, of those that end first."""
    over = [key for key, row in rows.items() if is_over(row, now)]
    kept = rows.keys() - over
    surplus = sum(len(rows[key]) + ROW_OVERHEAD_BYTES for key in kept) - bytes_max
    if surplus <= 0:
        return over
    for key in sorted(kept, key=lambda key: end_of(rows[key])):
        over.append(key)
        surplus -= len(rows[key]) + ROW_OVERHEAD_BYTES
        if surplus <= 0:
            break
    return over
