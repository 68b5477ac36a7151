"""Expiry of table rows, and eviction of the first to expire beyond a memory limit. Pure."""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

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


def is_expired(row: bytes, now: float) -> bool:
    """Return whether a JSON row has expired or is unreadable."""
    return expiry_of(row) <= now


Slices = Callable[[int], Iterable[Sequence[tuple[str, bytes]]]]
"""Reads all rows of a table as they are then, in slices of that many rows."""

SLICE_ROWS = 2_000
"""Rows of a slice, 2 to 3 ms. The event loop does other work between slices: a sweep of 100,000
rows in one piece blocked it for 0.1 to 0.2 s."""


@dataclass(slots=True)
class SweepResult:
    """Result of a sweep over all rows.

    Attributes:
        expired: number of expired and unreadable rows.
        excess: number of rows evicted beyond the memory limit.
        rows: number of all rows.
        size_bytes: of all rows, `ROW_OVERHEAD_BYTES` included.
    """

    expired: int = 0
    excess: int = 0
    rows: int = 0
    size_bytes: int = 0


def sweep(
    slices: Slices, now: float, bytes_max: int, expiry: Callable[[bytes], float]
) -> Generator[list[str], None, SweepResult]:
    """Yield the keys of the rows to delete, a list for each slice; return the totals.

    Rows have to be deleted before the next slice is requested: they may change between slices.
    Expired and unreadable rows are first; rows beyond the memory limit follow, by their expiry.

    Args:
        slices: reads the table.
        now: epoch seconds.
        bytes_max: memory limit of all rows.
        expiry: reads the expiry (epoch seconds) of a row.
    """
    result = SweepResult()
    expiring: dict[int, int] = defaultdict(int)
    for rows in slices(SLICE_ROWS):
        expired: list[str] = []
        for key, row in rows:
            weight, expires_at = len(row) + ROW_OVERHEAD_BYTES, expiry(row)
            result.size_bytes += weight
            if expires_at <= now:
                expired.append(key)
            else:
                expiring[_second(expires_at)] += weight
        result.rows += len(rows)
        result.expired += len(expired)
        yield expired
    excess_bytes = sum(expiring.values()) - bytes_max
    if excess_bytes > 0:
        for keys in _evict(slices, now, expiring, excess_bytes, expiry):
            result.excess += len(keys)
            yield keys
    return result


def _second(expires_at: float) -> int:
    # NaN is not smaller either.
    return int(expires_at) if expires_at < _SECONDS_MAX else _SECONDS_MAX


def _evict(
    slices: Slices,
    now: float,
    expiring: Mapping[int, int],
    excess_bytes: int,
    expiry: Callable[[bytes], float],
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
            expires_at = expiry(row)
            second = _second(expires_at)
            if expires_at <= now or second > last:
                continue
            if second < last:
                keys.append(key)
            elif excess_bytes > 0:
                excess_bytes -= len(row) + ROW_OVERHEAD_BYTES
                keys.append(key)
        yield keys


def keys_to_evict(slices: Slices, now: float, bytes_max: int) -> Iterator[list[str]]:
    """Yield the keys of JSON rows that have expired or exceed the limit, see `sweep`."""
    return sweep(slices, now, bytes_max, expiry_of)
