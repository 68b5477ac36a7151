"""What pages said, remembered for a while, on three levels.

In front decoded entries in the process, behind them the rows of the stage's table, whose changelog
lets them survive restarts, and behind those a backend that several workers share, if there is one.
The front never answers for a row that is not (any more) in the table: a worker that lost a
partition forgets with it.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from agents.caching.interface import NULL_REPORT, CacheBackend, CacheReport
from agents.caching.row_codec import (
    MEANING_BYTES,
    CachedExtraction,
    Decoded,
    DecodedRows,
    Opened,
    end_of_packed,
    pack,
    size_of,
)
from agents.caching.row_expiry import CLOCKS_APART_SECONDS, sweep
from agents.caching.ttl_lru import BoundedCache
from schemas.video import Extraction

NAME = "video_info"

ROWS_BYTES_MAX = 320 * 2**20
"""Memory of all rows of one process, unless set. Of more, those go first that end first: what is
kept for the time when the platform is away is worth less than what is fresh."""


DROPPED_BYTES_MAX = 8 * 2**20
"""Memory of what was found to be no good: some 10,000 videos."""


@dataclass(frozen=True, slots=True)
class Found:
    """An extraction that is known.

    Attributes:
        row: to be written to the table; None when it came from there.
    """

    extraction: Extraction
    row: bytes | None = None


class VideoInfoCache:
    """Extractions by video key.

    Args:
        read_row: reads a row of the table.
        life_seconds: how long an extraction may be used.
        clock: epoch seconds.
        stale_seconds: how much longer it may serve while the platform is away.
        refreshed: tells since when a video's extractions count; older ones are of no use.
        meaning: digest of the settings that decide what a page says; rows made under others are
            of no use, but while the platform is away.
        front: keeps decoded rows; made with `agents.caching.row_codec.size_of`.
        shared: what other workers know as well.
        rows_bytes_max: memory of all rows of the table.
        report: is told what happens.
    """

    def __init__(
        self,
        read_row: Callable[[str], bytes | None],
        life_seconds: float,
        clock: Callable[[], float] = time.time,
        *,
        stale_seconds: float = 0.0,
        refreshed: Callable[[str], datetime | None] = lambda _: None,
        meaning: bytes = bytes(MEANING_BYTES),
        front: BoundedCache[str, Decoded] | None = None,
        shared: CacheBackend | None = None,
        rows_bytes_max: int = ROWS_BYTES_MAX,
        report: CacheReport = NULL_REPORT,
    ) -> None:
        self._read_row = read_row
        self._life = life_seconds
        self._clock = clock
        self._stale = stale_seconds
        self._refreshed = refreshed
        self._meaning = meaning
        self._rows = DecodedRows(
            BoundedCache(NAME, life_seconds, size_of=size_of) if front is None else front
        )
        self._shared = shared
        self._rows_bytes_max = rows_bytes_max
        self._report = report
        self._dropped: BoundedCache[str, datetime] = BoundedCache(
            "dropped", life_seconds, bytes_max=DROPPED_BYTES_MAX, clock=clock
        )

    async def get(self, key: str) -> Found | None:
        """Return the extraction of a video that may still be used, from the nearest level."""
        opened = self._open(key)
        if opened is None or not self._is_fresh(key, opened.entry):
            self._report.looked_up(NAME, "front", "miss")
            self._report.looked_up(NAME, "table", "miss")
            return await self._get_shared(key)
        if opened.level != "front":
            self._report.looked_up(NAME, "front", "miss")
        self._report.looked_up(NAME, opened.level, "hit")
        return Found(opened.entry.extraction)

    def get_stale(self, key: str) -> Extraction | None:
        """Return the extraction of a video that may be used while the platform is away.

        It is good for what the page said; the links in it may have ended. It may have been made
        under other settings.
        """
        opened = self._open(key)
        if opened is None or opened.entry.expires_at <= self._clock() - self._stale:
            return None
        if self._is_forgotten(key, opened.entry.extraction):
            return None
        self._report.looked_up(NAME, "table", "stale")
        return opened.entry.extraction

    async def put(self, key: str, extraction: Extraction, expires_at: float | None) -> bytes:
        """Keep an extraction, and return the row to be written to the table.

        ``expires_at`` (epoch seconds), the end of its links, shortens its life.
        """
        now = self._clock()
        end = now + self._life
        end = end if expires_at is None else min(end, expires_at)
        entry = CachedExtraction(expires_at=end, extraction=extraction, meaning=self._meaning)
        row = pack(entry)
        if self._shared is not None and end > now:
            await self._shared.set(_shared_key(key), row, end - now)
        return row

    async def drop(self, key: str) -> None:
        """Stop using what is known of a video up to now: it has been found to be no good.

        It may still serve while the platform is away.
        """
        opened = self._open(key)
        if opened is None:
            self._dropped.set(key, datetime.fromtimestamp(self._clock(), UTC))
        else:
            self._dropped.set(key, opened.entry.extraction.extracted_at)
            self._report.evicted(NAME, "invalidated", 1)
        if self._shared is not None:
            await self._shared.delete(_shared_key(key))

    def expired(self, rows: Iterable[tuple[str, bytes]]) -> list[str]:
        """Return the keys of rows that nobody may use any more, and the first to go of too many."""
        now = self._clock() - self._stale
        swept = sweep(rows, now, self._rows_bytes_max, end_of_packed)
        self._report.evicted(NAME, "ttl", len(swept.over))
        self._report.evicted(NAME, "size", len(swept.surplus))
        self._report.sized(NAME, "table", swept.rows, swept.size_bytes)
        return [*swept.over, *swept.surplus]

    def _open(self, key: str) -> Opened | None:
        row = self._read_row(key)
        return None if row is None else self._rows.open(key, row)

    async def _get_shared(self, key: str) -> Found | None:
        """Return what other workers know; it is to be written to the table of this one."""
        if self._shared is None:
            return None
        row = await self._shared.get(_shared_key(key))
        opened = None if row is None else self._rows.open(key, row)
        is_fresh = (
            opened is not None and self._is_ours(opened.entry) and self._is_fresh(key, opened.entry)
        )
        self._report.looked_up(NAME, "shared", "hit" if is_fresh else "miss")
        return Found(opened.entry.extraction, row) if opened and is_fresh else None

    def _is_ours(self, entry: CachedExtraction) -> bool:
        """Return whether a worker may have shared this: no life is longer, none begins later."""
        now = self._clock()
        read_at = entry.extraction.extracted_at.timestamp()
        return entry.expires_at <= now + self._life and read_at <= now + CLOCKS_APART_SECONDS

    def _is_fresh(self, key: str, entry: CachedExtraction) -> bool:
        # The end of a row from before the clock was set back can be further off than any life.
        now = self._clock()
        return (
            now < entry.expires_at <= now + self._life
            and entry.meaning == self._meaning
            and not self._is_forgotten(key, entry.extraction)
            and not self._is_dropped(key, entry.extraction)
        )

    def _is_forgotten(self, key: str, extraction: Extraction) -> bool:
        """Return whether a user had it forgotten."""
        refreshed = self._refreshed(key)
        return refreshed is not None and extraction.extracted_at < refreshed

    def _is_dropped(self, key: str, extraction: Extraction) -> bool:
        dropped = self._dropped.peek(key)
        return dropped is not None and extraction.extracted_at <= dropped


def _shared_key(key: str) -> str:
    return f"video_info:{key}"
