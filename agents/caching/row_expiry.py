"""What rows that are remembered for a while have in common: their end, and how many are kept."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from schemas.codec import MalformedMessageError, decode

ROW_OVERHEAD_BYTES = 200
"""Of memory for each row beside its bytes: keys, and entries of two dictionaries. Measured."""

CLOCKS_APART_SECONDS = 60.0
"""How far ahead the clock of another worker may be."""


class _Life(msgspec.Struct, frozen=True):
    expires_at: float


def end_of(row: bytes) -> float:
    """Return a JSON row's ``expires_at`` (epoch seconds), 0 when nobody can read it."""
    try:
        return decode(row, _Life).expires_at
    except MalformedMessageError:
        return 0.0


def is_over(row: bytes, now: float) -> bool:
    """Return whether a row's ``expires_at`` (epoch seconds) has come, or the row is unreadable."""
    return end_of(row) <= now


@dataclass(frozen=True, slots=True)
class Swept:
    """What a look at all rows has found.

    Attributes:
        over: keys of rows whose end has come, and of those that nobody can read.
        surplus: of too many, keys of the rows that end first.
        rows: how many there are.
        size_bytes: of all of them, `ROW_OVERHEAD_BYTES` included.
    """

    over: list[str]
    surplus: list[str]
    rows: int
    size_bytes: int


def sweep(
    rows: Iterable[tuple[str, bytes]], now: float, bytes_max: int, ends: Callable[[bytes], float]
) -> Swept:
    """Look at all rows by key, ``ends`` reads the end (epoch seconds) of each.

    It is done in one go while nothing else is, so it must be quick: 0.1 s for 100,000 rows.
    """
    over: list[str] = []
    kept: list[tuple[float, str, int]] = []
    size, kept_size = 0, 0
    for key, row in rows:
        weight, end = len(row) + ROW_OVERHEAD_BYTES, ends(row)
        size += weight
        if end <= now:
            over.append(key)
        else:
            kept.append((end, key, weight))
            kept_size += weight
    surplus = _first_to_end(kept, kept_size - bytes_max)
    return Swept(over, surplus, len(over) + len(kept), size)


def _first_to_end(kept: list[tuple[float, str, int]], surplus_bytes: int) -> list[str]:
    found: list[str] = []
    if surplus_bytes <= 0:
        return found
    kept.sort()
    for _, key, weight in kept:
        found.append(key)
        surplus_bytes -= weight
        if surplus_bytes <= 0:
            break
    return found


def no_longer_kept(rows: Mapping[str, bytes], now: float, bytes_max: int) -> list[str]:
    """Return the keys of JSON rows that are over and, of too many, of those that end first."""
    swept = sweep(rows.items(), now, bytes_max, end_of)
    return [*swept.over, *swept.surplus]
