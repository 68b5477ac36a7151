"""Expiry of table rows, and eviction of the first to expire beyond a memory limit. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from schemas.codec import MalformedMessageError, decode

ROW_OVERHEAD_BYTES = 200
"""Memory of a row without its bytes: keys, and entries of two dictionaries. Measured."""

_SECONDS_MAX = 10**15
"""Upper bound of an expiry: a row may state infinity."""

CLOCK_SKEW_SECONDS = 60.0
"""Tolerated lead of another worker's clock."""


class _Expiry(msgspec.Struct, frozen=True):
    expires_at: float


def expiry_of(row: bytes) -> float:
    """Return a JSON row's ``expires_at`` (epoch seconds), 0 when it is unreadable."""
    try:
        return decode(row, _Expiry).expires_at
    except MalformedMessageError:
        return 0.0


ReadSlices = Callable[[int], Iterable[Sequence[tuple[str, bytes]]]]
"""Reads all rows of a table as they are then, in slices of that many rows."""

SLICE_ROWS = 2_000
"""Rows of a slice, 2 to 3 ms. The event loop does other work between slices: a sweep of 100,000
rows in one piece blocked it for 0.1 to 0.2 s."""


class ExpiryIndex(Protocol):
    """A table that has its rows sorted by their expiry."""

    def __len__(self) -> int: ...

    @property
    def size_bytes(self) -> int:
        """Bytes of all keys and rows."""

    def expired(self, now: float) -> Iterable[list[str]]:
        """Yield the keys of the expired rows, a slice at a time."""

    def first_to_expire(self, size_bytes: int) -> Iterable[list[str]]:
        """Yield the keys of the rows that expire first and have so many bytes."""


def keys_to_evict(slices: ReadSlices, now: float, bytes_max: int) -> Iterator[list[str]]:
    """Yield the keys of JSON rows to delete, a list for each slice.

    Rows have to be deleted before the next slice is requested: they may change between slices.
    Expired and unreadable rows are first; rows beyond the memory limit follow, by their expiry.

    Args:
        slices: reads the table.
        now: epoch seconds.
        bytes_max: memory limit of all rows.
    """
    expiring: dict[int, int] = defaultdict(int)
    for rows in slices(SLICE_ROWS):
        expired: list[str] = []
        for key, row in rows:
            expires_at = expiry_of(row)
            if expires_at <= now:
                expired.append(key)
            else:
                expiring[_second(expires_at)] += len(row) + ROW_OVERHEAD_BYTES
        yield expired
    excess_bytes = sum(expiring.values()) - bytes_max
    if excess_bytes > 0:
        yield from _evict(slices, now, expiring, excess_bytes)


def _second(expires_at: float) -> int:
    # NaN is not smaller either.
    return int(expires_at) if expires_at < _SECONDS_MAX else _SECONDS_MAX


def _evict(
    slices: ReadSlices, now: float, expiring: Mapping[int, int], excess_bytes: int
) -> Iterator[list[str]]:
    """Yield the keys of rows that expire first and have so many bytes.

    The rows of each second are summed instead of sorting all rows, which blocks for 0.3 s with
    330,000.
    """
    last = 0
    for last in sorted(expiring):
        if expiring[last] >= excess_bytes:
            break
        excess_bytes -= expiring[last]
    for rows in slices(SLICE_ROWS):
        keys: list[str] = []
        for key, row in rows:
            expires_at = expiry_of(row)
            second = _second(expires_at)
            if expires_at <= now or second > last:
                continue
            if second < last:
                keys.append(key)
            elif excess_bytes > 0:
                excess_bytes -= len(row) + ROW_OVERHEAD_BYTES
                keys.append(key)
        yield keys
