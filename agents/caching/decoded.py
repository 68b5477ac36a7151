"""Decoded rows, kept so that what is asked for again and again is decoded once."""

from contextlib import suppress
from typing import NamedTuple

from agents.caching.interface import Level
from agents.caching.row_codec import CachedExtraction, UnreadableRowError, unpack
from agents.caching.ttl_lru import BoundedCache

DECODED_BYTES = 1_100
"""Of memory for the objects of a decoded row with one cookie, beside its text. Measured."""


class Decoded(NamedTuple):
    """A row, by which it is recognised, and what it says."""

    row: bytes
    entry: CachedExtraction


class Opened(NamedTuple):
    """What a row says, and whether that was known in ``front`` or read from the ``table``."""

    entry: CachedExtraction
    level: Level


def size_of(key: str, decoded: Decoded) -> int:
    """Return the bytes of a decoded row; the row itself belongs to the table."""
    return len(key) + memoryview(decoded.entry.extraction.raw).nbytes + DECODED_BYTES


class DecodedRows:
    """What rows say.

    Args:
        store: keeps it; made with `size_of`.
    """

    def __init__(self, store: BoundedCache[str, Decoded]) -> None:
        self._store = store

    def open(self, key: str, row: bytes) -> Opened | None:
        """Return what a row says, None when it cannot be read: an older version wrote it."""
        known = self._store.peek(key)
        if known is not None and known.row == row:
            return Opened(known.entry, "front")
        with suppress(UnreadableRowError):
            entry = unpack(row)
            self._store.set(key, Decoded(row, entry))
            return Opened(entry, "table")
        return None
