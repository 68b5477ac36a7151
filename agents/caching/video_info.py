"""Three-tier cache of extractions by video key; the table tier serves stale entries in an outage.

``front`` holds decoded entries in the process, ``table`` the rows of the stage's table, whose
changelog lets them survive restarts, ``shared`` a backend of several workers, if there is one. A
front hit requires the row to be in the table: a worker that lost a partition loses its entries too.
The cache does not write the table: the stage writes the rows that it returns.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from agents.caching.interface import NULL_REPORT, CacheBackend, CacheLevel, CacheReport
from agents.caching.row_codec import (
    FINGERPRINT_BYTES,
    CachedExtraction,
    UnreadableRowError,
    pack,
    unpack,
)
from agents.caching.row_expiry import CLOCK_SKEW_SECONDS, ExpiryIndex
from agents.caching.ttl_lru import BoundedCache
from schemas.video import Extraction

NAME: Final = "video_info"

ROWS_BYTES_MAX = 4 * 2**30
"""Default limit of the rows of the assigned partitions, on disk. Beyond it, rows that expire first
are evicted: a stale row for an outage of the platform is worth less than a fresh one."""

DECODED_BYTES = 1_100
"""Memory of the objects of a decoded row with one cookie, without its text. Measured."""

DROPPED_BYTES_MAX = 8 * 2**20
"""Memory limit of the invalidations by `drop`: some 10,000 videos."""


class DecodedRow(NamedTuple):
    """A decoded row; ``row`` is compared to detect a newer version in the table."""

    row: bytes
    entry: CachedExtraction


class RowLookup(NamedTuple):
    """An entry, and its level: ``front`` when it was decoded already, else ``table``."""

    entry: CachedExtraction
    level: CacheLevel


def size_of(key: str, decoded: DecodedRow) -> int:
    """Estimate the memory of a decoded row; the row itself belongs to the table."""
    return len(key) + memoryview(decoded.entry.extraction.raw).nbytes + DECODED_BYTES


@dataclass(frozen=True, slots=True)
class CacheHit:
    """A cached extraction.

    Attributes:
        row: to be written to the table; None when it came from there.
    """

    extraction: Extraction
    row: bytes | None = None


class VideoInfoCache:
    """Extractions by video key.

    Args:
        read_row: reads a row of the table.
        ttl_seconds: of an extraction.
        clock: epoch seconds.
        stale_seconds: time after the expiry in which it may be served in an outage.
        invalidated_at: when a video was last invalidated; older extractions are misses.
        fingerprint: of the settings that an extraction depends on; rows with another one are only
            served stale.
        front: decoded rows; constructed with `size_of`.
        shared: the tier shared with other workers.
        rows_bytes_max: limit of all rows of the table.
        report: records lookups, evictions and size.
    """

    def __init__(
        self,
        read_row: Callable[[str], bytes | None],
        ttl_seconds: float,
        clock: Callable[[], float] = time.time,
        *,
        stale_seconds: float = 0.0,
        invalidated_at: Callable[[str], datetime | None] = lambda _: None,
        fingerprint: bytes = bytes(FINGERPRINT_BYTES),
        front: BoundedCache[str, DecodedRow] | None = None,
        shared: CacheBackend | None = None,
        rows_bytes_max: int = ROWS_BYTES_MAX,
        report: CacheReport = NULL_REPORT,
    ) -> None:
        self._read_row = read_row
        self._ttl = ttl_seconds
        self._clock = clock
        self._stale = stale_seconds
        self._invalidated_at = invalidated_at
        self._fingerprint = fingerprint
        self._front = BoundedCache(NAME, ttl_seconds, size_of=size_of) if front is None else front
        self._shared = shared
        self._rows_bytes_max = rows_bytes_max
        self._report = report
        self._dropped: BoundedCache[str, datetime] = BoundedCache(
            "dropped", ttl_seconds, bytes_max=DROPPED_BYTES_MAX, clock=clock
        )

    async def get(self, key: str) -> CacheHit | None:
        """Return the fresh extraction of a video from the nearest tier."""
        found = self.get_local(key)
        if found is not None:
            return found
        self._report.record_lookup(NAME, "front", "miss")
        self._report.record_lookup(NAME, "table", "miss")
        return await self._get_shared(key)

    def get_local(self, key: str) -> CacheHit | None:
        """Return the fresh extraction of a video from the tiers of this worker.

        Only a hit is reported: `get` follows a miss.
        """
        found = self._lookup(key, self._read_row(key))
        if found is None or not self._is_fresh(key, found.entry):
            return None
        if found.level != "front":
            self._report.record_lookup(NAME, "front", "miss")
        self._report.record_lookup(NAME, found.level, "hit")
        return CacheHit(found.entry.extraction)

    def get_stale(self, key: str) -> Extraction | None:
        """Return the extraction of a video to serve in an outage of the platform.

        Its metadata is good; its links may have expired, and it may depend on other settings.
        """
        found = self._lookup(key, self._read_row(key))
        if found is None or found.entry.expires_at <= self._clock() - self._stale:
            return None
        if self._is_invalidated(key, found.entry.extraction):
            return None
        self._report.record_lookup(NAME, "table", "stale")
        return found.entry.extraction

    async def put(self, key: str, extraction: Extraction, expires_at: float | None) -> bytes:
        """Store an extraction in the shared tier, and return the row to write to the table.

        ``expires_at`` (epoch seconds), the expiry of its links, shortens the TTL.
        """
        now = self._clock()
        end = now + self._ttl
        end = end if expires_at is None else min(end, expires_at)
        entry = CachedExtraction(
            expires_at=end, extraction=extraction, fingerprint=self._fingerprint
        )
        row = pack(entry)
        if self._shared is not None and end > now:
            await self._shared.set(_shared_key(key), row, end - now)
        return row

    async def drop(self, key: str) -> None:
        """Invalidate the extractions of a video up to now, because one was found unusable.

        The row stays in the table and may still be served stale.
        """
        found = self._lookup(key, self._read_row(key))
        if found is None:
            self._dropped.set(key, datetime.fromtimestamp(self._clock(), UTC))
        else:
            self._dropped.set(key, found.entry.extraction.extracted_at)
            self._report.record_eviction(NAME, "invalidated", 1)
        if self._shared is not None:
            await self._shared.delete(_shared_key(key))

    def sweep(self, table: ExpiryIndex) -> Iterator[list[str]]:
        """Yield the keys of rows to delete: past their stale time, or beyond the limit."""
        for keys in table.expired(self._clock() - self._stale):
            self._report.record_eviction(NAME, "ttl", len(keys))
            yield keys
        for keys in table.first_to_expire(table.size_bytes - self._rows_bytes_max):
            self._report.record_eviction(NAME, "size", len(keys))
            yield keys
        self._report.record_size(NAME, "table", len(table), table.size_bytes)

    def _lookup(self, key: str, row: bytes | None) -> RowLookup | None:
        """Return the entry of a row, None when it is unreadable: another release wrote it."""
        if row is None:
            return None
        known = self._front.peek(key)
        if known is not None and known.row == row:
            return RowLookup(known.entry, "front")
        try:
            entry = unpack(row)
        except UnreadableRowError:
            return None
        self._front.set(key, DecodedRow(row, entry))
        return RowLookup(entry, "table")

    async def _get_shared(self, key: str) -> CacheHit | None:
        """Return a hit of the shared tier, with the row to write to this worker's table."""
        if self._shared is None:
            return None
        row = await self._shared.get(_shared_key(key))
        found = self._lookup(key, row)
        is_fresh = (
            found is not None
            and self._is_plausible(found.entry)
            and self._is_fresh(key, found.entry)
        )
        self._report.record_lookup(NAME, "shared", "hit" if is_fresh else "miss")
        return CacheHit(found.entry.extraction, row) if found and is_fresh else None

    def _is_plausible(self, entry: CachedExtraction) -> bool:
        """Return whether a worker can have stored this: the TTL and clock skew bound its times."""
        now = self._clock()
        read_at = entry.extraction.extracted_at.timestamp()
        return entry.expires_at <= now + self._ttl and read_at <= now + CLOCK_SKEW_SECONDS

    def _is_fresh(self, key: str, entry: CachedExtraction) -> bool:
        # A row from before the clock was set back can expire later than the TTL permits.
        now = self._clock()
        return (
            now < entry.expires_at <= now + self._ttl
            and entry.fingerprint == self._fingerprint
            and not self._is_invalidated(key, entry.extraction)
            and not self._is_dropped(key, entry.extraction)
        )

    def _is_invalidated(self, key: str, extraction: Extraction) -> bool:
        """Return whether a user's ``refresh`` command is newer than the extraction."""
        invalidated_at = self._invalidated_at(key)
        return invalidated_at is not None and extraction.extracted_at < invalidated_at

    def _is_dropped(self, key: str, extraction: Extraction) -> bool:
        dropped = self._dropped.peek(key)
        return dropped is not None and extraction.extracted_at <= dropped


def _shared_key(key: str) -> str:
    return f"video_info:{key}"
