"""What pages said, remembered for a while: a table of the stage, in front of it decoded entries.

The table's changelog lets the cache survive restarts; the decoded entries save the parsing of
what is asked for again and again.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime

import msgspec
from cachetools import TTLCache

from agents.caching.rows import no_longer_kept
from schemas.codec import MalformedMessageError, decode, encode
from schemas.video import Extraction

ENTRIES_IN_FRONT = 2_000
"""Decoded entries kept: about 20 KB each, so 40 MB at most."""

ROWS_BYTES_MAX = 256 * 2**20
"""Memory of all rows of one process, some 12,000 videos. Of more, those go first that end first:
what is kept for the time when the platform is away is worth less than what is fresh."""


class CachedExtraction(msgspec.Struct, frozen=True, kw_only=True):
    """A row: the extraction and the epoch second up to which it may be used."""

    expires_at: float
    extraction: Extraction


class VideoInfoCache:
    """Extractions by video key.

    Args:
        read_row: reads a row of the table.
        life_seconds: how long an extraction may be used.
        clock: epoch seconds.
        stale_seconds: how much longer it may serve while the platform is away.
        refreshed: tells since when a video's extractions count; older ones are of no use.
    """

    def __init__(
        self,
        read_row: Callable[[str], bytes | None],
        life_seconds: float,
        clock: Callable[[], float] = time.time,
        *,
        stale_seconds: float = 0.0,
        refreshed: Callable[[str], datetime | None] = lambda _: None,
    ) -> None:
        self._read_row = read_row
        self._life = life_seconds
        self._clock = clock
        self._stale = stale_seconds
        self._refreshed = refreshed
        self._front: TTLCache[bytes, CachedExtraction] = TTLCache(
            ENTRIES_IN_FRONT, life_seconds, timer=clock
        )

    def get(self, key: str) -> Extraction | None:
        """Return the extraction of a video that may still be used."""
        return self._find(key, self._clock())

    def get_stale(self, key: str) -> Extraction | None:
        """Return the extraction of a video that may be used while the platform is away.

        It is good for what the page said; the links in it may have ended.
        """
        return self._find(key, self._clock() - self._stale)

    def _find(self, key: str, since: float) -> Extraction | None:
        """Return the extraction of a video unless its life ended at this moment or before."""
        row = self._read_row(key)
        entry = None if row is None else self._open(row)
        if entry is None or entry.expires_at <= since:
            return None
        refreshed = self._refreshed(key)
        is_forgotten = refreshed is not None and entry.extraction.extracted_at < refreshed
        return None if is_forgotten else entry.extraction

    def _open(self, row: bytes) -> CachedExtraction | None:
        entry = self._front.get(row)
        if entry is None:
            # A row that an older version wrote may not be readable: then the page is.
            with suppress(MalformedMessageError):
                entry = self._front[row] = decode(row, CachedExtraction)
        return entry

    def row(self, extraction: Extraction, expires_at: float | None) -> bytes:
        """Return the row to be written; ``expires_at`` shortens its life."""
        end = self._clock() + self._life
        end = end if expires_at is None else min(end, expires_at)
        return encode(CachedExtraction(expires_at=end, extraction=extraction))

    def expired(self, rows: Iterable[tuple[str, bytes]]) -> list[str]:
        """Return the keys of rows that nobody may use any more, and the first to go of too many."""
        return no_longer_kept(dict(rows), self._clock() - self._stale, ROWS_BYTES_MAX)
